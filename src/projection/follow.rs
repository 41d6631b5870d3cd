//! The feed of a NATS server, all partitions of it, folded as it comes; and questions about the result, answered between two
//! writes, so that no answer shows half of one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Definition;
use super::answer::{answer, hear};
use super::fold::{Fold, ProjectionError};
use super::home::{Home, Mark, MemoryHome, Place};
use super::sled_home::SledHome;
use crate::model::error::with_sources;
use crate::model::limits::PULL_MESSAGES_MAX;
use crate::model::{Commit, Position};
use crate::nats::feed::{FeedError, FeedReader};
use crate::nats::{ConnectOptions, connect};

/// Pause before a feed is read anew after its reader has given up. A projection runs as long as it is wanted, so it does not
/// give up.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Questions that may wait to be answered.
const QUESTIONS_MAX: usize = 1_024;

/// What a projection needs to run.
#[derive(Debug)]
pub struct Settings {
    /// The server with the feed.
    pub nats: ConnectOptions,
    /// The folder in which the result is kept, in one of the projection's name; `None`: in memory.
    pub data: Option<PathBuf>,
    /// Whether what is kept is removed first.
    pub rebuild: bool,
}

/// What a projection tells while it runs.
#[derive(Debug, Clone)]
pub enum Notice {
    /// What was kept is not used: it is folded from the first commit, and why.
    Anew(String),
    /// So many commits of so many are folded.
    Folding {
        /// How many are.
        folded: u64,
        /// How many the feed had when this began.
        total: u64,
    },
    /// It has come to where the feed was when this began, and questions about rows are heard.
    CaughtUp(Mark),
}

/// Folds a projection from the feed, follows it, and answers for it, until `stop` is cancelled.
///
/// # Errors
/// [`ProjectionError`]. What is kept is whole; whether a start goes on from there, the error says.
pub async fn follow(
    projection: Definition,
    settings: Settings,
    stop: CancellationToken,
    notify: impl Fn(Notice),
) -> Result<(), ProjectionError> {
    let client = connect(&settings.nats).await?;
    let feeds = open_feeds(&settings.nats.jetstream(client)).await?;
    let store = feeds[0].store();
    let mut home: Box<dyn Home> = match &settings.data {
        Some(data) => {
            let (home, doubt) = SledHome::open(&data.join(projection.name().as_str()))?;
            doubt.into_iter().for_each(|why| notify(Notice::Anew(why)));
            Box::new(home)
        }
        None => Box::new(MemoryHome::default()),
    };
    if settings.rebuild {
        home.clear()?;
    }
    let (mut fold, why) = Fold::open(projection, home, store, feeds[0].partitions())?;
    why.into_iter().for_each(|why| notify(Notice::Anew(why)));

    let mut target = Vec::new();
    let mut background = JoinSet::new(); // Ends with this function, whatever ends it.
    let (chunks_in, mut chunks) = mpsc::channel(feeds.len());
    for (feed, place) in feeds.iter().zip(fold.mark().partitions.clone()) {
        check(feed, place).await?;
        target.push(feed.last().await?);
        background.spawn(read(feed.clone(), place, chunks_in.clone()));
    }
    let (questions_in, mut questions) = mpsc::channel(QUESTIONS_MAX);
    let options = ConnectOptions { name: Some("hapax questions".into()), ..settings.nats.clone() };
    let heard = Arc::new(Notify::new());
    background.spawn(hear(options, fold.projection().name().clone(), questions_in, Arc::clone(&heard)));

    let (mut is_heard, mut is_caught_up) = (false, false);
    loop {
        // Who is told so asks at once.
        if !is_caught_up && tell_progress(fold.mark(), &target, &notify) && is_heard {
            is_caught_up = true;
            notify(Notice::CaughtUp(fold.mark().clone()));
        }
        tokio::select! {
            () = heard.notified() => is_heard = true,
            chunk = chunks.recv() => {
                let Chunk { partition, commits } = chunk.expect("one end of it is held here")?;
                fold.take(partition, commits)?;
                if chunks.is_empty() {
                    fold.flush()?;
                }
            }
            question = questions.recv() => {
                answer(&fold, &feeds, is_caught_up, question.expect("it is heard as long as this runs")).await;
            }
            // A reader that has told why it ends is done; a panic is ours, and ends this too.
            Some(Err(error)) = background.join_next() => std::panic::resume_unwind(error.into_panic()),
            () = stop.cancelled() => return Ok(fold.flush()?),
        }
    }
}

async fn open_feeds(context: &jetstream::Context) -> Result<Vec<FeedReader>, ProjectionError> {
    let first = FeedReader::open(context, 0).await?;
    let (store, partitions) = (first.store(), first.partitions());
    let mut feeds = vec![first];
    for partition in 1..partitions {
        let feed = FeedReader::open(context, partition).await?;
        if feed.store() != store {
            return Err(ProjectionError::OtherStore { kept: store, feed: feed.store() });
        }
        feeds.push(feed);
    }
    Ok(feeds)
}

/// Whether it has come to where the feed was.
fn tell_progress(mark: &Mark, target: &[Option<Position>], notify: &impl Fn(Notice)) -> bool {
    let number = |position: Option<Position>| position.map_or(0, Position::get);
    let folded = mark.partitions.iter().map(|place| number(place.map(|place| place.position)));
    let both = folded.zip(target.iter().copied().map(number));
    let (folded, total) = both.fold((0, 0), |(sum, total), (folded, last)| (sum + folded.min(last), total + last));
    notify(Notice::Folding { folded, total });
    folded == total
}

/// Refuses a feed that is not the one that was folded.
async fn check(feed: &FeedReader, place: Option<Place>) -> Result<(), ProjectionError> {
    let Some(Place { position, hash }) = place else { return Ok(()) };
    let partition = feed.partition();
    let last = feed.last().await?;
    if last < Some(position) {
        return Err(ProjectionError::AheadOfFeed { partition, position, last });
    }
    if feed.hash_at(position).await? == hash { Ok(()) } else { Err(ProjectionError::OtherFeed { partition, position }) }
}

/// Commits of a partition, in their order.
struct Chunk {
    partition: u32,
    commits: Vec<Commit>,
}

/// Reads a feed on, from behind a place. A broker that fails is asked again; any other error is the last thing that comes.
async fn read(feed: FeedReader, mut place: Option<Place>, chunks: mpsc::Sender<Result<Chunk, ProjectionError>>) {
    while !chunks.is_closed() {
        match read_while_it_comes(&feed, &mut place, &chunks).await {
            Ok(()) => tracing::warn!(partition = feed.partition(), "the feed has ended; it is read anew"),
            Err(ProjectionError::Feed(error @ FeedError::Broker { .. })) => {
                tracing::warn!(partition = feed.partition(), error = with_sources(&error), "the feed is read anew");
            }
            Err(error) => {
                let _ = chunks.send(Err(error)).await; // Nobody takes it: then nobody wants it.
                return;
            }
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
}

async fn read_while_it_comes(
    feed: &FeedReader,
    place: &mut Option<Place>,
    chunks: &mpsc::Sender<Result<Chunk, ProjectionError>>,
) -> Result<(), ProjectionError> {
    check(feed, *place).await?;
    let from = Position::after(place.map(|place| place.position));
    let mut coming = Box::pin(feed.commits(from, None).await?.ready_chunks(PULL_MESSAGES_MAX));
    while let Some(came) = coming.next().await {
        let (mut commits, mut failed) = (Vec::with_capacity(came.len()), None);
        for commit in came {
            match commit {
                Ok(commit) => commits.push(commit),
                Err(error) => failed = Some(error), // The last that comes.
            }
        }
        if let Some(last) = commits.last() {
            *place = Some(Place { position: last.position, hash: last.hash });
            if chunks.send(Ok(Chunk { partition: feed.partition(), commits })).await.is_err() {
                return Ok(()); // Nobody follows any more.
            }
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
    }
    Ok(())
}
