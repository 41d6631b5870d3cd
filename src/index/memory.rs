//! An index in memory: the reference that the others are tested against.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tally::Tally;
use super::{Entry, Head, Index, IndexError, Snapshot};
use crate::model::{AggregateId, Identity, Position};

/// An index that lasts as long as the process.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    tally: Tally,
    commands: HashMap<Identity, Position>,
    heads: HashMap<AggregateId, Head>,
    snapshots: HashMap<AggregateId, Snapshot>,
}

impl MemoryIndex {
    /// An empty one.
    pub fn new() -> MemoryIndex {
        MemoryIndex::default()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for MemoryIndex {
    fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError> {
        Ok(self.notes().commands.get(identity).copied())
    }

    fn head(&self, aggregate: &AggregateId) -> Result<Option<Head>, IndexError> {
        Ok(self.notes().heads.get(aggregate).copied())
    }

    fn snapshot(&self, aggregate: &AggregateId) -> Result<Option<Snapshot>, IndexError> {
        Ok(self.notes().snapshots.get(aggregate).cloned())
    }

    fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut notes = self.notes();
        let tally = notes.tally.with(entries)?;
        for entry in entries {
            let first = *notes.commands.entry(entry.identity.clone()).or_insert(entry.position);
            if first != entry.position {
                return Err(IndexError::second_commit(&entry.identity, first, entry.position));
            }
            if let Some(version) = entry.changed_to {
                let head = Head { version, position: entry.position };
                if head.replaces(notes.heads.get(&entry.aggregate), &entry.aggregate)? {
                    notes.heads.insert(entry.aggregate.clone(), head);
                }
            }
            if let Some(snapshot) = &entry.snapshot
                && snapshot.replaces(notes.snapshots.get(&entry.aggregate).map(|old| old.version))
            {
                notes.snapshots.insert(entry.aggregate.clone(), snapshot.clone());
            }
        }
        notes.tally = tally;
        Ok(())
    }
}
