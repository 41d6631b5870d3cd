//! `health`: does the processor do its work?

use clap::Args;
use serde::Deserialize;

use super::connection::Sender;
use super::exit::{Exit, Failure, said};
use super::output::{self, Paint};
use crate::client::{ANSWER_MAX, QueryError};
use crate::model::subject::QuerySubject;

/// Ask the processor how it is
///
/// Exits with 0 if it is ready, else with 1.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax health --json")]
pub(super) struct Arguments {
    /// Print the answer as the JSON that came
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sender: Sender,
}

/// What is shown of a report. A newer processor may say more.
#[derive(Deserialize)]
struct Report {
    state: String,
    #[serde(default)]
    why: Vec<String>,
    version: String,
    partitions: Vec<Partition>,
}

#[derive(Deserialize)]
struct Partition {
    partition: u32,
    stage: String,
    noted: Option<u64>,
    total: Option<u64>,
    durable: Option<u64>,
    unindexed: u64,
    unfed: Option<u64>,
    decided: u64,
    replayed: u64,
    refused: u64,
    silent: u64,
    quarantined: u64,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { json, sender } = arguments;
    let subject = QuerySubject::Health { principal: sender.principal.clone() };
    let client = sender.client().await?;
    let answer = client.query(&subject, bytes::Bytes::new(), sender.connection.timeout.unwrap_or(ANSWER_MAX)).await?;
    let report: Report =
        serde_json::from_slice(&answer).map_err(|error| Failure::from(QueryError::Unreadable(error)))?;
    if json {
        said(output::line(&answer))?;
    } else {
        said(show(&report))?;
    }
    Ok(if report.state == "ready" { Exit::Done } else { Exit::Failed })
}

fn show(report: &Report) -> Result<(), Failure> {
    let paint = Paint::for_stdout();
    let state = if report.state == "ready" { paint.good(&report.state) } else { paint.bad(&report.state) };
    let mut rows = vec![("state", state), ("version", report.version.clone())];
    rows.extend(report.why.iter().map(|why| ("because", why.clone())));
    output::rows(paint, &rows)?;
    for partition in &report.partitions {
        output::line("")?;
        let mut rows = vec![("partition", format!("{} {}", partition.partition, partition.stage))];
        if let (Some(noted), Some(total)) = (partition.noted, partition.total) {
            rows.push(("index", format!("{noted} of {total} commits")));
        }
        rows.push((
            "durable",
            partition.durable.map_or("nothing yet".into(), |position| format!("up to position {position}")),
        ));
        rows.extend(partition.unfed.map(|unfed| ("unfed", unfed.to_string())));
        let counts = [
            ("unindexed", partition.unindexed),
            ("decided", partition.decided),
            ("replayed", partition.replayed),
            ("refused", partition.refused),
            ("silent", partition.silent),
            ("quarantined", partition.quarantined),
        ];
        rows.extend(counts.map(|(name, count)| (name, count.to_string())));
        output::rows(paint, &rows)?;
    }
    Ok(())
}
