//! The report, for people.

use super::figures::Figure;
use super::report::{Report, Row};

/// Aligned lines: what was measured how, the table, and what its words mean.
pub(super) fn table(report: &Report) -> Vec<String> {
    let runs = || report.rows.iter().map(|row| row.runs.len());
    let runs = match (runs().min().unwrap_or(0), runs().max().unwrap_or(0)) {
        (1, 1) => "one run".into(),
        (few, many) if few == many => format!("medians of {many} runs"),
        (few, many) => format!("medians of {few} to {many} runs"),
    };
    let rate = report.rate.map_or_else(String::new, |rate| format!(" at {rate} messages a second"));
    let mut lines = vec![format!(
        "{} cores for all, {}; bodies of {} bytes; {} s each{rate}; {runs}",
        report.cores, report.os, report.body_bytes, report.seconds
    )];
    lines.push(String::new());
    let has_value = |figure: &Figure| report.rows.iter().any(|row| row.median.get(*figure).is_some());
    let columns: Vec<Figure> = Figure::ALL.into_iter().filter(has_value).collect();
    let mut cells: Vec<Vec<String>> = (0..2)
        .map(|line| {
            let first = [["", "workload"], ["", "window"]].map(|heading| heading[line].to_owned());
            first.into_iter().chain(columns.iter().map(|figure| figure.heading()[line].to_owned())).collect()
        })
        .collect();
    cells.extend(report.rows.iter().map(|row| cells_of(row, &columns)));
    let widths: Vec<usize> = (0..columns.len() + 2)
        .map(|column| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    lines.extend(cells.iter().map(|line| aligned(line, &widths)));
    if columns.contains(&Figure::Compared) {
        lines.push(String::new());
        lines.extend(compared(report));
    }
    lines
}

fn cells_of(row: &Row, columns: &[Figure]) -> Vec<String> {
    let value = |figure: &Figure| {
        let decimals = figure.decimals();
        row.median.get(*figure).map_or_else(|| "-".into(), |value| format!("{value:.decimals$}"))
    };
    [row.workload.clone(), row.window.to_string()].into_iter().chain(columns.iter().map(value)).collect()
}

/// The first to the left, numbers to the right.
fn aligned(line: &[String], widths: &[usize]) -> String {
    let cell = |(column, (text, width)): (usize, (&String, &usize))| match column {
        0 => format!("{text:<width$}"),
        _ => format!("  {text:>width$}"),
    };
    line.iter().zip(widths).enumerate().map(cell).collect::<String>().trim_end().to_owned()
}

/// Who is compared with whom.
fn compared(report: &Report) -> Vec<String> {
    let mut compared: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in &report.rows {
        let Some(with) = row.compared else { continue };
        let name = row.workload.as_str();
        match compared.iter_mut().find(|(other, _)| *other == with) {
            Some((_, names)) if names.contains(&name) => {} // At another window.
            Some((_, names)) => names.push(name),
            None => compared.push((with, vec![name])),
        }
    }
    compared.iter().map(|(with, names)| format!("compared with {with}: {}", names.join("; "))).collect()
}
