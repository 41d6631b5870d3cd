//! What was measured, as a value: for the table, the picture, and programs.

use serde::Serialize;

use super::figures::{Figure, Figures};

/// Everything that one call has measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Cores that were there for all: client, broker and who answers.
    pub(super) cores: usize,
    pub(super) os: &'static str,
    pub(super) body_bytes: usize,
    pub(super) seconds: u64,
    /// Messages a second, if it was set.
    pub(super) rate: Option<f64>,
    pub(super) rows: Vec<Row>,
}

/// One workload at one window.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) workload: String,
    pub(super) window: usize,
    /// The workload that it is compared with, besides the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compared: Option<&'static str>,
    /// Of the runs, figure by figure.
    pub(super) median: Figures,
    pub(super) runs: Vec<Figures>,
}

impl Row {
    pub(super) fn new(workload: String, window: usize, compared: Option<&'static str>) -> Row {
        Row { workload, window, compared, median: Figures::default(), runs: Vec::new() }
    }
}

impl Report {
    /// Takes the medians, once all is measured.
    pub(super) fn finish(&mut self) {
        for row in &mut self.rows {
            row.median = Figures::median(&row.runs);
        }
    }
}

impl Figures {
    /// For somebody who waits.
    pub(super) fn short(&self) -> String {
        let value = |figure| self.get(figure).unwrap_or_default();
        format!("{:.0} commands a second, p99 {:.2} ms", value(Figure::PerSecond), value(Figure::P99))
    }
}
