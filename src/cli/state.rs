//! `state`: what has become of an aggregate?

use std::collections::BTreeMap;

use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::Sender;
use super::exit::{Exit, Failure, said};
use super::output::{self, Paint};
use crate::client::{ANSWER_MAX, QueryError};
use crate::model::outcome::Reply;
use crate::model::subject::QuerySubject;
use crate::model::{AggregateId, Position, Version};

/// Show the state of an aggregate, as it is or as it was
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax state account/42 --at-version 3")]
pub(super) struct Arguments {
    /// Which one, as type/key
    aggregate: AggregateId,

    /// As it was after so many events
    #[arg(long, value_name = "N", conflicts_with = "at_position")]
    at_version: Option<u64>,

    /// As it was after this commit of its partition
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    at_position: Option<u64>,

    /// Print the answer as the JSON that came
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sender: Sender,
}

#[derive(Deserialize)]
struct Answer<'a> {
    version: Version,
    position: Option<Position>,
    #[serde(borrow)]
    state: &'a RawValue,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { aggregate, at_version, at_position, json, sender } = arguments;
    let body = match (at_version, at_position) {
        (Some(version), _) => Bytes::from(format!(r#"{{"at_version":{version}}}"#)),
        (None, Some(position)) => Bytes::from(format!(r#"{{"at_position":{position}}}"#)),
        (None, None) => Bytes::new(),
    };
    let subject = QuerySubject::State { principal: sender.principal.clone(), aggregate: aggregate.clone() };
    let client = sender.client().await?;
    let answer = client.query(&subject, body, sender.connection.timeout.unwrap_or(ANSWER_MAX)).await?;
    if let Ok(Reply::Refused(refusal)) = Reply::from_json(&answer) {
        if json {
            said(output::line(&answer))?;
        }
        return Err(Failure::not_answered(&refusal));
    }
    if json {
        output::line(&answer)?;
        return Ok(Exit::Done);
    }
    show(&aggregate, &answer)
}

fn show(aggregate: &AggregateId, answer: &[u8]) -> Result<Exit, Failure> {
    let Answer { version, position, state } =
        serde_json::from_slice(answer).map_err(|error| Failure::from(QueryError::Unreadable(error)))?;
    let paint = Paint::for_stdout();
    let mut rows = vec![("aggregate", aggregate.to_string()), ("version", version.to_string())];
    if let Some(position) = position {
        rows.push(("position", position.to_string()));
    }
    if version == Version(0) {
        rows.push(("", "nothing has happened to it".into()));
    }
    output::rows(paint, &rows)?;
    output::line("")?;
    // The author's fields, each on a line of its own if there are any.
    match serde_json::from_str::<BTreeMap<String, &RawValue>>(state.get()) {
        Ok(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.get().into())).collect();
            output::rows(paint, &fields)?;
        }
        Err(_) => output::line(state.get())?,
    }
    Ok(Exit::Done)
}
