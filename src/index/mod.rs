//! What makes look-ups fast: which ids are known, where an aggregate stands, its last snapshot. Never the truth: it may be
//! thrown away and rebuilt from the store at any time.

use crate::model::{AggregateId, Entry, Head, Identity, Position, Snapshot};

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

    /// Notes entries, in the order of their positions. Noting an entry again changes nothing.
    ///
    /// # Errors
    /// [`IndexError`]: the process ends, and the next start goes on from the checkpoint.
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
    /// The index and the store disagree, so the index is wrong.
    #[error("the index disagrees with the store: {0}")]
    Disagrees(String),
}
