//! `replay`: what happened, from the data directory alone, or from the feed alone.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::bars::commits_bar;
use super::connection::Connection;
use super::exit::{Exit, Failure};
use super::journal::{open, partitions_of};
use super::output;
use super::point::{self, POINTS};
use super::signals::Signals;
use crate::model::partition::partition_of;
use crate::model::subject::AggregateType;
use crate::model::{AggregateId, At, CommandId, Commit, Position, Principal};
use crate::nats::connect;
use crate::nats::feed::{FeedError, FeedReader};
use crate::replay::timeline::Timeline;
use crate::replay::{Selection, commits};
use crate::serve::DataDir;
use crate::store::CommitReader;
use crate::store::file::{FileReader, Follower};

/// How often a journal is looked at for what has come to it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Show what happened, commit by commit, from the data directory
///
/// Needs neither a broker nor a processor, and does not disturb a running one. With --from-nats it needs a broker, and no data.
#[derive(Debug, Args)]
#[command(after_help = format!(
    "Examples:\n  hapax replay account/42 --from v3 --data ./hapax-data\n  hapax replay --type order --event shipped --from 2026-11-24 --follow\n\n{POINTS}"
))]
pub(super) struct Arguments {
    /// Only this aggregate, as type/key
    aggregate: Option<AggregateId>,

    /// The data directory
    #[arg(long, value_name = "DIR", default_value = "./hapax-data")]
    data: PathBuf,

    /// Read the feed on a NATS server instead of a data directory; every commit is checked by the chain
    #[arg(long, conflicts_with = "data")]
    from_nats: bool,

    /// The first position, version or time; each partition counts its own positions, each aggregate its versions
    #[arg(long, value_name = "POINT", value_parser = point::position)]
    from: Option<At>,

    /// The last position, version or time
    #[arg(long, value_name = "POINT", value_parser = point::position)]
    to: Option<At>,

    /// Only aggregates of this type
    #[arg(long = "type", value_name = "TYPE", value_parser = AggregateType::parse)]
    kind: Option<AggregateType>,

    /// Only commits with an event of this type
    #[arg(long, value_name = "TYPE")]
    event: Option<String>,

    /// Only commands of this principal
    #[arg(long, value_name = "NAME", value_parser = Principal::parse)]
    principal: Option<Principal>,

    /// Only the command with this id
    #[arg(long, value_name = "ID")]
    id: Option<CommandId>,

    /// Go on with what comes, as soon as it is durable, until ctrl-c
    #[arg(long, conflicts_with = "to")]
    follow: bool,

    /// Print each commit as a JSON object: as it is recorded, with partition, position and chain hash
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let selection = Selection {
        aggregate: arguments.aggregate.clone(),
        kind: arguments.kind.clone(),
        event: arguments.event.clone(),
        principal: arguments.principal.clone(),
        id: arguments.id.clone(),
        from: arguments.from,
        upto: arguments.to,
    };
    if arguments.from_nats {
        return from_nats(&arguments, selection).await;
    }
    let data = DataDir::open(&arguments.data)?;
    let showing = Showing { selection, json: arguments.json, one_of_many: data.partitions() > 1 };
    let (mut live, mut shown) = (Vec::new(), 0);
    for partition in partitions_of(&data, arguments.aggregate.as_ref()) {
        let reader = open(&data, partition)?;
        if let Some(reader) = &reader {
            shown += showing.all(partition, reader)?;
        }
        live.push((partition, reader.map(|reader| reader.follow()).transpose()?));
    }
    if !arguments.follow {
        return Ok(ended(shown));
    }
    // Only now: until here ctrl-c has ended the program by itself.
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    loop {
        for (partition, follower) in &mut live {
            showing.arrived(&data, *partition, follower)?;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = signals.next() => return Ok(Exit::Done),
        }
    }
}

/// The same from the feed.
async fn from_nats(arguments: &Arguments, selection: Selection) -> Result<Exit, Failure> {
    let options = arguments.connection.options()?;
    let context = options.jetstream(connect(&options).await?);
    let count = FeedReader::open(&context, 0).await?.partitions();
    let showing = Showing { selection, json: arguments.json, one_of_many: count > 1 };
    let owner = arguments.aggregate.as_ref().map(|aggregate| partition_of(&aggregate.key, count));
    let (mut live, mut shown) = (Vec::new(), 0);
    for partition in owner.map_or(0..count, |owner| owner..owner + 1) {
        let feed = FeedReader::open(&context, partition).await?;
        let last = feed.last().await?;
        let from = match showing.selection.from {
            // What is before it proves it, so it is read from the end at the latest.
            Some(At::Position(position)) => position.min(Position::after(last)),
            Some(At::Now) => Position::after(last),
            Some(At::Time(_) | At::Version(_)) | None => Position::FIRST,
        };
        let upto = if arguments.follow { None } else { last };
        let mut commits = feed.commits(from, upto).await?.boxed();
        if let Some(last) = last {
            shown += showing.fed(partition, from, last, &mut commits).await?;
        }
        live.push(commits.map(move |commit| (partition, commit)));
    }
    if !arguments.follow {
        return Ok(ended(shown));
    }
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let mut live = futures::stream::select_all(live);
    loop {
        let next = tokio::select! {
            next = live.next() => next,
            () = signals.next() => return Ok(Exit::Done),
        };
        let Some((partition, commit)) = next else {
            return Err(Failure::new(Exit::Unreachable, "the feed has ended"));
        };
        let commit = commit?;
        if showing.selection.wants(&commit) {
            output::line(showing.line(partition, &commit, commit.position)?)?;
        }
    }
}

/// What is misspelt selects nothing, and so does what has not happened: whoever asked is told that it is not the output that
/// is missing.
fn ended(shown: u64) -> Exit {
    if shown == 0 {
        eprintln!("no commit is like that");
    }
    Exit::Done
}

struct Showing {
    selection: Selection,
    json: bool,
    one_of_many: bool,
}

impl Showing {
    /// What is there, and how many commits that is.
    fn all(&self, partition: u32, reader: &FileReader) -> Result<u64, Failure> {
        let Some(last) = reader.last() else { return Ok(0) };
        let mut shown = 0;
        let bar = commits_bar(last.get(), format!("partition {partition}: journal"));
        for commit in commits(reader, &self.selection, |position| bar.set_position(position.get())) {
            let line = self.line(partition, &commit?, last)?;
            bar.suspend(|| output::line(line))?; // The bar may be on the same terminal.
            shown += 1;
        }
        bar.finish_and_clear();
        Ok(shown)
    }

    /// What is there of a feed, up to a position, and how many commits that is.
    async fn fed(
        &self,
        partition: u32,
        from: Position,
        last: Position,
        commits: &mut BoxStream<'static, Result<Commit, FeedError>>,
    ) -> Result<u64, Failure> {
        let bar = commits_bar(last.get(), format!("partition {partition}: feed"));
        let (mut next, mut shown) = (from, 0);
        while next <= last
            && let Some(commit) = commits.next().await
        {
            let commit = commit?;
            bar.set_position(commit.position.get());
            next = commit.position.next();
            if self.selection.ends_before(&commit) {
                break;
            }
            if self.selection.wants(&commit) {
                let line = self.line(partition, &commit, last)?;
                bar.suspend(|| output::line(line))?;
                shown += 1;
            }
        }
        bar.finish_and_clear();
        Ok(shown)
    }

    /// What has come to it since it was looked at last.
    fn arrived(&self, data: &DataDir, partition: u32, follower: &mut Option<Follower>) -> Result<(), Failure> {
        if follower.is_none() {
            let Some(reader) = open(data, partition)? else { return Ok(()) };
            self.all(partition, &reader)?;
            *follower = Some(reader.follow()?);
        }
        let Some(follower) = follower else { return Ok(()) };
        for commit in follower.look()? {
            if self.selection.wants(&commit) {
                output::line(self.line(partition, &commit, commit.position)?)?;
            }
        }
        Ok(())
    }

    fn line(&self, partition: u32, commit: &Commit, last: Position) -> Result<String, Failure> {
        let timeline = Timeline { partition, one_of_many: self.one_of_many, last };
        if self.json {
            return Ok(timeline.json(commit));
        }
        let text = timeline.text(commit).map_err(|error| Failure::new(Exit::Damaged, error.to_string()))?;
        Ok(output::shown(&text))
    }
}
