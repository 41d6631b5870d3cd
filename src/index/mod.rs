//! What makes look-ups fast: which ids are known, where an aggregate stands, its last snapshot. Never the truth: it may be
//! thrown away and rebuilt from the store at any time.
//!
//! At start: [`SledIndex::open`] says from which [`Checkpoint`] the index goes on, [`catch_up`] notes what the store holds
//! behind it and proves that nothing is missing. From then on one thread notes what becomes durable and writes a
//! checkpoint now and then. Any doubt has one answer: start over from the store.

use std::io::ErrorKind;

use crate::model::{AggregateId, Entry, Head, Identity, Position, Snapshot};

pub mod memory;
mod tally;
mod pages;
mod dedupe_log;
mod heads;
mod snapshots;
pub mod checkpoint;
pub mod sled_index;
pub mod rebuild;
pub mod verify;

pub use checkpoint::Checkpoint;
pub use memory::MemoryIndex;
pub use rebuild::{CatchUpError, Progress, catch_up};
pub use sled_index::{Opened, SledIndex};
pub use verify::{VerifyError, verify};

/// Look-ups and notes. All methods may be called from several threads at once.
pub trait Index: Send + Sync + 'static {
    /// The commit that recorded a command; `None`: it is not known up to the last entry noted.
    ///
    /// # Errors
    /// [`IndexError`], which is never "not found".
    fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError>;

    /// Where an aggregate stands; `None`: it has had no event up to the last entry noted.
    ///
    /// # Errors
    /// [`IndexError`].
    fn head(&self, aggregate: &AggregateId) -> Result<Option<Head>, IndexError>;

    /// The last snapshot of an aggregate.
    ///
    /// # Errors
    /// [`IndexError`].
    fn snapshot(&self, aggregate: &AggregateId) -> Result<Option<Snapshot>, IndexError>;

    /// Notes entries, in the order of their positions and without a gap. Noting an entry again changes nothing.
    ///
    /// # Errors
    /// [`IndexError`]: the process ends, and the next start goes on from the checkpoint. [`IndexError::Disagrees`] if the
    /// entries leave a position out, or if one of them says something else about a known identity or aggregate: what was
    /// noted first stays.
    fn note(&self, entries: &[Entry]) -> Result<(), IndexError>;
}

/// A look-up or a note failed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// sled said no.
    #[error("the index failed")]
    Sled(#[from] sled::Error),
    /// A file beside sled could not be read or written.
    #[error("the index failed ({path})")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// sled panicked; it does that on some kinds of damage.
    #[error("the index panicked: {0}")]
    Panicked(String),
    /// An entry has another form than was written.
    #[error("the index holds an entry of another form in {tree}")]
    Entry {
        /// The sled tree.
        tree: &'static str,
    },
    /// The checkpoint is missing, unreadable or of another store. The index is not used; [`SledIndex::open`] begins an
    /// empty one.
    #[error("{0}")]
    Checkpoint(String),
    /// It was written in another form, by another version; that is no damage. [`SledIndex::open`] begins an empty one.
    #[error("the index has format {0}")]
    OtherFormat(u32),
    /// Another process uses it. Nothing was touched.
    #[error("another process uses the index ({path})")]
    InUse {
        /// The lock file.
        path: String,
    },
    /// The index and the store disagree, so the index is wrong.
    #[error("the index disagrees with the store: {0}")]
    Disagrees(String),
}

impl IndexError {
    /// Whether the index itself is wrong, so that it must be built anew; otherwise its disk is the trouble, and what it
    /// holds may be right.
    pub fn is_doubt(&self) -> bool {
        match self {
            IndexError::Io { .. } | IndexError::InUse { .. } => false,
            IndexError::Sled(error) => !matches!(error, sled::Error::Io(_)), // `Unsupported`: its `conf` is damaged.
            _ => true,
        }
    }

    /// Whether its disk takes no more writes: full, or read-only. That says nothing about what it holds, and whoever built
    /// the index anew would have no room for it either.
    pub fn is_want_of_room(&self) -> bool {
        let kind = match self {
            IndexError::Io { source, .. } | IndexError::Sled(sled::Error::Io(source)) => source.kind(),
            _ => return false,
        };
        matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem)
    }

    fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> IndexError + '_ {
        move |source| IndexError::Io { path: path.display().to_string(), source }
    }

    fn second_commit(identity: &Identity, first: Position, second: Position) -> IndexError {
        let Identity { principal, key, id } = identity;
        IndexError::Disagrees(format!("command {id} of {principal} for {key} is at {first} and again at {second}"))
    }
}
