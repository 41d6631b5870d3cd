//! The aggregates whose state is in memory: the most recently used ones, with everything decided so far.
//!
//! The state is speculative: it holds decisions whose commits are not durable yet. That is safe because nothing of it is
//! visible before its position is durable, and because a failed append ends the process: there is no way back to undo.

use lru::LruCache;

use crate::aggregate::Folded;
use crate::model::{AggregateId, Position};

#[derive(Debug)]
pub(super) struct LiveAggregates {
    folded: LruCache<AggregateId, Folded>,
    max: usize,
}

impl LiveAggregates {
    pub(super) fn new(max: usize) -> LiveAggregates {
        LiveAggregates { folded: LruCache::unbounded(), max }
    }

    pub(super) fn contains(&self, aggregate: &AggregateId) -> bool {
        self.folded.contains(aggregate)
    }

    /// The state, now the most recently used.
    pub(super) fn get(&mut self, aggregate: &AggregateId) -> Option<&mut Folded> {
        self.folded.get_mut(aggregate)
    }

    /// Takes a loaded state in, unless memory has one: memory is never older.
    pub(super) fn take_in(&mut self, aggregate: AggregateId, loaded: Folded) {
        if !self.folded.contains(&aggregate) {
            self.folded.put(aggregate, loaded);
        }
    }

    /// Drops what was used longest ago, down to the bound. What changed after `forgettable` stays: the index does not
    /// know it yet, or a look-up that is under way may have missed it.
    pub(super) fn trim(&mut self, forgettable: Option<Position>) {
        while self.folded.len() > self.max {
            match self.folded.peek_lru() {
                Some((_, oldest)) if oldest.last <= forgettable => self.folded.pop_lru(),
                _ => break,
            };
        }
    }
}
