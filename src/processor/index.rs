//! What does the index have to note? Entries of durable commits, with the snapshots that are due.

use std::collections::VecDeque;

use super::live::LiveAggregates;
use crate::aggregate::Service;
use crate::model::limits::SNAPSHOT_EVERY_EVENTS;
use crate::model::{Commit, Entry, Position};

/// Entries whose commits are not durable yet. The index never holds what the store may lose (I12).
#[derive(Debug, Default)]
pub(super) struct Unindexed {
    entries: VecDeque<Entry>,
}

impl Unindexed {
    /// Remembers a commit. The aggregate's state after it is the live one.
    pub(super) fn add(&mut self, commit: &Commit, service: &Service, live: &mut LiveAggregates) {
        let mut entry = Entry::of(commit);
        if is_snapshot_due(commit) {
            let aggregate = &commit.command.aggregate;
            entry.snapshot = live.get(aggregate).and_then(|folded| service.snapshot(aggregate, folded));
        }
        self.entries.push_back(entry);
    }

    /// The entries up to a durable position.
    pub(super) fn take_upto(&mut self, durable: Position) -> Vec<Entry> {
        let count = self.entries.partition_point(|entry| entry.position <= durable);
        self.entries.drain(..count).collect()
    }
}

/// One commit may jump over the mark, so it is "passed", not "hit".
fn is_snapshot_due(commit: &Commit) -> bool {
    commit.version_before().0 / SNAPSHOT_EVERY_EVENTS != commit.version.0 / SNAPSHOT_EVERY_EVENTS
}
