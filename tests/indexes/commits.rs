//! Commits as a store has them, and what an index must know of them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use hapax::index::Index;
use hapax::store::{CommitReader, ReadError, StoreId};
use hapax::{
    AggregateId, ChainHash, Command, CommandId, CommandName, Commit, Decision, Entry, Head, Identity, Outcome,
    Position, Principal, RecordedEvent, Rejection, Timestamp, Version,
};
use uuid::Uuid;

pub(crate) const ID: StoreId = StoreId { store: Uuid::from_u128(7), partition: 0, partitions: 1 };

/// Commits as a store has them.
#[derive(Clone)]
pub(crate) struct Commits(pub(crate) Arc<Vec<Commit>>);

impl Commits {
    /// `number` commits on `aggregates` aggregates; every fifth is a rejection.
    pub(crate) fn of(number: u64, aggregates: u64) -> Commits {
        Commits::behind(ChainHash::of_store(ID.store), number, aggregates)
    }

    /// The same commits, behind another hash.
    pub(crate) fn behind(first: ChainHash, number: u64, aggregates: u64) -> Commits {
        let mut commits: Vec<Commit> = Vec::new();
        let mut heads: HashMap<AggregateId, Head> = HashMap::new();
        for n in 1..=number {
            let aggregate: AggregateId =
                format!("account/{}", n.wrapping_mul(0x9e37_79b9) % aggregates).parse().unwrap();
            let event_count = if n % 5 == 0 { 0 } else { 1 + n % 2 };
            let head = heads.get(&aggregate).copied();
            let chain = commits.last().map_or(first, |commit| commit.hash);
            let version = Version(head.map_or(0, |head| head.version.0) + event_count);
            let commit = commit(n, aggregate.clone(), event_count, version, head.map(|head| head.position), &chain);
            if event_count > 0 {
                heads.insert(aggregate, Head { version, position: commit.position });
            }
            commits.push(commit);
        }
        Commits(Arc::new(commits))
    }

    pub(crate) fn upto(&self, number: usize) -> Commits {
        Commits(Arc::new(self.0[..number].to_vec()))
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.iter().map(Entry::of).collect()
    }

    pub(crate) fn heads(&self) -> HashMap<AggregateId, Head> {
        let changed = self.0.iter().filter(|commit| commit.event_count > 0);
        changed
            .map(|commit| {
                (commit.command.aggregate.clone(), Head { version: commit.version, position: commit.position })
            })
            .collect()
    }
}

fn commit(
    n: u64,
    aggregate: AggregateId,
    events: u64,
    version: Version,
    previous: Option<Position>,
    chain: &ChainHash,
) -> Commit {
    // Most are UUIDs of version 7, four hundred in a millisecond: more than share a page.
    let id = match n % 7 {
        0 => CommandId::parse(&format!("order-2026-11-24-{n}")).unwrap(),
        1 => uuid::Builder::from_random_bytes(u128::from(n).to_le_bytes()).into_uuid().into(),
        _ => {
            let mut random = [0; 10];
            random[2..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            uuid::Builder::from_unix_timestamp_millis(1_764_000_000_000 + n / 400, &random).into_uuid().into()
        }
    };
    let event =
        RecordedEvent { kind: "deposited".into(), schema: 1, data: serde_json::from_str(r#"{"amount":100}"#).unwrap() };
    let decision = match events {
        0 => Decision::Rejected(Rejection::voided()),
        _ => Decision::Accepted(vec![event; events as usize]),
    };
    let position = Position::new(n).unwrap();
    let outcome = Outcome {
        id: id.clone(),
        aggregate: aggregate.clone(),
        version,
        position,
        decided_at: Timestamp::EPOCH,
        decision,
    };
    let command = Command {
        identity: Identity { principal: Principal::parse("alice").unwrap(), key: aggregate.key.clone(), id },
        aggregate,
        name: CommandName::parse("deposit").unwrap(),
        data: Bytes::from_static(br#"{"amount":100}"#),
        expected: None,
        not_after: None,
        traceparent: None,
    };
    Commit::record(command, &outcome, previous, chain)
}

impl CommitReader for Commits {
    fn get(&self, position: Position) -> Result<Commit, ReadError> {
        self.0.get(position.get() as usize - 1).cloned().ok_or(ReadError::Absent(position))
    }

    fn read(&self, from: Position) -> impl Iterator<Item = Result<Commit, ReadError>> + Send {
        self.0.iter().skip(from.get() as usize - 1).cloned().map(Ok)
    }

    fn last(&self) -> Option<Position> {
        self.0.last().map(|commit| commit.position)
    }
}

pub(crate) fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

/// Every command and every head is what the commits say, and nothing that nobody sent is known.
pub(crate) fn assert_holds(index: &impl Index, commits: &Commits) {
    for commit in commits.0.iter() {
        assert_eq!(index.position_of(&commit.command.identity).unwrap(), Some(commit.position));
    }
    for (aggregate, head) in commits.heads() {
        assert_eq!(index.head(&aggregate).unwrap(), Some(head), "{aggregate}");
    }
    let mut stranger = commits.0[0].command.identity.clone();
    stranger.principal = Principal::parse("bob").unwrap();
    assert_eq!(index.position_of(&stranger).unwrap(), None);
}

/// A state of so many bytes, no two neighbours of which are alike for long.
pub(crate) fn state(bytes: usize) -> Bytes {
    (0..bytes).map(|n| (n / 7) as u8).collect()
}
