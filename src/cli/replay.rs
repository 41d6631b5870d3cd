//! `replay`: what happened, from the data directory alone.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Exit, Failure};
use super::output;
use crate::model::partition::partition_of;
use crate::model::{AggregateId, Position};
use crate::replay::timeline::Timeline;
use crate::replay::{Selection, commits};
use crate::serve::DataDir;
use crate::store::CommitReader;
use crate::store::file::{FileReader, OpenError};

/// Show what happened, commit by commit, from the data directory
///
/// Needs neither a broker nor a processor, and does not disturb a running one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax replay account/42 --data ./hapax-data")]
pub(super) struct Arguments {
    /// Only this aggregate, as type/key
    aggregate: Option<AggregateId>,

    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./hapax-data")]
    data: PathBuf,

    /// The first position; each partition counts its own
    #[arg(long, value_name = "N", value_parser = position)]
    from: Option<Position>,

    /// The last position
    #[arg(long, value_name = "N", value_parser = position)]
    to: Option<Position>,

    /// Print each commit as a JSON object: as it is recorded, with partition, position and chain hash
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { aggregate, data, from, to, json } = arguments;
    let data = DataDir::open(data)?;
    let count = data.partitions();
    let selection = Selection { aggregate: aggregate.clone(), from: *from, upto: *to };
    let partitions = match aggregate {
        Some(aggregate) => {
            let owner = partition_of(&aggregate.key, count);
            owner..owner + 1
        }
        None => 0..count,
    };
    for partition in partitions {
        let Some(reader) = open(&data.journal_dir(partition))? else { continue };
        let Some(last) = reader.last() else { continue };
        let timeline = Timeline { partition, one_of_many: count > 1, last };
        for commit in commits(&reader, &selection) {
            let commit = commit?;
            if *json {
                output::line(timeline.json(&commit))?;
            } else {
                let text = timeline.text(&commit);
                output::line(text.map_err(|error| Failure::new(Exit::Damaged, error.to_string()))?)?;
            }
        }
    }
    Ok(Exit::Done)
}

/// The journal of a partition; `None`: its processor has not come to making one.
pub(super) fn open(journal: &Path) -> Result<Option<FileReader>, Failure> {
    match FileReader::open_read_only(journal) {
        Ok(reader) => Ok(Some(reader)),
        Err(OpenError::Absent { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn position(text: &str) -> Result<Position, &'static str> {
    text.parse().ok().and_then(Position::new).ok_or("a position is 1 or more")
}
