//! `why`: what caused this, and what did it change?

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::bars::Counted;
use super::exit::{Exit, Failure};
use super::journal::{open, partitions_of};
use super::output::{self, Paint};
use super::point::{self, POINTS};
use crate::aggregate::Service;
use crate::model::error::with_sources;
use crate::model::{AggregateId, At, CommandId, Commit, Position};
use crate::replay::cause::{Batch, Cause, at_time, cause, of_trace, trace, with_id};
use crate::replay::past;
use crate::replay::timeline::{asked, came_of};
use crate::serve::DataDir;
use crate::store::{CommitReader, ReadError};

/// Other commits of a trace that are named.
const RELATED_MAX: usize = 10;

/// Tell what caused a commit and what it changed: command, principal, trace, batch, the state before and behind it
///
/// Reads the data directory; needs neither a broker nor a processor.
#[derive(Debug, Args)]
#[command(after_help = format!(
    "Examples:\n  hapax why salary-2026-11-ann\n  hapax why @1207\n  hapax why v3 --of account/42\n  hapax why 2026-11-24T20:15:01Z\n\n{POINTS}"
))]
pub(super) struct Arguments {
    /// A command id or a point: the commit at that position, or the last one up to that time
    what: String,

    /// The aggregate whose point is meant, as type/key: the commit that made it what it was then. A version needs one
    #[arg(long, value_name = "AGGREGATE")]
    of: Option<AggregateId>,

    /// The partition whose position or time is meant; only where there are several
    #[arg(long, value_name = "N")]
    partition: Option<u32>,

    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./hapax-data")]
    data: PathBuf,

    /// Print a JSON object for each commit
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, service: &Service) -> Result<Exit, Failure> {
    let data = DataDir::open(&arguments.data)?;
    let mut found = 0;
    for partition in partitions(arguments, &data)? {
        let Some(reader) = open(&data, partition)? else { continue };
        let counted = Counted::new(reader, format!("partition {partition}: looking for it"));
        let meant = meant(arguments, &counted)?;
        let causes = meant.into_iter().map(|commit| cause(&counted, service, commit)).collect::<Result<Vec<_>, _>>()?;
        counted.finish();
        for cause in causes {
            let related = related(&data, partition, &cause.commit)?;
            if arguments.json {
                output::line(json(partition, &cause, &related))?;
            } else {
                if found > 0 {
                    output::line("")?;
                }
                print(partition, data.partitions() > 1, &cause, &related)?;
            }
            found += 1;
        }
    }
    if found == 0 {
        let of = arguments.of.as_ref().map_or(String::new(), |of| format!(" of {of}"));
        return Err(Failure::new(Exit::Failed, format!("{}{of} is not in this data directory", arguments.what)));
    }
    Ok(Exit::Done)
}

/// Where to look.
fn partitions(arguments: &Arguments, data: &DataDir) -> Result<std::ops::Range<u32>, Failure> {
    let is_id = CommandId::parse(&arguments.what).is_ok();
    let is_of_partition = !is_id && point::position(&arguments.what).is_ok_and(|at| !matches!(at, At::Version(_)));
    match (arguments.partition, &arguments.of) {
        (Some(partition), _) if partition < data.partitions() => Ok(partition..partition + 1),
        (Some(partition), _) => {
            let last = data.partitions() - 1;
            Err(Failure::usage(format!("there is no partition {partition}; they are 0 to {last}")))
        }
        (None, None) if is_of_partition && data.partitions() > 1 => {
            Err(Failure::usage("each partition has its own commits: say which one with --partition N"))
        }
        (None, of) => Ok(partitions_of(data, of.as_ref())),
    }
}

/// The commits that are meant.
fn meant(arguments: &Arguments, reader: &impl CommitReader) -> Result<Vec<Commit>, Failure> {
    let id = CommandId::parse(&arguments.what);
    match (point::position(&arguments.what), &arguments.of, id) {
        // 16 digits are an id too, and no store has so many commits.
        (Ok(At::Position(_)) | Err(_), of, Ok(id)) => {
            let is_meant = |commit: &Commit| of.as_ref().is_none_or(|of| commit.command.aggregate == *of);
            Ok(with_id(reader, &id)?.into_iter().filter(is_meant).collect())
        }
        (Ok(At::Version(version)), Some(aggregate), _) => {
            Ok(past::change_to(reader, aggregate, version)?.into_iter().collect())
        }
        (Ok(at), Some(aggregate), _) => Ok(past::changes(reader, aggregate, at)?.pop().into_iter().collect()),
        (Ok(At::Position(position)), None, _) => match reader.get(position) {
            Err(ReadError::Absent(_)) => Ok(Vec::new()),
            commit => Ok(vec![commit?]),
        },
        (Ok(At::Time(time)), None, _) => Ok(at_time(reader, time)?.into_iter().collect()),
        (Ok(At::Now), None, _) => Ok(reader.last().map(|last| reader.get(last)).transpose()?.into_iter().collect()),
        (Ok(At::Version(_)), None, _) => Err(Failure::usage("a version of which aggregate? Say so with --of type/key")),
        (Err(wrong), _, Err(error)) => Err(Failure::usage(format!("{}: {wrong}; {error}", arguments.what))),
    }
}

/// Other commits of the same trace, with their partitions: the first of them, and one more than are named if there is.
fn related(data: &DataDir, own: u32, commit: &Commit) -> Result<Vec<(u32, Commit)>, Failure> {
    let Some(trace) = trace(commit) else { return Ok(Vec::new()) };
    let mut related = Vec::new();
    for partition in 0..data.partitions() {
        let Some(reader) = open(data, partition)? else { continue };
        let counted = Counted::new(reader, format!("partition {partition}: looking for its trace"));
        for other in of_trace(&counted, trace) {
            let other = other?;
            if (partition, other.position) == (own, commit.position) {
                continue;
            }
            related.push((partition, other));
            if RELATED_MAX < related.len() {
                break;
            }
        }
        counted.finish();
        if RELATED_MAX < related.len() {
            break;
        }
    }
    Ok(related)
}

fn print(partition: u32, one_of_many: bool, cause: &Cause, related: &[(u32, Commit)]) -> Result<(), Failure> {
    let Cause { commit, states, previous, batch } = cause;
    let command = &commit.command;
    let of = |partition: u32| if one_of_many { format!(" of partition {partition}") } else { String::new() };
    let outcome = commit.outcome().map_err(|error| Failure::new(Exit::Damaged, with_sources(&error)))?;
    let mut rows = vec![
        ("position", format!("{}{}", commit.position, of(partition))),
        ("decided", commit.decided_at.to_string()),
        ("command", asked(command)),
        ("to", command.aggregate.to_string()),
        ("by", command.identity.principal.to_string()),
        ("id", command.identity.id.to_string()),
    ];
    rows.extend(command.expected.map(|version| ("expecting", format!("v{version}"))));
    rows.extend(command.not_after.map(|time| ("not after", time.to_string())));
    rows.extend(command.traceparent.clone().map(|trace| ("trace", trace)));
    rows.extend(related.iter().take(RELATED_MAX).map(|(partition, other)| {
        let (position, command) = (other.position, &other.command);
        let (principal, aggregate) = (&command.identity.principal, &command.aggregate);
        ("", format!("also position {position}{}: {principal} to {aggregate}: {}", of(*partition), asked(command)))
    }));
    rows.extend((RELATED_MAX < related.len()).then(|| ("", "and more".to_owned())));
    if let Some(Batch { head, last, rejected_for }) = batch {
        let first = head.position;
        let own = match first == commit.position {
            true => "of which this is the batch itself".to_owned(),
            false => format!("with the id {}", head.command.identity.id),
        };
        rows.push(("batch", format!("the atomic one of positions {first} to {last}, {own}")));
        if let Some(other) = rejected_for.as_ref().filter(|other| other.position != commit.position) {
            let outcome = other.outcome().map_err(|error| Failure::new(Exit::Damaged, with_sources(&error)))?;
            let (aggregate, came_of) = (&other.command.aggregate, came_of(&other.command, &outcome.decision));
            let what = format!("{} to {aggregate}: {came_of}", asked(&other.command));
            rows.push(("", format!("rejected for position {}: {what}", other.position)));
        }
    }
    rows.push(("outcome", came_of(command, &outcome.decision)));
    if !command.aggregate.kind.is_batch() {
        rows.push(("version", format!("{} -> {}", commit.version_before(), commit.version)));
    }
    rows.extend(previous.as_ref().map(|previous| {
        let (position, version) = (previous.position, previous.version);
        ("before it", format!("position {position} made it v{version}: {}", asked(&previous.command)))
    }));
    let paint = Paint::for_stdout();
    match states {
        Ok((before, after)) if before != after => {
            output::rows(paint, &rows)?;
            output::line("")?;
            return output::json_difference(paint, &text(before), &text(after));
        }
        Ok((state, _)) => rows.push(("state", text(state))),
        Err(_) if command.aggregate.kind.is_batch() => {} // A batch has none.
        Err(error) => rows.push(("state", format!("cannot be told: {}", with_sources(error)))),
    }
    output::rows(paint, &rows)
}

fn text(json: &[u8]) -> String {
    String::from_utf8_lossy(json).into_owned()
}

/// The object for programs. Commit and states are as they were written, with every digit.
#[derive(Serialize)]
struct Row<'a> {
    partition: u32,
    position: Position,
    commit: Option<&'a RawValue>,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
    previous: Option<Position>,
    batch: Option<[Position; 2]>,
    rejected_for: Option<Position>,
    related: Vec<Related>,
    related_more: bool,
}

#[derive(Serialize)]
struct Related {
    partition: u32,
    position: Position,
}

fn json(partition: u32, cause: &Cause, related: &[(u32, Commit)]) -> String {
    let Cause { commit, states, previous, batch } = cause;
    let (before, after) = states.as_ref().ok().map(|(before, after)| (output::raw(before), output::raw(after))).unzip();
    let row = Row {
        partition,
        position: commit.position,
        commit: output::raw(commit.json()),
        before: before.flatten(),
        after: after.flatten(),
        previous: previous.as_ref().map(|previous| previous.position),
        batch: batch.as_ref().map(|batch| [batch.head.position, batch.last]),
        rejected_for: batch.as_ref().and_then(|batch| Some(batch.rejected_for.as_ref()?.position)),
        related: related
            .iter()
            .take(RELATED_MAX)
            .map(|(partition, other)| Related { partition: *partition, position: other.position })
            .collect(),
        related_more: RELATED_MAX < related.len(),
    };
    serde_json::to_string(&row).expect("numbers and JSON are JSON")
}
