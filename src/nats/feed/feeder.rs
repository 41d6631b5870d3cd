//! What is to be published next, and what does an answer of the stream mean?
//!
//! Commits go out in sheaves, each an atomic publish on the condition that the stream ends where it was seen to end. One is
//! on its way at a time: an acknowledgement proves that everything up to there is this store's, and only then is the next
//! one sent. So whoever feeds from another copy of the store, or did so until he was replaced, can add nothing behind what
//! is not his own (I15): his condition does not hold, and asked again, the stream ends with a chain hash that he does not have.
//!
//! Whatever comes back but the position (an error, nothing, another number) means the same: nobody knows what the stream
//! has. Then the stream is asked where it stands, and it goes on from there. What was on its way may still come in later;
//! then it is either refused, since the stream has gone on, or it is what would have been sent again.

use crate::model::limits::ATOMIC_COMMANDS_MAX;
use crate::model::{ChainHash, Position};

/// Commits of a sheaf. An atomic publish has at most a thousand messages; and the more it has, the less one costs.
pub const SHEAF_COMMITS_MAX: usize = 1_000;
/// Bytes of a sheaf's commits, up to one commit or one atomic batch more.
pub const SHEAF_BYTES_MAX: usize = 1024 * 1024;

/// Commits that go out one by one after something went wrong. Where a connection doubles what is sent, an atomic publish never
/// succeeds, and a single one does.
const ONE_BY_ONE: usize = 256;

const _: () = assert!(ATOMIC_COMMANDS_MAX < SHEAF_COMMITS_MAX); // The commits of an atomic batch fit, with its own.

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The stream is to be asked where it stands; then [`Feeder::stands`], or once more if it does not answer.
    Ask,
    /// The durable commits from a position on are to be published; then [`Feeder::published`].
    Publish(Position),
    /// An answer is to be waited for, or more commits.
    Wait,
}

/// What came of a sheaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The stream has its last commit at this number.
    Stored {
        /// The number.
        sequence: u64,
        /// The stream has not stored it, since it took it for a copy.
        duplicate: bool,
    },
    /// Anything else: it may be stored or not.
    Unknown,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// The number of its last message.
    pub last: Option<Position>,
    /// The chain hash that this one names.
    pub hash: Option<ChainHash>,
    /// How many messages are missing before it.
    pub missing: u64,
}

/// Why a stream is not the feed of a store. Nothing is published to it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Estranged {
    /// The store has less than its feed: it is an older copy of itself, or has lost something.
    #[error("the feed goes up to position {feed}, the store only {}", upto(*.store))]
    Ahead {
        /// The feed's last position.
        feed: Position,
        /// The store's last position.
        store: Option<Position>,
    },
    /// Somebody else has written to the stream, or to the store.
    #[error("the message at position {0} of the feed is not what the store has there")]
    Other(Position),
    /// Messages were removed from the stream.
    #[error("{0} messages of the feed are missing")]
    Missing(u64),
}

fn upto(position: Option<Position>) -> String {
    position.map_or("nothing yet".into(), |position| format!("up to position {position}"))
}

impl Stand {
    /// Whether a stream is the feed of a store that ends at a position. `ours`: the chain hash that the store has where the
    /// stream ends.
    ///
    /// # Errors
    /// [`Estranged`].
    pub fn compare(&self, store: Option<Position>, ours: Option<ChainHash>) -> Result<(), Estranged> {
        if self.missing > 0 {
            return Err(Estranged::Missing(self.missing));
        }
        match self.last {
            Some(feed) if store < Some(feed) => Err(Estranged::Ahead { feed, store }),
            Some(feed) if self.hash.is_none() || self.hash != ours => Err(Estranged::Other(feed)),
            _ => Ok(()),
        }
    }
}

/// Feeds the stream of one partition.
#[derive(Debug)]
pub struct Feeder {
    /// The last commit that the stream is known to have.
    fed: Option<Position>,
    /// The last position of the sheaf that is on its way.
    on_its_way: Option<Position>,
    /// What is published next; `None`: the stream must be asked.
    next: Option<Position>,
    /// How many sheaves are to be as small as can be.
    one_by_one: usize,
}

impl Default for Feeder {
    fn default() -> Feeder {
        Feeder::new()
    }
}

impl Feeder {
    /// Knows nothing yet.
    pub fn new() -> Feeder {
        Feeder { fed: None, on_its_way: None, next: None, one_by_one: 0 }
    }

    /// What is to be done, if the store is durable up to a position.
    pub fn next(&self, durable: Option<Position>) -> Next {
        match (self.on_its_way, self.next) {
            (None, None) => Next::Ask,
            (None, Some(next)) if Some(next) <= durable => Next::Publish(next),
            // What is on its way could come in behind the stream's answer.
            _ => Next::Wait,
        }
    }

    /// How many commits the next sheaf may have, unless an atomic batch has more.
    pub fn commits_max(&self) -> usize {
        if self.one_by_one > 0 { 1 } else { SHEAF_COMMITS_MAX }
    }

    /// A sheaf is on its way.
    ///
    /// # Panics
    /// If it was not to be published.
    pub fn published(&mut self, upto: Position) {
        let was_to_be = self.on_its_way.is_none() && self.next.is_some_and(|next| next <= upto);
        assert!(was_to_be, "the sheaf up to {upto} was not to be published");
        self.on_its_way = Some(upto);
        self.next = Some(upto.next());
    }

    /// Nobody knows any more what the stream has: a sheaf could not be sent, or only in part; or the broker was away, and
    /// may have lost what it had acknowledged.
    pub fn doubt(&mut self) {
        self.next = None;
    }

    /// The answer to the sheaf that is on its way.
    ///
    /// # Panics
    /// If none is.
    pub fn answered(&mut self, answer: Answer) {
        let upto = self.on_its_way.take().expect("an answer is to a sheaf");
        match answer {
            Answer::Stored { sequence, duplicate: false } if sequence == upto.get() => {
                self.fed = Some(upto);
                self.one_by_one = self.one_by_one.saturating_sub(1);
            }
            _ => {
                self.next = None;
                self.one_by_one = ONE_BY_ONE;
            }
        }
    }

    /// The stream's answer to where it stands, and what the store has: its last position, and its chain hash where the
    /// stream ends.
    ///
    /// # Errors
    /// [`Estranged`]: nothing more is to be published.
    pub fn stands(&mut self, stand: &Stand, store: Option<Position>, ours: Option<ChainHash>) -> Result<(), Estranged> {
        stand.compare(store, ours)?;
        self.fed = stand.last;
        self.next = Some(Position::after(stand.last));
        Ok(())
    }

    /// The last commit that the stream is known to have.
    pub fn fed(&self) -> Option<Position> {
        self.fed
    }

    /// Whether a sheaf is on its way.
    pub fn is_waiting(&self) -> bool {
        self.on_its_way.is_some()
    }
}
