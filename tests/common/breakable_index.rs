//! An index in memory whose look-ups fail when they are told to.

use std::sync::atomic::{AtomicBool, Ordering};

use hapax::index::{Index, IndexError, MemoryIndex};
use hapax::model::{AggregateId, Entry, Head, Identity, Position, Snapshot};

#[derive(Debug, Default)]
pub struct BreakableIndex {
    index: MemoryIndex,
    broken: AtomicBool,
}

impl BreakableIndex {
    /// Whether look-ups fail from now on.
    pub fn break_it(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    fn working(&self) -> Result<&MemoryIndex, IndexError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(IndexError::Sled(sled::Error::Io(std::io::Error::other("told to fail"))));
        }
        Ok(&self.index)
    }
}

impl Index for BreakableIndex {
    fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError> {
        self.working()?.position_of(identity)
    }

    fn head(&self, aggregate: &AggregateId) -> Result<Option<Head>, IndexError> {
        self.working()?.head(aggregate)
    }

    fn snapshot(&self, aggregate: &AggregateId) -> Result<Option<Snapshot>, IndexError> {
        self.working()?.snapshot(aggregate)
    }

    fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        self.index.note(entries)
    }
}
