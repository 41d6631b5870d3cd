//! An index in memory that counts its look-ups, and fails them when it is told to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hapax::index::{Index, IndexError, MemoryIndex};
use hapax::model::{AggregateId, Entry, Head, Identity, Position, Snapshot};

#[derive(Debug, Default)]
pub struct BreakableIndex {
    index: MemoryIndex,
    broken: AtomicBool,
    reads: AtomicU64,
}

impl BreakableIndex {
    /// How often something was looked up so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether look-ups fail from now on.
    pub fn break_it(&self, broken: bool) {
        self.broken.store(broken, Ordering::Relaxed);
    }

    fn working(&self) -> Result<&MemoryIndex, IndexError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
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
