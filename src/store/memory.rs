//! A store in memory: the reference that the others are tested against. It checks what they check.

use std::sync::{Arc, RwLock};

use crate::model::{Commit, Position};
use crate::store::{AppendError, CommitReader, Durable, EventStore, ReadError, StoreId, Tip};

/// An event store that lasts as long as its process.
pub struct MemoryStore {
    shared: Arc<RwLock<Vec<Commit>>>,
    /// Appended and not durable yet.
    queued: Vec<Commit>,
    syncs_itself: bool,
    /// The position that `durable` said last.
    said: Option<Position>,
    tip: Tip,
}

const NOT_POISONED: &str = "nobody panics while holding this lock";

impl MemoryStore {
    /// An empty store, where everything is durable as soon as it is appended.
    pub fn new(id: StoreId) -> MemoryStore {
        MemoryStore { shared: Arc::default(), queued: Vec::new(), syncs_itself: true, said: None, tip: Tip::empty(id) }
    }

    /// An empty store, where nothing is durable before [`sync`](MemoryStore::sync).
    pub fn synced_by_hand(id: StoreId) -> MemoryStore {
        MemoryStore { syncs_itself: false, ..MemoryStore::new(id) }
    }

    /// Makes durable what was appended.
    pub fn sync(&mut self) {
        self.shared.write().expect(NOT_POISONED).append(&mut self.queued);
    }

    /// The last commit appended, durable or not.
    pub fn tip(&self) -> Tip {
        self.tip
    }
}

impl EventStore for MemoryStore {
    type Reader = MemoryReader;

    fn append(&mut self, commits: Vec<Commit>) {
        for commit in &commits {
            self.tip.follow(commit);
        }
        self.queued.extend(commits);
        if self.syncs_itself {
            self.sync();
        }
    }

    async fn durable(&mut self) -> Result<Durable<Position>, AppendError> {
        let last = self.reader().last();
        match last {
            Some(position) if self.said < last => {
                self.said = last;
                Ok(Durable(position))
            }
            // Nobody can append or sync while this borrows the store, so there is nothing to wake up for.
            _ => std::future::pending().await,
        }
    }

    fn reader(&self) -> MemoryReader {
        MemoryReader { shared: self.shared.clone() }
    }
}

/// Reads the durable commits of a [`MemoryStore`].
#[derive(Clone)]
pub struct MemoryReader {
    shared: Arc<RwLock<Vec<Commit>>>,
}

impl CommitReader for MemoryReader {
    fn get(&self, position: Position) -> Result<Commit, ReadError> {
        let index = usize::try_from(position.get() - 1).ok();
        let commits = self.shared.read().expect(NOT_POISONED);
        index.and_then(|index| commits.get(index)).cloned().ok_or(ReadError::Absent(position))
    }

    fn read(&self, from: Position) -> impl Iterator<Item = Result<Commit, ReadError>> + Send {
        let last = self.last().map_or(0, Position::get);
        let reader = self.clone();
        (from.get()..=last).filter_map(Position::new).map(move |position| reader.get(position))
    }

    fn last(&self) -> Option<Position> {
        Position::new(self.shared.read().expect(NOT_POISONED).len() as u64)
    }
}
