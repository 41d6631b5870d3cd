//! `verify`: is the store what was written, and do the index and the feed agree?

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;

use super::again::Again;
use super::bars::commits_bar;
use super::connection::Connection;
use super::exit::{Exit, Failure, said};
use super::feed::{FeedState, Feeds};
use super::output::{self, Paint};
use crate::aggregate::Service;
use crate::index::{Index, IndexError, SledIndex, VerifyError, verify};
use crate::model::error::with_sources;
use crate::model::{ChainHash, Position};
use crate::replay::export::{Export, Item};
use crate::replay::redecide::{Redecided, Redecider};
use crate::replay::states::States;
use crate::replay::verify::{Checks, Contradiction, Found};
use crate::serve::DataDir;
use crate::store::CommitReader;
use crate::store::file::FileReader;

/// Check the data directory: every frame and the chain, what they say, the index against them, and every decision again
///
/// Every recorded command is decided again on the state of its time, by the aggregates of this program. What comes out
/// otherwise is shown; that is no damage, since rules change. With --against it is what is asked about: whether this program
/// may take the place of the one that decided a production export, or a copy of its data directory. Then any difference
/// exits with 1.
///
/// With --feed the stream of each partition is read too, and every message must be the commit at its position, byte for
/// byte. That it lags behind is no fault. A feed that is ahead of its journal, or has anything else, exits with 8.
///
/// Beside a running processor, or without the right to write, the index is left out, and that is said. Damage to the store
/// exits with 8 and names file, byte and position. A wrong index, events that this program cannot read, and a recorded state
/// that it folds otherwise without another FOLD exit with 1. Memory holds the state of every aggregate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hapax verify --data ./hapax-data
  hapax verify --data ./hapax-data --feed --server nats://127.0.0.1:4222
  hapax verify --against production.jsonl")]
pub(super) struct Arguments {
    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./hapax-data")]
    data: PathBuf,

    /// An export, or a copy of a data directory, that this program must decide as it was decided
    #[arg(long, value_name = "DIR|FILE", conflicts_with = "data")]
    against: Option<PathBuf>,

    /// Compare the feed on a NATS server with the journal, message by message
    #[arg(long, conflicts_with = "against")]
    feed: bool,

    /// Print the result as a JSON object for each partition, behind one for each difference
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connection: Connection,
}

/// What to do about an index that is wrong.
const INDEX_ANEW: &str =
    "delete sled and checkpoint.json of the partition while no processor runs, and the next start builds them anew";

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
    /// `None`: an export has none.
    index: Option<IndexState>,
    /// `None`: it was not asked about, since there is none or this is an export or a copy.
    feed: Option<FeedState>,
    again: Again,
}

pub(super) async fn run(arguments: Arguments, service: Service) -> Result<Exit, Failure> {
    let Arguments { data, against, feed, json, connection } = &arguments;
    let service = Arc::new(service);
    let strict = against.is_some();
    let path = against.as_ref().unwrap_or(data);
    if strict && path.is_file() {
        return decide_export_again(path, &service, *json);
    }
    if strict && !path.exists() {
        let message = format!("there is no {}: name an export, or a copy of a data directory", path.display());
        return Err(Failure::new(Exit::Failed, message));
    }
    let data = DataDir::open(path)?;
    // First: who cannot connect need not wait until everything else is verified.
    let feeds = if *feed { Some(Feeds::connect(connection).await?) } else { None };
    let (mut exit, mut all) = (Exit::Done, Again::new(strict, *json));
    for partition in 0..data.partitions() {
        let mut checked = check(&data, partition, &service, Again::new(strict, *json))?;
        checked.feed = match &feeds {
            Some(feeds) => Some(feeds.compare(&data, partition).await?),
            None => (data.is_fed() && !strict).then_some(FeedState::LeftOut),
        };
        exit = match (&checked.feed, &checked.index) {
            (Some(FeedState::Wrong(_)), _) => Exit::Damaged,
            (_, Some(IndexState::Wrong(_))) if exit == Exit::Done => Exit::Failed,
            _ => exit,
        };
        said(checked.print(partition, *json))?;
        all.add(checked.again);
    }
    said(all.list())?;
    Ok(if exit == Exit::Done && !all.is_fine() { Exit::Failed } else { exit })
}

/// An export has neither frames nor an index, but a chain, and the states as they were folded.
fn decide_export_again(path: &Path, service: &Arc<Service>, json: bool) -> Result<Exit, Failure> {
    let file = File::open(path).map_err(Failure::io(path.display()))?;
    let mut export = Export::open(BufReader::new(file))?;
    let mut all = Again::new(true, json);
    let bar = ProgressBar::new_spinner().with_message("commits decided again");
    let header = export.header().clone();
    for partition in 0..header.partitions {
        let id = header.store_id(partition);
        let (mut checks, mut redecider) = (Checks::new(id), Redecider::new(service.clone(), id));
        let (mut again, mut hash) = (Again::new(true, json), ChainHash::of_store(id.store));
        let mut recorded_states = BTreeSet::new();
        while let Some((_, item)) = export.read_next()? {
            match item {
                Item::Commit(commit) => {
                    checks.check(&commit).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
                    hash = commit.hash;
                    bar.suspend(|| again.show(partition, redecider.decide(*commit)?))?;
                    bar.inc(1);
                }
                Item::State(aggregate, recorded) => {
                    again.compare(redecider.states(), &aggregate, &recorded)?;
                    recorded_states.insert(aggregate);
                }
                Item::End => break,
            }
        }
        // They are under no chain, so nothing else shows that some were taken out, or were never there.
        let folded = redecider.states().all();
        again.lacks(folded.filter(|(aggregate, _)| !recorded_states.contains(aggregate)).count() as u64);
        let checked = Checked { found: checks.found(), hash: hash.to_string(), index: None, feed: None, again };
        bar.suspend(|| said(checked.print(partition, json)))?;
        all.add(checked.again);
    }
    bar.finish_and_clear();
    said(all.list())?;
    Ok(if all.is_fine() { Exit::Done } else { Exit::Failed })
}

fn check(data: &DataDir, partition: u32, service: &Arc<Service>, mut again: Again) -> Result<Checked, Failure> {
    let (dir, id) = (data.partition_dir(partition), data.store_id(partition));
    let Some(reader) = super::journal::open(data, partition)? else {
        return match SledIndex::open_as_it_is(&dir, id) {
            Ok(None) => {
                let index = Some(IndexState::Absent);
                Ok(Checked { found: Found::default(), hash: "none".into(), index, feed: None, again })
            }
            _ => {
                let message = format!("partition {partition} has an index but no journal: its store is gone");
                Err(Failure::new(Exit::Damaged, message))
            }
        };
    };
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
    let (index, opened) = check_index(data, partition, &reader)?;
    let bar = commits_bar(total, format!("partition {partition}: decided again"));
    let mut redecider = Redecider::new(service.clone(), id);
    for commit in reader.read(Position::FIRST) {
        let redecided = redecider.decide(commit?)?;
        if let Some(index) = &opened {
            compare_snapshots(index, &redecided, redecider.states(), &mut again)?;
        }
        bar.suspend(|| again.show(partition, redecided))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Checked { found: checks.found(), hash: tip.hash.to_string(), index: Some(index), feed: None, again })
}

/// Snapshots that were made of these commits: what they hold is what the code folded that made them.
fn compare_snapshots(
    index: &SledIndex,
    redecided: &[Redecided],
    states: &States,
    again: &mut Again,
) -> Result<(), Failure> {
    for Redecided { recorded, .. } in redecided.iter().filter(|redecided| redecided.recorded.event_count > 0) {
        let aggregate = &recorded.command.aggregate;
        match index.snapshot(aggregate) {
            Ok(Some(snapshot)) if snapshot.version == states.version(aggregate) => {
                again.compare(states, aggregate, &snapshot)?;
            }
            Ok(_) => {}
            // It was verified a moment ago.
            Err(error) => return Err(Failure::new(Exit::Failed, with_sources(&error))),
        }
    }
    Ok(())
}

/// What is to be said of the index; and the index, if it agrees.
fn check_index(
    data: &DataDir,
    partition: u32,
    reader: &FileReader,
) -> Result<(IndexState, Option<SledIndex>), Failure> {
    let unseen = |state| Ok((state, None));
    if reader.writer_is_running().map_err(Failure::io("cannot ask whether a processor runs"))? {
        return unseen(IndexState::LeftOut("a processor is running".into()));
    }
    let (dir, id) = (data.partition_dir(partition), data.store_id(partition));
    let (index, checkpoint) = match SledIndex::open_as_it_is(&dir, id) {
        Ok(None) => return unseen(IndexState::Absent),
        Ok(Some(opened)) => opened,
        // A processor has started since we asked.
        Err(IndexError::InUse { .. }) => return unseen(IndexState::LeftOut("a processor is running".into())),
        Err(error) => return unseen(judged(&error)),
    };
    let total = reader.last();
    let bar = commits_bar(total.map_or(0, Position::get), format!("partition {partition}: index"));
    let verified = verify(&index, reader, &checkpoint, &mut |progress| bar.set_position(progress.noted));
    bar.finish_and_clear();
    match verified {
        Ok(()) => Ok((IndexState::Agrees(checkpoint.position), Some(index))),
        Err(VerifyError::Index(error)) => unseen(judged(&error)),
        Err(VerifyError::Store(error)) => Err(error.into()),
    }
}

/// An index that could not be read, as by a user who may not write, is not wrong for that: sled opens for writing only.
fn judged(error: &IndexError) -> IndexState {
    match error {
        IndexError::OtherFormat(format) => {
            IndexState::LeftOut(format!("it has format {format}: the next start of this version builds it anew"))
        }
        error if error.is_doubt() => IndexState::Wrong(with_sources(error)),
        error => IndexState::LeftOut(format!("it could not be checked: {}", with_sources(error))),
    }
}

impl Checked {
    /// What is wrong beside the journal.
    fn why(&self) -> Option<&str> {
        match (&self.feed, &self.index) {
            (Some(FeedState::Wrong(why)), _) | (_, Some(IndexState::Wrong(why))) => Some(why),
            _ => None,
        }
    }

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
                    "index": self.index.as_ref().map(IndexState::name),
                    "feed": self.feed.as_ref().map(FeedState::name),
                    "unfed": self.feed.as_ref().and_then(FeedState::unfed),
                    "decided_again": self.again.decided(),
                    "differing": self.again.differing(),
                    "not_compared": self.again.not_compared(),
                    "why": self.why(),
                })
                .to_string(),
            );
        }
        let paint = Paint::for_stdout();
        let what = if self.index.is_some() { "journal" } else { "export" };
        let mut rows = vec![
            ("partition", partition.to_string()),
            (what, format!("{}, {commits} commits, {rejections} of them rejections", paint.good("whole"))),
            ("events", format!("{events}, of {aggregates} aggregates")),
            ("chain", self.hash.clone()),
        ];
        rows.extend(self.index.as_ref().map(|index| ("index", index.text(paint))));
        rows.extend(self.feed.as_ref().map(|feed| ("feed", feed.text(paint))));
        rows.push(("again", self.again.summary(paint)));
        output::rows(paint, &rows)
    }
}

impl IndexState {
    fn text(&self, paint: Paint) -> String {
        match self {
            IndexState::Agrees(checkpoint) => format!("{}, checkpoint at position {checkpoint}", paint.good("agrees")),
            IndexState::Absent => "none; the next start builds it".into(),
            IndexState::LeftOut(why) => format!("left out, since {why}"),
            // A start proves that nothing is missing. That everything is in its place, only a comparison like ours does.
            IndexState::Wrong(why) => format!("{}: {why}; {INDEX_ANEW}", paint.bad("wrong")),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            IndexState::Agrees(_) => "agrees",
            IndexState::Absent => "absent",
            IndexState::LeftOut(_) => "left_out",
            IndexState::Wrong(_) => "wrong",
        }
    }
}
