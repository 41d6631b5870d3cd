//! `state`: what has become of an aggregate, or what had?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::bars::Counted;
use super::connection::Sender;
use super::exit::{Exit, Failure, said};
use super::output::{self, Paint};
use super::point::{self, POINTS};
use crate::aggregate::Service;
use crate::client::{ANSWER_MAX, Client, QueryError};
use crate::model::outcome::Reply;
use crate::model::partition::partition_of;
use crate::model::subject::QuerySubject;
use crate::model::{AggregateId, At, Position, Version};
use crate::replay::past;
use crate::serve::DataDir;
use crate::store::file::FileReader;

/// Show the state of an aggregate, as it is or as it was, or the difference between two points
///
/// Asks the processor; with --data it reads the journal instead, and needs neither a processor nor a broker.
#[derive(Debug, Args)]
#[command(after_help = format!(
    "Examples:\n  hapax state account/42 --at-version 3\n  hapax state account/42 --at-version 3 --diff 7\n  \
     hapax state account/42 --at-time 2026-11-24T20:15:01Z --data ./hapax-data\n\n{POINTS}"
))]
pub(super) struct Arguments {
    /// Which one, as type/key
    aggregate: AggregateId,

    /// As it was after so many events
    #[arg(long, value_name = "POINT", value_parser = point::version, group = "at")]
    at_version: Option<At>,

    /// As it was after this commit of its partition
    #[arg(long, value_name = "POINT", value_parser = point::position, group = "at")]
    at_position: Option<At>,

    /// As it was at that time
    #[arg(long, value_name = "POINT", value_parser = point::point, group = "at")]
    at_time: Option<At>,

    /// Show what is different at this other point; a number alone is a version
    #[arg(long, value_name = "POINT", value_parser = point::version)]
    diff: Option<At>,

    /// Read this data directory instead of asking the processor
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Print the answer as the JSON that came; with --diff, both answers, a line each
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

/// Who answers.
enum Source {
    Processor(Box<(Client, Sender)>),
    /// The journal of the aggregate's partition; `None`: there is none yet.
    Journal(Option<FileReader>),
}

pub(super) async fn run(arguments: Arguments, service: &Service) -> Result<Exit, Failure> {
    let Arguments { aggregate, at_version, at_position, at_time, diff, data, json, sender } = arguments;
    let at = at_version.or(at_position).or(at_time).unwrap_or(At::Now);
    let source = match data {
        Some(data) => Source::Journal(journal(&data, &aggregate)?),
        None => Source::Processor(Box::new((sender.client().await?, sender))),
    };
    let answer = source.ask(service, &aggregate, at, json).await?;
    let Some(other) = diff else {
        if json {
            output::line(&answer)?;
            return Ok(Exit::Done);
        }
        return show(&aggregate, &answer);
    };
    let other = source.ask(service, &aggregate, other, json).await.map_err(|failure| failure.about("--diff"))?;
    if json {
        output::line(&answer)?;
        output::line(&other)?;
        return Ok(Exit::Done);
    }
    show_difference(&aggregate, &read(&answer)?, &read(&other)?)
}

fn journal(data: &Path, aggregate: &AggregateId) -> Result<Option<FileReader>, Failure> {
    let data = DataDir::open(data)?;
    super::journal::open(&data, partition_of(&aggregate.key, data.partitions()))
}

impl Source {
    async fn ask(&self, service: &Service, aggregate: &AggregateId, at: At, json: bool) -> Result<Bytes, Failure> {
        match self {
            Source::Journal(Some(reader)) => {
                let counted = Counted::new(reader.clone(), format!("looking for {aggregate}"));
                let answer = past::answer(&counted, service, aggregate, at);
                counted.finish();
                Ok(answer?)
            }
            Source::Journal(None) => Err(Failure::new(Exit::Failed, "the data directory has no journal yet")),
            Source::Processor(asking) => {
                let (client, sender) = &**asking;
                let subject = QuerySubject::State { principal: sender.principal.clone(), aggregate: aggregate.clone() };
                let body = match at {
                    At::Now => String::new(),
                    At::Version(version) => format!(r#"{{"at_version":{version}}}"#),
                    At::Position(position) => format!(r#"{{"at_position":{position}}}"#),
                    At::Time(time) => format!(r#"{{"at_time":"{time}"}}"#),
                };
                let timeout = sender.connection.timeout.unwrap_or(ANSWER_MAX);
                let answer = client.query(&subject, body.into(), timeout).await?;
                if let Ok(Reply::Refused(refusal)) = Reply::from_json(&answer) {
                    if json {
                        said(output::line(&answer))?;
                    }
                    return Err(Failure::not_answered(&refusal));
                }
                Ok(answer)
            }
        }
    }
}

fn read(answer: &[u8]) -> Result<Answer<'_>, Failure> {
    serde_json::from_slice(answer).map_err(|error| Failure::from(QueryError::Unreadable(error)))
}

fn show(aggregate: &AggregateId, answer: &[u8]) -> Result<Exit, Failure> {
    let Answer { version, position, state } = read(answer)?;
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
        Err(_) => output::line(output::shown(state.get()))?,
    }
    Ok(Exit::Done)
}

fn show_difference(aggregate: &AggregateId, left: &Answer<'_>, right: &Answer<'_>) -> Result<Exit, Failure> {
    let paint = Paint::for_stdout();
    let versions = format!("{} -> {}", left.version, right.version);
    output::rows(paint, &[("aggregate", aggregate.to_string()), ("version", versions)])?;
    output::line("")?;
    output::json_difference(paint, left.state.get(), right.state.get())?;
    Ok(Exit::Done)
}
