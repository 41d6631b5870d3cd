//! What the index notes and answers: where a commit belongs, where an aggregate stands, its last snapshot.

use bytes::Bytes;

use super::command::{AggregateId, Identity};
use super::commit::{Commit, Position, Version};

/// Where an aggregate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many events it has had.
    pub version: Version,
    /// The last commit that changed it.
    pub position: Position,
}

/// State of an aggregate at a version; a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// How many events are folded into it.
    pub version: Version,
    /// The version of `evolve` that folded it; ignored under another.
    pub fold: u32,
    /// The state as JSON.
    pub state: Bytes,
}

/// What the index notes of one durable commit.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The commit.
    pub position: Position,
    /// Whose command it records.
    pub identity: Identity,
    /// The aggregate that decided.
    pub aggregate: AggregateId,
    /// The aggregate's version after it, if the commit changed the aggregate.
    pub changed_to: Option<Version>,
    /// How many events it has; 0 for a rejection.
    pub event_count: u64,
    /// Bytes of the commit's JSON: what memory holds until the entry is noted.
    pub commit_bytes: usize,
    /// A snapshot that was due at it.
    pub snapshot: Option<Snapshot>,
}

impl Entry {
    /// The entry of a commit, without a snapshot.
    pub fn of(commit: &Commit) -> Entry {
        Entry {
            position: commit.position,
            identity: commit.command.identity.clone(),
            aggregate: commit.command.aggregate.clone(),
            changed_to: (commit.event_count > 0).then_some(commit.version),
            event_count: commit.event_count,
            commit_bytes: commit.json().len(),
            snapshot: None,
        }
    }
}
