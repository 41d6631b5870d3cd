//! How does a decision become a commit? It gets the next position, the chain hash, and a link back.

use crate::model::{Command, Commit, Decision, Outcome, Position, Timestamp, Version};
use crate::store::Tip;

/// The end of the sequence, as decided so far: what is durable and what is still under way.
#[derive(Debug)]
pub(super) struct Ledger {
    tip: Tip,
}

impl Ledger {
    pub(super) fn new(tip: Tip) -> Ledger {
        Ledger { tip }
    }

    /// The last position given out; `None`: the store is empty.
    pub(super) fn last(&self) -> Option<Position> {
        self.tip.position
    }

    /// The time to decide at: the edge's clock, but never earlier than the message or the commit before it, so that
    /// recorded times never run backwards when the clock does.
    pub(super) fn time(&self, now: Timestamp, stored_at: Timestamp) -> Timestamp {
        now.max(stored_at).max(self.tip.decided_at)
    }

    /// Records a decision as the next commit. `version` is the aggregate's after it, `previous` the last commit before it
    /// that changed the aggregate.
    pub(super) fn record(
        &mut self,
        command: Command,
        decision: Decision,
        version: Version,
        previous: Option<Position>,
        time: Timestamp,
    ) -> Commit {
        let position = Position::after(self.tip.position);
        let outcome = Outcome {
            id: command.identity.id.clone(),
            aggregate: command.aggregate.clone(),
            version,
            position,
            decided_at: time,
            decision,
        };
        let commit = Commit::record(command, &outcome, previous, &self.tip.hash);
        self.tip = Tip { position: Some(position), hash: commit.hash, decided_at: time };
        commit
    }
}
