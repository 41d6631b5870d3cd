//! What is told about one workload: a figure for each column, as far as there is one.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// A column of the table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    PerSecond,
    OfFloor,
    Compared,
    P50,
    P99,
    P999,
    P50OfFloor,
    P99Compared,
    ClientCpu,
    BrokerCpu,
    ProcessorCpu,
    PerSync,
    Behind,
    JournalBytes,
    IndexBytes,
    Resident,
    Recorded,
    Start,
    Events,
}

impl Figure {
    pub(super) const ALL: [Figure; 19] = [
        Figure::PerSecond,
        Figure::OfFloor,
        Figure::Compared,
        Figure::P50,
        Figure::P99,
        Figure::P999,
        Figure::P50OfFloor,
        Figure::P99Compared,
        Figure::ClientCpu,
        Figure::BrokerCpu,
        Figure::ProcessorCpu,
        Figure::PerSync,
        Figure::Behind,
        Figure::JournalBytes,
        Figure::IndexBytes,
        Figure::Resident,
        Figure::Recorded,
        Figure::Start,
        Figure::Events,
    ];

    /// Its name in JSON, which says the unit.
    pub(super) fn name(self) -> &'static str {
        match self {
            Figure::PerSecond => "commands_per_second",
            Figure::OfFloor => "share_of_floor",
            Figure::Compared => "share_of_compared",
            Figure::P50 => "p50_ms",
            Figure::P99 => "p99_ms",
            Figure::P999 => "p99_9_ms",
            Figure::P50OfFloor => "p50_times_floor",
            Figure::P99Compared => "p99_times_compared",
            Figure::ClientCpu => "client_cpu_seconds_per_million",
            Figure::BrokerCpu => "broker_cpu_seconds_per_million",
            Figure::ProcessorCpu => "processor_cpu_seconds_per_million",
            Figure::PerSync => "commands_per_fsync",
            Figure::Behind => "unindexed_at_the_end",
            Figure::JournalBytes => "journal_bytes_per_command",
            Figure::IndexBytes => "index_bytes_per_command",
            Figure::Resident => "resident_peak_mib",
            Figure::Recorded => "recorded_at_the_start",
            Figure::Start => "start_seconds",
            Figure::Events => "events_per_second",
        }
    }

    /// The two lines at the head of its column.
    pub(super) fn heading(self) -> [&'static str; 2] {
        match self {
            Figure::PerSecond => ["commands", "a second"],
            Figure::OfFloor => ["of the", "floor"],
            Figure::Compared => ["of the", "compared"],
            Figure::P50 => ["p50", "ms"],
            Figure::P99 => ["p99", "ms"],
            Figure::P999 => ["p99.9", "ms"],
            Figure::P50OfFloor => ["p50", "× floor"],
            Figure::P99Compared => ["p99 ×", "compared"],
            Figure::ClientCpu => ["CPU s/M", "client"],
            Figure::BrokerCpu => ["CPU s/M", "broker"],
            Figure::ProcessorCpu => ["CPU s/M", "processor"],
            Figure::PerSync => ["commands", "an fsync"],
            Figure::Behind => ["index", "behind"],
            Figure::JournalBytes => ["bytes", "journal"],
            Figure::IndexBytes => ["bytes", "index"],
            Figure::Resident => ["peak RSS", "MiB"],
            Figure::Recorded => ["recorded", "at start"],
            Figure::Start => ["start", "s"],
            Figure::Events => ["events", "a second"],
        }
    }

    pub(super) fn decimals(self) -> usize {
        match self {
            Figure::PerSecond
            | Figure::Behind
            | Figure::JournalBytes
            | Figure::IndexBytes
            | Figure::Resident
            | Figure::Recorded
            | Figure::Events => 0,
            Figure::ClientCpu | Figure::BrokerCpu | Figure::ProcessorCpu | Figure::PerSync => 1,
            Figure::OfFloor
            | Figure::Compared
            | Figure::P50
            | Figure::P99
            | Figure::P999
            | Figure::P50OfFloor
            | Figure::P99Compared
            | Figure::Start => 2,
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Figures(BTreeMap<Figure, f64>);

impl Figures {
    pub(super) fn get(&self, figure: Figure) -> Option<f64> {
        self.0.get(&figure).copied()
    }

    /// Notes a figure, if there is one: a number. More digits than four behind the point say nothing here.
    pub(super) fn set(&mut self, figure: Figure, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into().filter(|value| value.is_finite()) {
            self.0.insert(figure, (value * 10_000.0).round() / 10_000.0);
        }
    }

    /// Notes a figure, unless there is a higher one.
    pub(super) fn raise(&mut self, figure: Figure, value: Option<f64>) {
        self.set(figure, self.get(figure).into_iter().chain(value).reduce(f64::max));
    }

    /// Notes how many times the other's `of` ours is, if both are known.
    pub(super) fn compare(&mut self, figure: Figure, of: Figure, other: &Figures) {
        let ratio = self.get(of).zip(other.get(of)).map(|(ours, theirs)| ours / theirs);
        self.set(figure, ratio);
    }

    /// The middle one of each figure; of an even number, the mean of the two in the middle.
    pub(super) fn median(runs: &[Figures]) -> Figures {
        let mut median = Figures::default();
        for figure in Figure::ALL {
            let mut values: Vec<f64> = runs.iter().filter_map(|run| run.get(figure)).collect();
            values.sort_by(f64::total_cmp);
            let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
            median.set(figure, values.get(low).zip(values.get(high)).map(|(low, high)| f64::midpoint(*low, *high)));
        }
        median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(value: f64) -> Figures {
        let mut figures = Figures::default();
        figures.set(Figure::PerSecond, value);
        figures
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let median = |values: &[f64]| {
            let runs: Vec<Figures> = values.iter().map(|value| rate(*value)).collect();
            Figures::median(&runs).get(Figure::PerSecond)
        };
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_is_no_number_is_not_told() {
        let mut figures = rate(f64::NAN);
        assert_eq!(figures.get(Figure::PerSecond), None);
        figures.set(Figure::PerSecond, 3.0);
        figures.compare(Figure::OfFloor, Figure::PerSecond, &rate(0.0));
        assert_eq!(figures.get(Figure::OfFloor), None);
        figures.compare(Figure::OfFloor, Figure::PerSecond, &rate(6.0));
        assert_eq!(figures.get(Figure::OfFloor), Some(0.5));
    }

    #[test]
    fn the_highest_is_kept() {
        let mut figures = Figures::default();
        for (value, highest) in [(None, None), (Some(2.0), Some(2.0)), (Some(1.0), Some(2.0)), (Some(3.0), Some(3.0))] {
            figures.raise(Figure::Resident, value);
            assert_eq!(figures.get(Figure::Resident), highest, "{value:?}");
        }
    }
}
