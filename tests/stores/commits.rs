//! Commits to fill a store with.

use bytes::Bytes;
use hapax::store::{StoreId, Tip};
use hapax::{
    AggregateId, AggregateType, Command, CommandId, CommandName, Commit, Decision, Identity, Key, Outcome, Position,
    Principal, Timestamp, Version,
};
use uuid::Uuid;

/// The store that the tests use.
pub const STORE: StoreId =
    StoreId { store: Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001), partition: 0, partitions: 1 };

/// The commits that follow `tip`, each with a body of about `bytes` bytes.
pub fn following(tip: Tip, count: u64, bytes: usize) -> Vec<Commit> {
    let mut tip = tip;
    let mut commits = Vec::new();
    for _ in 0..count {
        let commit = commit(tip, "account", "deposit", format!(r#"{{"note":"{}"}}"#, "x".repeat(bytes)));
        tip = Tip::of(&commit);
        commits.push(commit);
    }
    commits
}

/// The first commits of the store.
pub fn first(count: u64) -> Vec<Commit> {
    following(Tip::empty(STORE), count, 40)
}

/// The commit of a command for `<kind>/42` that follows `tip`.
pub fn commit(tip: Tip, kind: &str, name: &str, data: String) -> Commit {
    let position = Position::after(tip.position);
    let key = Key::parse("42").unwrap();
    let aggregate = AggregateId { kind: AggregateType::parse(kind).unwrap(), key: key.clone() };
    let id = CommandId::parse(&format!("command-{position:020}")).unwrap();
    let command = Command {
        identity: Identity { principal: Principal::parse("alice").unwrap(), key, id: id.clone() },
        aggregate: aggregate.clone(),
        name: CommandName::parse(name).unwrap(),
        data: Bytes::from(data),
        expected: None,
        not_after: None,
        traceparent: None,
    };
    let outcome = Outcome {
        id,
        aggregate,
        version: Version(0),
        position,
        decided_at: Timestamp::from_unix_micros(1_000_000 * position.get() as i64).unwrap(),
        decision: Decision::Accepted(Vec::new()),
    };
    Commit::record(command, &outcome, None, &tip.hash)
}

/// A position.
pub fn at(number: u64) -> Position {
    Position::new(number).unwrap()
}
