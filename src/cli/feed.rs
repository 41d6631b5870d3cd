//! Is the feed what the journal is, message by message (I18)? A feed that lags is none the worse for it.

use async_nats::jetstream;
use futures::StreamExt;

use super::bars::commits_bar;
use super::connection::Connection;
use super::exit::{Exit, Failure};
use super::output::Paint;
use crate::model::error::with_sources;
use crate::model::{Commit, Position};
use crate::nats::connect;
use crate::nats::feed::{FeedError, FeedReader, Stand, stand};
use crate::serve::DataDir;
use crate::store::{CommitReader, ReadError};

/// What was found out about the feed of a partition.
pub(super) enum FeedState {
    /// Every message is the commit at its position. So many commits have not come to it yet.
    Agrees { unfed: u64 },
    /// There never was one.
    Absent,
    /// There is one, and nobody has asked for it.
    LeftOut,
    /// What is wrong, and what to do.
    Wrong(String),
}

/// The feeds on a server.
pub(super) struct Feeds {
    context: jetstream::Context,
}

impl Feeds {
    pub(super) async fn connect(connection: &Connection) -> Result<Feeds, Failure> {
        let options = connection.options()?;
        Ok(Feeds { context: options.jetstream(connect(&options).await?) })
    }

    /// Compares the feed of a partition with its journal, which has been verified.
    pub(super) async fn compare(&self, data: &DataDir, partition: u32) -> Result<FeedState, Failure> {
        let feed = match FeedReader::open(&self.context, partition).await {
            Ok(feed) => feed,
            Err(FeedError::Missing(_)) if !data.is_fed() => return Ok(FeedState::Absent),
            Err(error @ (FeedError::Missing(_) | FeedError::Nameless(_))) => {
                return Ok(FeedState::Wrong(format!("{error}; {}", ANEW)));
            }
            Err(error) => return Err(error.into()),
        };
        if (feed.store(), feed.partitions()) != (data.store(), data.partitions()) {
            return Ok(FeedState::Wrong(format!(
                "the stream EVENTS_{partition} holds the feed of the store {} with {} partition(s): look for this store's feed \
                 on another server, or in another account",
                feed.store(),
                feed.partitions()
            )));
        }
        // Before the journal is opened: what a running processor feeds meanwhile is in the journal then.
        let Stand { last, hash, .. } = stand(&self.context, partition).await.map_err(|error| {
            let error = with_sources(&*error);
            Failure::new(Exit::Failed, format!("the broker does not tell where the feed stands: {error}; ask it again"))
        })?;
        let journal = super::journal::open(data, partition)?;
        let ours = journal.as_ref().and_then(CommitReader::last);
        let Some(last) = last else { return Ok(FeedState::Agrees { unfed: ours.map_or(0, Position::get) }) };
        let Some(journal) = journal else { return Ok(FeedState::Wrong(ahead(last, None))) };
        let bar = commits_bar(last.get(), format!("partition {partition}: feed"));
        let wrong = first_difference(&feed, last, journal.read(Position::FIRST), |position| {
            bar.set_position(position.get());
        });
        let mut wrong = wrong.await?;
        bar.finish_and_clear();
        // A reader gives nothing of an atomic batch whose end a broker has lost. What is there must be ours all the same.
        if wrong.is_none() && ours < Some(last) {
            wrong = Some(ahead(last, ours));
        } else if wrong.is_none() && hash != Some(journal.get(last)?.hash) {
            wrong = Some(other(last));
        }
        let unfed = ours.map_or(0, Position::get).saturating_sub(last.get());
        Ok(wrong.map_or(FeedState::Agrees { unfed }, FeedState::Wrong))
    }
}

const ANEW: &str = "once it is known why, make it again from the journal: delete the stream if there is one, and start the \
                    processor with --feed anew";

/// The first message of a feed that is not the commit at its position, with what to do; `None`: there is none.
async fn first_difference(
    feed: &FeedReader,
    last: Position,
    mut journal: impl Iterator<Item = Result<Commit, ReadError>>,
    mut seen: impl FnMut(Position),
) -> Result<Option<String>, Failure> {
    let mut fed = feed.commits(Position::FIRST, Some(last)).await?.boxed();
    while let Some(fed) = fed.next().await {
        let fed = match fed {
            Ok(fed) => fed,
            // The chain of the journal holds, so it is the feed that somebody else has written to.
            Err(FeedError::NotACommit { stream, position, what }) => {
                return Ok(Some(format!(
                    "message {position} of {stream} is not the commit that belongs there: {what}. Only the processor may \
                     publish there, and somebody else has; {ANEW}"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let position = fed.position;
        let Some(ours) = journal.next().transpose()? else {
            return Ok(Some(ahead(last, Position::new(position.get() - 1))));
        };
        if (ours.position, ours.hash, ours.json()) != (position, fed.hash, fed.json()) {
            return Ok(Some(other(position)));
        }
        seen(position);
    }
    Ok(None)
}

fn ahead(feed: Position, journal: Option<Position>) -> String {
    format!(
        "it goes up to position {feed}, and the journal only up to {}: the data directory is an older copy of itself, or has \
         lost its end. Let no processor decide on it: move it aside, and make it again with restore --from-feed",
        journal.map_or(0, Position::get)
    )
}

fn other(position: Position) -> String {
    format!(
        "position {position} is another commit than in the journal, and both belong to this store: two processors have \
         decided on copies of it. Stop both, and find out whose outcomes the clients have before anything is removed"
    )
}

impl FeedState {
    pub(super) fn text(&self, paint: Paint) -> String {
        match self {
            FeedState::Agrees { unfed: 0 } => format!("{}, with every commit", paint.good("agrees")),
            FeedState::Agrees { unfed } => format!("{}, and lags behind by {unfed} commits", paint.good("agrees")),
            FeedState::Absent => "none".into(),
            FeedState::LeftOut => "left out; --feed compares it".into(),
            FeedState::Wrong(why) => format!("{}: {why}", paint.bad("wrong")),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            FeedState::Agrees { .. } => "agrees",
            FeedState::Absent => "absent",
            FeedState::LeftOut => "left_out",
            FeedState::Wrong(_) => "wrong",
        }
    }

    /// How many commits have not come to it yet, if it agrees.
    pub(super) fn unfed(&self) -> Option<u64> {
        match self {
            FeedState::Agrees { unfed } => Some(*unfed),
            _ => None,
        }
    }
}
