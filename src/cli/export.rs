//! `export`: the store as lines of JSON.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::bars::commits_bar;
use super::exit::{Exit, Failure, output_failed};
use crate::aggregate::Service;
use crate::model::Position;
use crate::replay::export::{Header, write_masked, write_partition};
use crate::replay::mask::{Mask, Masker};
use crate::serve::DataDir;
use crate::store::{CommitReader, StoreId};

/// Aggregates of a partition whose missing state is said, each with its reason.
const UNTOLD_MAX: usize = 10;

/// Write all commits as JSON lines: a copy of the store that `import` reads and `verify --against` decides again
///
/// Needs neither a broker nor a processor, and does not disturb a running one: it writes what is there when it begins.
/// Behind the commits it writes the state of every aggregate, as this program folds it, and tells which it cannot fold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hapax export > store.jsonl
  hapax export --mask mask.toml --to tests/histories/november.jsonl

A mask names what gets pseudonyms; the same value gets the same one everywhere. A name of nothing in the store is an error:
  salt = \"at least 16 characters that nobody else knows\"
  principals = true               # those who sent the commands
  ids = true                      # the command ids; trace ids are left out
  keys = [\"account\"]              # the keys of aggregates of these types
  fields = [\"owner\", \"lines.sku\"] # members of commands, events and details, with all that is in them")]
pub(super) struct Arguments {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./hapax-data")]
    data: PathBuf,

    /// Write to this file instead of stdout; it must not exist
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,

    /// Write pseudonyms for what this file names; the export is then another store, with a chain of its own
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, service: Service) -> Result<Exit, Failure> {
    let (data, service) = (DataDir::open(&arguments.data)?, Arc::new(service));
    let mask = arguments.mask.as_deref().map(read_mask).transpose()?;
    match &arguments.to {
        None => write(&data, &service, mask.as_ref(), io::stdout().lock())?,
        Some(path) => {
            let file = File::create_new(path).map_err(Failure::io(path.display()))?;
            let written = write(&data, &service, mask.as_ref(), &file)
                .and_then(|()| file.sync_all().map_err(Failure::io(path.display())));
            if let Err(failure) = written {
                let _half_of_one = fs::remove_file(path);
                return Err(failure);
            }
        }
    }
    Ok(Exit::Done)
}

fn read_mask(path: &Path) -> Result<Mask, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(Failure::io(path.display()))?;
    let mask: Mask = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    mask.check().map_err(|error| wrong(error.into()))?;
    Ok(mask)
}

fn write(data: &DataDir, service: &Arc<Service>, mask: Option<&Mask>, out: impl Write) -> Result<(), Failure> {
    let (mut out, mut masking) = (BufWriter::new(out), mask.map(|mask| (mask, mask.unmatched())));
    let store = mask.map_or(data.store(), |mask| mask.store(data.store()));
    let header = Header::new(store, data.partitions(), mask.is_some());
    header.write(&mut out).map_err(output_failed)?;
    for partition in 0..data.partitions() {
        let id = StoreId { store, ..data.store_id(partition) };
        let reader = super::journal::open(data, partition)?;
        let Some(reader) = reader else {
            header.write_empty(&mut out, partition, masking.as_ref().map(|(_, unmatched)| unmatched))?;
            continue;
        };
        let bar = commits_bar(reader.last().map_or(0, Position::get), format!("partition {partition}: export"));
        let seen = || bar.inc(1);
        let untold = match &mut masking {
            Some((mask, unmatched)) => {
                let masker = Masker::new(mask, unmatched, service.clone(), id);
                write_masked(&mut out, id, &reader, masker, seen)?
            }
            None => write_partition(&mut out, id, &reader, service, seen)?,
        };
        bar.finish_and_clear();
        for line in said_of(&untold) {
            eprintln!("partition {partition}: {line}");
        }
    }
    out.flush().map_err(output_failed)
}

/// The commits are whole without it. But a state that is not there is compared with none when the export is decided again.
fn said_of(untold: &[String]) -> impl Iterator<Item = String> {
    let said = untold.iter().take(UNTOLD_MAX).map(|why| format!("no state is written: {why}"));
    let more = untold.len().saturating_sub(UNTOLD_MAX);
    said.chain((more > 0).then(|| format!("no state is written of {more} more")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_that_have_no_state_the_first_are_said_and_how_many_more_there_are() {
        let untold: Vec<String> = (10..23).map(|number| format!("account/{number}: it has gone")).collect();
        let said = |count: usize| said_of(&untold[..count]).collect::<Vec<_>>();
        assert_eq!(said(1), ["no state is written: account/10: it has gone"]);
        assert_eq!((said(10).len(), said(11).len(), said(13).len()), (10, 11, 11));
        assert_eq!(said(13)[9..], ["no state is written: account/19: it has gone", "no state is written of 3 more"]);
    }
}
