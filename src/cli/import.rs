//! `import`: a store out of the lines of JSON that `export` wrote.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;

use super::bars::IndexBars;
use super::exit::{Exit, Failure};
use super::output;
use crate::model::error::with_sources;
use crate::model::groups::Groups;
use crate::model::{Commit, Position};
use crate::replay::export::{Export, Item};
use crate::replay::verify::Checks;
use crate::serve::DataDir;
use crate::serve::unfinished::Unfinished;
use crate::store::AppendError;
use crate::store::file::disk::OsDisk;
use crate::store::file::journal::{Journal, SEGMENT_BYTES_MAX};

/// Bytes that are written before they are made durable.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// Make a data directory out of an export: the same store, positions and chain, and every old id gets its old outcome
///
/// Everything is checked while it is read: positions, chain, versions, ids. Nothing takes the directory for a store
/// before it is complete. It is the same store as the one that was exported: let only one of them serve, for neither
/// knows what the other decides.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax import store.jsonl --data ./hapax-data")]
pub(super) struct Arguments {
    /// The export; - for stdin
    file: PathBuf,

    /// The data directory to make; nothing may be in it but what a volume has by itself
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let Arguments { file, data } = arguments;
    let lines: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(file).map_err(Failure::io(file.display()))?))
    };
    let commits = fill(Export::open(lines)?, data)?;
    output::line(format!("{commits} commits; start a processor, or ask `verify`, with --data {}", data.display()))?;
    Ok(Exit::Done)
}

/// Makes the data directory. How many commits it has.
fn fill(mut export: Export<impl BufRead>, path: &Path) -> Result<u64, Failure> {
    let (store, partitions) = (export.header().store, export.header().partitions);
    let partitions = NonZeroU32::new(partitions).unwrap_or(NonZeroU32::MIN);
    let unfinished = Unfinished::begin(path, store, partitions, false)?;
    let data = unfinished.data();
    let bar = ProgressBar::new_spinner().with_message("commits");
    let (mut commits, mut lasts) = (0, Vec::new());
    let mut partition = Importing::begin(data, 0)?;
    while let Some((number, item)) = export.read_next()? {
        match item {
            Item::Commit(commit) => {
                partition.take(*commit)?;
                commits += 1;
                bar.inc(1);
            }
            Item::State(..) => {} // The next processor folds them itself.
            Item::End => {
                lasts.push(partition.finish()?);
                if number + 1 == partitions.get() {
                    bar.finish_and_clear();
                    let indexes = IndexBars::default();
                    unfinished.finish(&lasts, |partition, progress| indexes.show(partition, progress))?;
                    return Ok(commits);
                }
                partition = Importing::begin(data, number + 1)?;
            }
        }
    }
    Err(Failure::new(Exit::Failed, "the export ends before its last partition"))
}

/// A partition that is being filled.
struct Importing {
    journal: Journal,
    checks: Checks,
    /// The journal takes an atomic batch as a whole.
    groups: Groups,
}

impl Importing {
    fn begin(data: &DataDir, partition: u32) -> Result<Importing, Failure> {
        let (dir, id) = (data.journal_dir(partition), data.store_id(partition));
        let journal = Journal::open(Arc::new(OsDisk), &dir, id, None, SEGMENT_BYTES_MAX)?;
        Ok(Importing { journal, checks: Checks::new(id), groups: Groups::default() })
    }

    fn take(&mut self, commit: Commit) -> Result<(), Failure> {
        self.checks.check(&commit).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let Some(group) = self.groups.take(commit)? else { return Ok(()) };
        self.journal.append(&group).map_err(not_written)?;
        if SYNC_BYTES < self.journal.unsynced_bytes() {
            self.journal.sync().map_err(not_written)?;
        }
        Ok(())
    }

    /// The last position.
    fn finish(mut self) -> Result<Option<Position>, Failure> {
        self.journal.sync().map_err(not_written)?;
        self.journal.state_synced().map_err(not_written)?;
        Ok(self.journal.tip().position)
    }
}

fn not_written(error: AppendError) -> Failure {
    Failure::new(Exit::Failed, with_sources(&error))
}
