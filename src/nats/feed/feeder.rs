//! What is to be published next, and what does an answer of the stream mean?
//!
//! Commits go out in sheaves, of which the server acknowledges the last commit only. That says enough: it was stored behind
//! the one before it, and so on. Whatever else comes back (an error, nothing, a number that is not the position) means the
//! same: nobody knows what the stream has. Then everything that is on its way is waited for, the stream is asked where it
//! stands, and it goes on from there. What was on its way may still come in later; then it is either refused, since the
//! stream has gone on, or it is what would have been sent again.

use crate::model::{ChainHash, Position};

/// Commits of a sheaf, unless an atomic batch needs more. Enough that an acknowledgement costs nothing, few enough that
/// readers see them soon.
pub const SHEAF_COMMITS_MAX: usize = 256;
/// Bytes of a sheaf's commits, up to one commit or one atomic batch more.
pub const SHEAF_BYTES_MAX: usize = 1024 * 1024;
/// Sheaves that are on their way at once.
pub const SHEAVES_MAX: usize = 4;

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
    /// The last position of each sheaf on its way, in order.
    on_their_way: std::collections::VecDeque<Position>,
    /// What is published next; `None`: the stream must be asked.
    next: Option<Position>,
}

impl Default for Feeder {
    fn default() -> Feeder {
        Feeder::new()
    }
}

impl Feeder {
    /// Knows nothing yet.
    pub fn new() -> Feeder {
        Feeder { fed: None, on_their_way: std::collections::VecDeque::new(), next: None }
    }

    /// What is to be done, if the store is durable up to a position.
    pub fn next(&self, durable: Option<Position>) -> Next {
        match self.next {
            // What is on its way could come in behind the answer.
            None if self.on_their_way.is_empty() => Next::Ask,
            Some(next) if Some(next) <= durable && self.on_their_way.len() < SHEAVES_MAX => Next::Publish(next),
            _ => Next::Wait,
        }
    }

    /// A sheaf is on its way.
    ///
    /// # Panics
    /// If it was not to be published.
    pub fn published(&mut self, upto: Position) {
        assert!(self.next.is_some_and(|next| next <= upto), "the sheaf up to {upto} was not to be published");
        self.on_their_way.push_back(upto);
        self.next = Some(upto.next());
    }

    /// Nobody knows any more what the stream has: a sheaf could not be sent, or only in part; or the broker was away, and
    /// may have lost what it had acknowledged.
    pub fn doubt(&mut self) {
        self.next = None;
    }

    /// The answer to the oldest sheaf that is on its way.
    pub fn answered(&mut self, answer: Answer) {
        let upto = self.on_their_way.pop_front().expect("an answer is to a sheaf");
        match answer {
            Answer::Stored { sequence, duplicate: false } if sequence == upto.get() => self.fed = Some(upto),
            _ => self.next = None,
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

    /// How many sheaves are on their way.
    pub fn on_their_way(&self) -> usize {
        self.on_their_way.len()
    }
}
