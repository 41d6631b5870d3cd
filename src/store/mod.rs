//! The only truth: the append-only sequence of the commits of one partition.
//!
//! `append` queues and promises nothing; `durable` says up to which position everything is safe, and only that releases
//! replies. Because submitting and completing are two calls, a store may write and sync what has gathered while the last
//! sync was under way (group commit), and a network store may pipeline.

use std::future::Future;

use uuid::Uuid;

use crate::model::{ChainHash, Change, Commit, CommitError, Position};

pub mod memory;
pub mod file;

/// Which store this is. Kept in everything that belongs to it, so that files of two stores are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreId {
    /// The store of all partitions together, chosen at random when it is created.
    pub store: Uuid,
    /// The partition's number, from 0.
    pub partition: u32,
    /// How many partitions there are. It chooses the partition of a key, so it is fixed for ever.
    pub partitions: u32,
}

/// A value that is safe: on disk behind an fsync, or on a quorum. Only stores can make one, so that nothing else can
/// release a reply (I3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Durable<T>(T);

impl<T: Copy> Durable<T> {
    /// The value.
    pub fn get(&self) -> T {
        self.0
    }
}

/// The end of a store: what the next commit follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// The last commit; `None`: the store is empty.
    pub position: Option<Position>,
    /// Its chain hash; the hash of the store's id if the store is empty.
    pub hash: ChainHash,
    /// Its time; the epoch if the store is empty.
    pub decided_at: crate::model::Timestamp,
}

impl Tip {
    /// The end of a store that has no commit.
    pub fn empty(id: StoreId) -> Tip {
        Tip { position: None, hash: ChainHash::of_store(id.store), decided_at: crate::model::Timestamp::EPOCH }
    }

    /// The end of a store whose last commit this is.
    pub fn of(commit: &Commit) -> Tip {
        Tip { position: Some(commit.position), hash: commit.hash, decided_at: commit.decided_at }
    }

    /// Goes on to a commit.
    ///
    /// # Panics
    /// If it does not follow: its position, or, where debug assertions are on, its chain hash, which was just computed.
    fn follow(&mut self, commit: &Commit) {
        let expected = Position::after(self.position);
        assert!(commit.position == expected, "commit {} is appended where {expected} belongs", commit.position);
        debug_assert!(commit.hash == self.hash.link(commit.json()), "commit {expected} does not continue the chain");
        *self = Tip::of(commit);
    }
}

/// Where commits are appended. One writer per partition.
pub trait EventStore: Send {
    /// Reads what is durable, beside the writer.
    type Reader: CommitReader;

    /// Takes commits over that follow the last one without a gap, and promises nothing. It may take as long as the disk
    /// does, if there is only one commit and no other is under way.
    ///
    /// # Panics
    /// If a commit does not follow: its position, or, where debug assertions are on, its chain hash. That is a bug of the
    /// caller, and writing it would be damage.
    fn append(&mut self, commits: Vec<Commit>);

    /// Waits until more is durable than was said before, and says up to which position. Cancel-safe: it may be dropped
    /// and called again. Never returns while nothing is appended.
    ///
    /// # Errors
    /// [`AppendError`]: final for the process. Nothing may be replied, nothing may be tried again; restart from disk.
    fn durable(&mut self) -> impl Future<Output = Result<Durable<Position>, AppendError>> + Send;

    /// A reader of this store.
    fn reader(&self) -> Self::Reader;
}

/// Reads durable commits, from any thread.
pub trait CommitReader: Clone + Send + Sync + 'static {
    /// The commit at a position.
    ///
    /// # Errors
    /// [`ReadError`]. A position that is not durable is [`ReadError::Absent`].
    fn get(&self, position: Position) -> Result<Commit, ReadError>;

    /// The commits from a position (included) up to the last one that is durable when this is called. Ends after the
    /// first error.
    fn read(&self, from: Position) -> impl Iterator<Item = Result<Commit, ReadError>> + Send;

    /// The last durable position; `None`: the store is empty.
    fn last(&self) -> Option<Position>;

    /// Shows every durable commit to `each`, from the first to the last, read only as far as folding needs.
    ///
    /// # Errors
    /// [`ReadError`], or the first error of `each`.
    fn changes<E: From<ReadError>>(&self, mut each: impl FnMut(Recorded<'_>) -> Result<(), E>) -> Result<(), E> {
        self.read(Position::FIRST).try_for_each(|commit| {
            let commit = commit?;
            let change = Change::from_json(commit.json()).expect("more of it was read a moment ago");
            each(Recorded { json: commit.json(), hash: commit.hash, change })
        })
    }
}

/// A durable commit where it lies, for whoever needs its bytes and its events, and nothing else of it.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// Its JSON.
    pub json: &'a [u8],
    /// The chain up to and with it.
    pub hash: ChainHash,
    /// What it has changed.
    pub change: Change<'a>,
}

/// An append failed. The process ends before any reply: after a failed write or fsync nobody knows what the disk holds,
/// and a second fsync may lie.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The operating system said no.
    #[error("cannot write the event store ({operation} {path})")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        #[source]
        source: std::sync::Arc<std::io::Error>,
    },
    /// The writing thread is gone; it has logged why.
    #[error("the event store's writer has stopped")]
    Stopped,
}

/// Something could not be read. Never "it is not there": a look-up that fails leads to no decision (I9).
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing durable is at this position.
    #[error("no durable commit at position {0}")]
    Absent(Position),
    /// The operating system said no.
    #[error("cannot read the event store ({path})")]
    Io {
        /// Which file.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// What is there is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
}

/// The store holds something that nobody wrote. The process stops; nothing is ever "repaired" by truncation.
#[derive(Debug, thiserror::Error)]
#[error("damage in {file} at byte {offset}, position {position}: {what}")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The byte in it.
    pub offset: u64,
    /// The position that is expected there.
    pub position: u64,
    /// What is wrong.
    pub what: String,
    /// The commit's own error, if it was read and is not one.
    #[source]
    pub source: Option<CommitError>,
}
