//! `verify`: is the store what was written, and does the index agree?

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Failure, said};
use super::output::{self, Paint};
use super::serve::commits_bar;
use crate::index::{IndexError, SledIndex, VerifyError, verify};
use crate::model::Position;
use crate::model::error::with_sources;
use crate::replay::verify::{Checks, Contradiction, Found};
use crate::serve::DataDir;
use crate::store::file::{FileReader, FileStore};
use crate::store::{CommitReader, ReadError};

/// Check the data directory: every frame and the chain, what they say, and the index against them
///
/// Beside a running processor, or without the right to write, the index is left out, and that is said. Damage to the store exits with 8 and names file, byte and position;
/// a wrong index exits with 1, and the next start of a processor builds it anew.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax verify --data ./hapax-data")]
pub(super) struct Arguments {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./hapax-data")]
    data: PathBuf,

    /// Print the result as a JSON object for each partition
    #[arg(long)]
    json: bool,
}

/// What was found out about an index.
enum IndexState {
    Agrees(Position),
    Absent,
    /// Why it was not looked at.
    LeftOut(String),
    Wrong(String),
}

/// What was found out about a partition.
struct Checked {
    found: Found,
    hash: String,
    index: IndexState,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let data = DataDir::open(&arguments.data)?;
    let mut exit = Exit::Done;
    for partition in 0..data.partitions() {
        let checked = check(&data, partition)?;
        if let IndexState::Wrong(_) = checked.index {
            exit = Exit::Failed;
        }
        said(checked.print(partition, arguments.json))?;
    }
    Ok(exit)
}

fn check(data: &DataDir, partition: u32) -> Result<Checked, Failure> {
    let (dir, id) = (data.partition_dir(partition), data.store_id(partition));
    let Some(reader) = super::replay::open(&data.journal_dir(partition))? else {
        if data.has_begun() {
            FileStore::must_exist(&data.journal_dir(partition))?;
        }
        return match SledIndex::open_as_it_is(&dir, id) {
            Ok(None) => Ok(Checked { found: Found::default(), hash: "none".into(), index: IndexState::Absent }),
            _ => {
                let message = format!("partition {partition} has an index but no journal: its store is gone");
                Err(Failure::new(Exit::Damaged, message))
            }
        };
    };
    if reader.id() != id {
        let other = reader.id();
        let message = format!(
            "the journal of partition {partition} belongs to partition {} of store {}, not to this data directory",
            other.partition, other.store
        );
        return Err(Failure::new(Exit::Damaged, message));
    }
    let total = reader.last().map_or(0, Position::get);
    let bar = commits_bar(total, format!("partition {partition}: journal"));
    let mut checks = Checks::new(id);
    let mut contradiction: Option<Contradiction> = None;
    let tip = reader.verify(|commit| {
        bar.inc(1);
        if contradiction.is_none() {
            contradiction = checks.check(commit).err();
        }
    });
    bar.finish_and_clear();
    let tip = tip?;
    if let Some(contradiction) = contradiction {
        return Err(Failure::new(Exit::Damaged, format!("partition {partition}: {contradiction}")));
    }
    let index = check_index(data, partition, &reader)?;
    Ok(Checked { found: checks.found(), hash: tip.hash.to_string(), index })
}

fn check_index(data: &DataDir, partition: u32, reader: &FileReader) -> Result<IndexState, Failure> {
    if reader.writer_is_running().map_err(Failure::io("cannot ask whether a processor runs"))? {
        return Ok(IndexState::LeftOut("a processor is running".into()));
    }
    let (index, checkpoint) = match SledIndex::open_as_it_is(&data.partition_dir(partition), data.store_id(partition)) {
        Ok(None) => return Ok(IndexState::Absent),
        Ok(Some(opened)) => opened,
        // A processor has started since we asked.
        Err(IndexError::InUse { .. }) => return Ok(IndexState::LeftOut("a processor is running".into())),
        Err(error) => return Ok(judged(&error)),
    };
    let total = reader.last();
    // Whatever the index says: up to its checkpoint everything was durable once.
    if let Some(damage) = reader.lacks(checkpoint.position) {
        return Err(ReadError::from(damage).into());
    }
    let bar = commits_bar(total.map_or(0, Position::get), format!("partition {partition}: index"));
    let verified = verify(&index, reader, &checkpoint, &mut |progress| bar.set_position(progress.noted));
    bar.finish_and_clear();
    match verified {
        Ok(()) => Ok(IndexState::Agrees(checkpoint.position)),
        Err(VerifyError::Index(error)) => Ok(judged(&error)),
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

/// An index that could not be read, as by a user who may not write, is not wrong for that: sled opens for writing only.
fn judged(error: &IndexError) -> IndexState {
    if error.is_doubt() {
        IndexState::Wrong(with_sources(error))
    } else {
        IndexState::LeftOut(format!("it could not be checked: {}", with_sources(error)))
    }
}

impl Checked {
    fn print(&self, partition: u32, json: bool) -> Result<(), Failure> {
        let Found { commits, rejections, events, aggregates } = self.found;
        if json {
            return output::line(
                serde_json::json!({
                    "partition": partition,
                    "commits": commits,
                    "rejections": rejections,
                    "events": events,
                    "aggregates": aggregates,
                    "hash": self.hash,
                    "index": self.index.name(),
                })
                .to_string(),
            );
        }
        let paint = Paint::for_stdout();
        let index = match &self.index {
            IndexState::Agrees(checkpoint) => format!("{}, checkpoint at position {checkpoint}", paint.good("agrees")),
            IndexState::Absent => "none; the next start builds it".into(),
            IndexState::LeftOut(why) => format!("left out, since {why}"),
            IndexState::Wrong(why) => format!("{}: {why}; the next start builds it anew", paint.bad("wrong")),
        };
        output::rows(
            paint,
            &[
                ("partition", partition.to_string()),
                ("journal", format!("{}, {commits} commits, {rejections} of them rejections", paint.good("whole"))),
                ("events", format!("{events}, of {aggregates} aggregates")),
                ("chain", self.hash.clone()),
                ("index", index),
            ],
        )
    }
}

impl IndexState {
    fn name(&self) -> &'static str {
        match self {
            IndexState::Agrees(_) => "agrees",
            IndexState::Absent => "absent",
            IndexState::LeftOut(_) => "left_out",
            IndexState::Wrong(_) => "wrong",
        }
    }
}
