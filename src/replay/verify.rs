//! Does a store contradict itself? Its files may be whole (frames, checksums and chain say that), and yet hold what no
//! processor would have written.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use crate::model::partition::partition_of;
use crate::model::{AggregateId, Commit, Head, Identity, Position, Principal, Timestamp, Version};
use crate::store::StoreId;

/// Checks commits one after the other, from the first. It remembers every identity (some 40 bytes each) and every
/// aggregate.
#[derive(Debug)]
pub struct Checks {
    id: StoreId,
    heads: HashMap<AggregateId, Head>,
    first_of: HashMap<u128, Position>,
    decided_at: Timestamp,
    /// The atomic batch whose commands are still to come.
    open: Option<Open>,
    found: Found,
}

/// An atomic batch, as far as its commit says what those behind it must be.
#[derive(Debug)]
struct Open {
    head: Position,
    principal: Principal,
    rejected: bool,
    /// How many commits are still to come.
    owed: u32,
}

/// What a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Commits.
    pub commits: u64,
    /// Of them rejections.
    pub rejections: u64,
    /// Events.
    pub events: u64,
    /// Aggregates that have had an event.
    pub aggregates: u64,
}

/// Two things in a store that cannot both be true.
#[derive(Debug, thiserror::Error)]
#[error("position {position} contradicts the store: {what}")]
pub struct Contradiction {
    /// The commit.
    pub position: Position,
    /// What is wrong with it.
    pub what: What,
}

/// What is wrong with a commit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// I1: an identity has been decided twice.
    #[error("command {} of {} for {} was decided before, at position {first}", .identity.id, .identity.principal, .identity.key)]
    SecondCommit {
        /// The identity.
        identity: Identity,
        /// Its first commit.
        first: Position,
    },
    /// I5: versions of an aggregate have a gap, or come twice.
    #[error("{aggregate} was at version {before}, and this commit begins at version {begins}")]
    Version {
        /// The aggregate.
        aggregate: AggregateId,
        /// Its version, from the commits before.
        before: Version,
        /// Its version before the commit, as the commit has it.
        begins: Version,
    },
    /// The link back does not lead to the last commit that changed the aggregate.
    #[error("{aggregate} was last changed at position {}, the link back leads to {}", number(*.last), number(*.link))]
    Link {
        /// The aggregate.
        aggregate: AggregateId,
        /// The last commit that changed it.
        last: Option<Position>,
        /// Where the link leads.
        link: Option<Position>,
    },
    /// I8: a rejection has events.
    #[error("it is a rejection and has events")]
    RejectionWithEvents,
    /// It belongs to another partition.
    #[error("its key belongs to partition {0}")]
    Partition(u32),
    /// It is older than the commit before it.
    #[error("it was decided before the commit in front of it")]
    Time,
    /// I6: an atomic batch is not one decision.
    #[error("of the atomic batch at position {head}, {what}")]
    Group {
        /// The batch's own commit.
        head: Position,
        /// What is wrong.
        what: &'static str,
    },
    /// Its outcome cannot be read.
    #[error("its outcome cannot be read")]
    Outcome,
}

fn number(position: Option<Position>) -> u64 {
    position.map_or(0, Position::get)
}

#[derive(Deserialize)]
struct OutcomeForm<'a> {
    status: &'a str,
    events: Option<IgnoredAny>,
}

impl Checks {
    /// For the store of one partition.
    pub fn new(id: StoreId) -> Checks {
        let (heads, first_of) = (HashMap::new(), HashMap::new());
        Checks { id, heads, first_of, decided_at: Timestamp::EPOCH, open: None, found: Found::default() }
    }

    /// Checks the next commit against all before it.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn check(&mut self, commit: &Commit) -> Result<(), Contradiction> {
        self.look(commit).map_err(|what| Contradiction { position: commit.position, what })
    }

    /// What has been seen so far.
    pub fn found(&self) -> Found {
        Found { aggregates: self.heads.len() as u64, ..self.found }
    }

    fn look(&mut self, commit: &Commit) -> Result<(), What> {
        let identity = &commit.command.identity;
        match self.first_of.entry(digest(identity)) {
            Entry::Occupied(first) => {
                return Err(What::SecondCommit { identity: identity.clone(), first: *first.get() });
            }
            Entry::Vacant(place) => *place.insert(commit.position),
        };
        let partition = partition_of(&identity.key, self.id.partitions);
        if partition != self.id.partition {
            return Err(What::Partition(partition));
        }
        let aggregate = &commit.command.aggregate;
        let head = self.heads.get(aggregate);
        let (before, begins) = (head.map_or(Version(0), |head| head.version), commit.version_before());
        if before != begins {
            return Err(What::Version { aggregate: aggregate.clone(), before, begins });
        }
        let (last, link) = (head.map(|head| head.position), commit.previous);
        if last != link {
            return Err(What::Link { aggregate: aggregate.clone(), last, link });
        }
        if commit.decided_at < self.decided_at {
            return Err(What::Time);
        }
        self.count(commit)
    }

    fn count(&mut self, commit: &Commit) -> Result<(), What> {
        let outcome: OutcomeForm<'_> = serde_json::from_slice(commit.outcome_json()).map_err(|_| What::Outcome)?;
        let rejected = outcome.status == "rejected";
        if rejected && outcome.events.is_some() {
            return Err(What::RejectionWithEvents);
        }
        self.follow_group(commit, rejected)?;
        self.decided_at = commit.decided_at;
        self.found.commits += 1;
        self.found.rejections += u64::from(rejected);
        self.found.events += commit.event_count;
        if commit.event_count > 0 {
            let head = Head { version: commit.version, position: commit.position };
            self.heads.insert(commit.command.aggregate.clone(), head);
        }
        Ok(())
    }
}

impl Checks {
    /// An atomic batch is a commit that changes no aggregate, and behind it those of its commands, decided as one.
    fn follow_group(&mut self, commit: &Commit, rejected: bool) -> Result<(), What> {
        let command = &commit.command;
        let Some(open) = &mut self.open else {
            let wrong = |what| Err(What::Group { head: commit.position, what });
            if command.aggregate.kind.is_batch() && (commit.event_count > 0 || commit.version > Version(0)) {
                return wrong("the commit itself has changed something");
            }
            let head = commit.position;
            let open = Open { head, principal: command.identity.principal.clone(), rejected, owed: commit.followers };
            self.open = Some(open).filter(|open| open.owed > 0);
            return Ok(());
        };
        let wrong = |what| Err(What::Group { head: open.head, what });
        if command.aggregate.kind.is_batch() {
            return wrong("a command is missing");
        }
        if command.identity.principal != open.principal {
            return wrong("a command is another principal's");
        }
        if rejected != open.rejected {
            return wrong("a part was accepted and a part was not");
        }
        if commit.decided_at != self.decided_at {
            return wrong("a command was decided at another time");
        }
        open.owed -= 1;
        if open.owed == 0 {
            self.open = None;
        }
        Ok(())
    }
}

/// Stands for an identity: 128 bits, so that no two of a store have the same by accident.
fn digest(Identity { principal, key, id }: &Identity) -> u128 {
    // Neither a token nor an id has a space.
    let hash = Sha256::digest(format!("{principal} {key} {id}"));
    let (head, _) = hash.split_first_chunk::<16>().expect("a SHA-256 has 32 bytes");
    u128::from_le_bytes(*head)
}
