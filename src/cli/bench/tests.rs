//! How a report is shown: table, JSON and picture of made-up figures.

use super::figures::{Figure, Figures};
use super::report::{Report, Row};
use super::{svg, table};
use crate::cli::shown::assert_shown;

fn row(workload: &str, window: usize, compared: Option<&'static str>, factor: f64, with: &[Figure]) -> Row {
    let mut row = Row::new(workload.into(), window, compared);
    for run in [1.2, 1.0, 0.9] {
        let mut figures = Figures::default();
        for (place, figure) in (1..).zip(Figure::ALL) {
            if with.contains(&figure) {
                let scale = if figure == Figure::PerSecond { 10_000.0 } else { 0.1 };
                figures.set(figure, f64::from(place) * scale * factor * run);
            }
        }
        row.runs.push(figures);
    }
    row
}

fn report() -> Report {
    use Figure::{Behind, P999, PerSecond, PerSync, ProcessorCpu, Recorded, Resident, Start};
    use Figure::{
        BrokerCpu, ClientCpu, Compared, IndexBytes, JournalBytes, OfFloor, P50, P50OfFloor, P99, P99Compared,
    };
    let always = [PerSecond, P50, P99, P999, ClientCpu, BrokerCpu, ProcessorCpu, Resident];
    let ours = [OfFloor, P50OfFloor, PerSync, Behind, JournalBytes, IndexBytes];
    let mut report = Report {
        cores: 2,
        os: "linux",
        body_bytes: 256,
        seconds: 5,
        rate: None,
        rows: vec![
            row("floor", 64, None, 5.0, &always),
            row("single", 64, None, 3.0, &[&always[..], &ours].concat()),
            row("retries", 64, Some("single"), 2.5, &[&always[..], &ours, &[Compared, P99Compared]].concat()),
            row(
                "growth, v7, 1M",
                64,
                Some("empty, v7"),
                2.0,
                &[&always[..], &[Compared, P99Compared, Recorded, Start]].concat(),
            ),
        ],
    };
    report.finish();
    report
}

#[test]
fn the_table() {
    assert_shown("bench__table", &table::table(&report()).join("\n"));
}

/// What has no value in any row has no column: each workload has figures of its own.
#[test]
fn the_table_without_empty_columns() {
    let mut report = report();
    report.rows.truncate(2);
    report.rate = Some(5_000.0);
    assert_shown("bench__table_of_singles", &table::table(&report).join("\n"));
}

#[test]
fn the_json() {
    assert_shown("bench__json", &serde_json::to_string_pretty(&report()).expect("it is JSON"));
}

#[test]
fn the_picture() {
    assert_shown("bench__svg", &svg::svg(&report()));
}

#[test]
fn nothing_measured_is_still_a_picture_and_a_table() {
    let report = Report { rows: Vec::new(), ..report() };
    assert!(svg::svg(&report).ends_with("</svg>\n"));
    assert_eq!(table::table(&report).len(), 4);
}
