//! `ask`: a row of a projection, or how far behind it is.

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::Sender;
use super::exit::{Exit, Failure};
use super::output::{self, Paint};
use super::program;
use crate::client::{ANSWER_MAX, QueryError};
use crate::model::outcome::Reply;
use crate::model::subject::{Asked, ProjectionName, ProjectionSubject};
use crate::model::{Key, Position};

/// Ask a projection for a row, or how far it is behind the feed
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hapax ask balances ann\n  hapax ask balances")]
pub(super) struct Arguments {
    /// Which projection
    #[arg(value_parser = ProjectionName::parse)]
    projection: ProjectionName,

    /// Which row; without it: how many commits it is behind
    key: Option<String>,

    /// Print the answer as the JSON that came
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sender: Sender,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    row: Option<&'a RawValue>,
    positions: Vec<Option<Position>>,
}

#[derive(Deserialize)]
struct Lag {
    version: u32,
    store: String,
    rows: u64,
    lag: u64,
    partitions: Vec<PartitionLag>,
}

#[derive(Deserialize)]
struct PartitionLag {
    partition: u32,
    position: Option<Position>,
    last: Option<Position>,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { projection, key, json, sender } = arguments;
    let (asked, body) = match &key {
        None => (Asked::Lag, String::new()),
        // In the subject if it can be: the right to ask may be one to ask for this row.
        Some(key) => match Key::parse(key) {
            Ok(token) => (Asked::Row(Some(token)), String::new()),
            Err(_) => (Asked::Row(None), serde_json::json!({ "key": key }).to_string()),
        },
    };
    let subject = ProjectionSubject { principal: sender.principal.clone(), projection, asked };
    let client = sender.client().await?;
    let timeout = sender.connection.timeout.unwrap_or(ANSWER_MAX);
    let answer = client.query(&subject, body.into(), timeout).await.map_err(|error| match error {
        QueryError::NoProcessor => {
            let ProjectionSubject { projection, .. } = &subject;
            let project = format!("{} project {projection}", program());
            Failure::new(Exit::Failed, format!("nobody answers: is `{project}` running on this server?"))
        }
        error => error.into(),
    })?;
    if json {
        output::line(&answer)?;
    }
    if let Ok(Reply::Refused(refusal)) = Reply::from_json(&answer) {
        return Err(Failure::not_answered(&refusal));
    }
    if !json {
        let unreadable = |error| Failure::from(QueryError::Unreadable(error));
        match &key {
            Some(key) => show_row(&subject, key, &serde_json::from_slice(&answer).map_err(unreadable)?)?,
            None => show_lag(&subject, &serde_json::from_slice(&answer).map_err(unreadable)?)?,
        }
    }
    Ok(Exit::Done)
}

fn show_row(subject: &ProjectionSubject, key: &str, answer: &Row<'_>) -> Result<(), Failure> {
    let positions = answer.positions.iter().map(|position| number(*position)).collect::<Vec<_>>().join(", ");
    let row = answer.row.map_or("none", RawValue::get);
    let rows = [
        ("projection", subject.projection.to_string()),
        ("key", key.to_owned()),
        ("row", row.to_owned()),
        ("as of", positions),
    ];
    output::rows(Paint::for_stdout(), &rows)
}

fn show_lag(subject: &ProjectionSubject, answer: &Lag) -> Result<(), Failure> {
    let Lag { version, store, rows, lag, partitions } = answer;
    let mut shown = vec![
        ("projection", format!("{}, version {version}", subject.projection)),
        ("store", store.clone()),
        ("rows", rows.to_string()),
        ("lag", lag.to_string()),
    ];
    for PartitionLag { partition, position, last } in partitions {
        shown.push(("partition", format!("{partition} at position {} of {}", number(*position), number(*last))));
    }
    output::rows(Paint::for_stdout(), &shown)
}

fn number(position: Option<Position>) -> String {
    position.map_or(0, Position::get).to_string()
}
