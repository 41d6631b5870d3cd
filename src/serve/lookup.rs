//! How something is looked up: the index says where, the store says what, and what the index says is checked against what
//! is there.

use std::sync::Arc;

use super::fatal::Fatal;
use crate::aggregate::{Folded, Service};
use crate::index::{Index, IndexError};
use crate::model::error::with_sources;
use crate::model::{AggregateId, At, Commit, Head, Identity, Position, Version};
use crate::processor::{Found, Recorded, Wanted};
use crate::store::{CommitReader, ReadError};

/// What a look-up needs.
#[derive(Debug, Clone)]
pub struct LookUp<I, R> {
    /// Folds states.
    pub service: Arc<Service>,
    /// Says where.
    pub index: Arc<I>,
    /// Says what.
    pub reader: R,
}

/// How much of an aggregate's history is kept between its way back, along the links, and its way forth, event by event.
/// What is older is read twice: a history may be longer than memory.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// A commit on an aggregate's way.
enum Step {
    Kept(Commit),
    At(Position),
}

/// A look-up failed, which is never "not found".
#[derive(Debug)]
pub enum LookUpError {
    /// Try again later; nothing is decided until then.
    Unavailable(String),
    /// What is recorded is not what was recorded. Nothing may go on.
    Fatal(Fatal),
}

impl From<IndexError> for LookUpError {
    fn from(error: IndexError) -> LookUpError {
        if error.is_doubt() {
            LookUpError::Fatal(Fatal::Index(error))
        } else {
            LookUpError::Unavailable(with_sources(&error))
        }
    }
}

impl From<ReadError> for LookUpError {
    fn from(error: ReadError) -> LookUpError {
        match error {
            ReadError::Io { .. } => LookUpError::Unavailable(with_sources(&error)),
            ReadError::Absent(_) | ReadError::Damage(_) => LookUpError::Fatal(Fatal::Read(error)),
        }
    }
}

impl<I: Index, R: CommitReader> LookUp<I, R> {
    /// Answers everything that a batch lacks.
    ///
    /// # Errors
    /// [`LookUpError`]: nothing of it is known then.
    pub fn all(&self, wanted: Wanted) -> Result<Found, LookUpError> {
        let mut found = Found::default();
        for identity in wanted.identities {
            let recorded = self.recorded(&identity)?;
            found.commits.insert(identity, recorded);
        }
        for aggregate in wanted.aggregates {
            let folded = self.fold(&aggregate, At::Now)?;
            found.aggregates.insert(aggregate, folded);
        }
        Ok(found)
    }

    /// What is recorded under an id. What sled says is checked against what is there.
    fn recorded(&self, identity: &Identity) -> Result<Option<Recorded>, LookUpError> {
        let Some(position) = self.index.position_of(identity)? else { return Ok(None) };
        let commit = self.indexed(position)?;
        if commit.command.identity != *identity {
            return Err(disagrees(format!("position {position} is not the commit of {}", identity.id)));
        }
        let behind = self.reader.read(position.next()).take(commit.followers as usize);
        let followers = behind.collect::<Result<Vec<_>, _>>()?;
        if followers.len() != commit.followers as usize {
            return Err(disagrees(format!("the batch at position {position} has lost commits")));
        }
        Ok(Some(Recorded { commit, followers }))
    }

    /// How many events an aggregate has had by now.
    ///
    /// # Errors
    /// [`LookUpError`].
    pub fn version(&self, aggregate: &AggregateId) -> Result<Version, LookUpError> {
        Ok(self.index.head(aggregate)?.map_or(Version(0), |head| head.version))
    }

    /// The state of an aggregate at some point: from the last snapshot on (if it is not asked about the past), the commits
    /// that changed it, in order. The inner error is the aggregate's own: the others are served.
    ///
    /// # Errors
    /// [`LookUpError`].
    pub fn fold(&self, aggregate: &AggregateId, at: At) -> Result<Result<Folded, String>, LookUpError> {
        let head = self.index.head(aggregate)?;
        let Some(mut folded) = self.start_of(aggregate, head, at)? else {
            return Ok(Err(format!("{} is not served", aggregate.kind)));
        };
        let Some(head) = head else { return Ok(Ok(folded)) };
        let was_resumed = folded.version > Version(0);
        for change in self.changes(aggregate, head, folded.version, at)?.into_iter().rev() {
            let commit = match change {
                Step::Kept(commit) => commit,
                Step::At(position) => self.indexed(position)?,
            };
            if let Err(error) = folded.apply(&commit) {
                return Ok(Err(with_sources(&error)));
            }
        }
        if was_resumed {
            folded.last = Some(head.position); // Also if the snapshot is as new as the head.
        }
        Ok(Ok(folded))
    }

    /// Where the fold begins; `None`: the type is not served.
    fn start_of(&self, aggregate: &AggregateId, head: Option<Head>, at: At) -> Result<Option<Folded>, LookUpError> {
        if let (Some(head), At::Now) = (head, at)
            && let Some(snapshot) = self.index.snapshot(aggregate)?
            && snapshot.version <= head.version
            && let Some(folded) = self.service.resume(aggregate, &snapshot)
        {
            return Ok(Some(folded));
        }
        Ok(self.service.start(&aggregate.kind))
    }

    /// The commits that changed an aggregate after a version, the last one first.
    fn changes(&self, aggregate: &AggregateId, head: Head, after: Version, at: At) -> Result<Vec<Step>, LookUpError> {
        let (mut steps, mut kept_bytes) = (Vec::new(), 0);
        let (mut next, mut version) = (Some(head.position), head.version);
        while version > after {
            let Some(position) = next else {
                return Err(disagrees(format!("{aggregate}: the links end above version {version}")));
            };
            let commit = self.indexed(position)?;
            if commit.command.aggregate != *aggregate || commit.version != version {
                return Err(disagrees(format!("{aggregate}: position {position} is not its version {version}")));
            }
            (next, version) = (commit.previous, commit.version_before());
            if at.includes(&commit) {
                kept_bytes += commit.json().len();
                steps.push(if kept_bytes <= KEPT_BYTES_MAX { Step::Kept(commit) } else { Step::At(position) });
            }
        }
        Ok(steps)
    }

    /// The commit at a position that the index knows.
    fn indexed(&self, position: Position) -> Result<Commit, LookUpError> {
        match self.reader.get(position) {
            Err(ReadError::Absent(_)) => Err(disagrees(format!("it knows position {position}, the store does not"))),
            commit => Ok(commit?),
        }
    }
}

fn disagrees(what: String) -> LookUpError {
    LookUpError::Fatal(Fatal::Index(IndexError::Disagrees(what)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;
    use crate::index::MemoryIndex;
    use crate::model::{
        Command, CommandId, CommandName, Decision, Entry, Outcome, Principal, RecordedEvent, Timestamp,
    };
    use crate::store::memory::MemoryStore;
    use crate::store::{EventStore, StoreId, Tip};

    /// The commit of the event `number` of account/42, which puts so many cents in and has a long body.
    fn deposit(tip: Tip, number: u64) -> Commit {
        let aggregate: AggregateId = "account/42".parse().unwrap();
        let id = CommandId::parse(&format!("command-{number:020}")).unwrap();
        let principal = Principal::parse("alice").unwrap();
        let command = Command {
            identity: Identity { principal, key: aggregate.key.clone(), id: id.clone() },
            aggregate: aggregate.clone(),
            name: CommandName::parse("deposit").unwrap(),
            data: Bytes::from(format!(r#"{{"note":"{}"}}"#, "x".repeat(KEPT_BYTES_MAX / 4))),
            expected: None,
            not_after: None,
            traceparent: None,
        };
        let data = RawValue::from_string(format!(r#"{{"amount":{number}}}"#)).unwrap();
        let outcome = Outcome {
            id,
            aggregate,
            version: Version(number),
            position: Position::after(tip.position),
            decided_at: Timestamp::from_unix_micros(1_000_000).unwrap(),
            decision: Decision::Accepted(vec![RecordedEvent { kind: "deposited".into(), schema: 1, data }]),
        };
        Commit::record(command, &outcome, tip.position, &tip.hash)
    }

    #[test]
    fn a_history_that_is_longer_than_what_is_kept_is_folded_in_order() {
        let id = StoreId { store: Uuid::from_u128(1), partition: 0, partitions: 1 };
        let (mut store, index) = (MemoryStore::new(id), MemoryIndex::new());
        for number in 1..=9 {
            let commit = deposit(store.tip(), number);
            index.note(&[Entry::of(&commit)]).unwrap();
            store.append(vec![commit]);
        }
        let service = Arc::new(Service::new().with::<crate::samples::Account>());
        let look_up = LookUp { service, index: Arc::new(index), reader: store.reader() };
        let balance = |at| {
            let folded = look_up.fold(&"account/42".parse().unwrap(), at).unwrap().unwrap();
            (folded.version, String::from_utf8(folded.state.to_json().unwrap()).unwrap())
        };
        let expected =
            |version, balance| (Version(version), format!(r#"{{"owner":null,"balance":{balance},"closed":false}}"#));
        assert_eq!(balance(At::Now), expected(9, 45));
        assert_eq!(balance(At::Version(Version(7))), expected(7, 28));
    }
}
