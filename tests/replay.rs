//! Reading a store back: which commits are chosen, and what in a store cannot be true.

mod common;
#[path = "replay/till.rs"]
mod till;
#[path = "replay/again.rs"]
mod again;
#[path = "replay/exported.rs"]
mod exported;
#[path = "replay/past.rs"]
mod past;
#[path = "replay/follow.rs"]
mod follow;
#[path = "replay/histories.rs"]
mod histories;
#[path = "replay/remedies.rs"]
mod remedies;

use bytes::Bytes;
use hapax::model::time::Timestamp;
use hapax::replay::timeline::Timeline;
use hapax::replay::verify::{Checks, Found, What};
use hapax::replay::{Selection, commits};
use hapax::store::memory::MemoryStore;
use hapax::store::{EventStore, StoreId, Tip};
use hapax::{
    At, ChainHash, Command, CommandId, CommandName, Commit, Decision, Identity, Outcome, Position, Principal,
    RecordedEvent, Rejection, Version,
};
use uuid::Uuid;

const STORE: StoreId = StoreId { store: Uuid::from_u128(7), partition: 0, partitions: 1 };

/// A commit as a test wants it; what it does not say is as it should be.
#[derive(Clone)]
struct Plan {
    id: u64,
    aggregate: &'static str,
    position: u64,
    version: u64,
    previous: u64,
    second: i64,
    events: usize,
    /// Whether it is accepted, if it has no events.
    accepted: bool,
    principal: &'static str,
    data: &'static str,
}

impl Plan {
    fn commit(&self) -> Commit {
        let aggregate: hapax::AggregateId = self.aggregate.parse().unwrap();
        let id = CommandId::parse(&format!("command-{:08}", self.id)).unwrap();
        let principal = Principal::parse(self.principal).unwrap();
        let command = Command {
            identity: Identity { principal, key: aggregate.key.clone(), id: id.clone() },
            aggregate: aggregate.clone(),
            name: if aggregate.kind.is_batch() { CommandName::run() } else { CommandName::parse("deposit").unwrap() },
            data: Bytes::from_static(self.data.as_bytes()),
            expected: None,
            not_after: None,
            traceparent: None,
        };
        let event = || RecordedEvent { kind: "deposited".into(), schema: 1, data: serde_json::from_str("{}").unwrap() };
        let decision = match self.events {
            0 if self.accepted => Decision::Accepted(Vec::new()),
            0 => Decision::Rejected(Rejection::voided()),
            count => Decision::Accepted((0..count).map(|_| event()).collect()),
        };
        let decided_at = Timestamp::from_unix_micros(self.second * 1_000_000).unwrap();
        let (version, position) = (Version(self.version), Position::new(self.position).unwrap());
        let outcome = Outcome { id, aggregate, version, position, decided_at, decision };
        Commit::record(command, &outcome, Position::new(self.previous), &ChainHash::of_store(STORE.store))
    }
}

/// Two events of `account/1`, a rejection, one event of `account/2`, one more of `account/1`.
fn story() -> Vec<Plan> {
    let plan = |position, aggregate, version, previous, events| Plan {
        id: position,
        aggregate,
        position,
        version,
        previous,
        second: position as i64,
        events,
        accepted: false,
        principal: "alice",
        data: "{}",
    };
    vec![
        plan(1, "account/1", 2, 0, 2),
        plan(2, "account/1", 2, 1, 0),
        plan(3, "account/2", 1, 0, 1),
        plan(4, "account/1", 3, 1, 1),
    ]
}

/// What is wrong with the last commit of the story if it is changed so.
fn wrong(store: StoreId, change: impl Fn(&mut Plan)) -> Option<What> {
    let mut story = story();
    change(story.last_mut().unwrap());
    let mut checks = Checks::new(store);
    let (last, before) = story.split_last().unwrap();
    for plan in before {
        checks.check(&plan.commit()).unwrap();
    }
    checks.check(&last.commit()).err().map(|contradiction| contradiction.what)
}

#[test]
fn a_story_that_can_be_true() {
    let mut checks = Checks::new(STORE);
    for plan in story() {
        checks.check(&plan.commit()).unwrap();
    }
    assert_eq!(checks.found(), Found { commits: 4, rejections: 1, events: 4, aggregates: 2 });
    assert_eq!(wrong(STORE, |_| {}), None);
}

#[test]
fn an_identity_is_decided_once() {
    assert!(matches!(wrong(STORE, |plan| plan.id = 2), Some(What::SecondCommit { first, .. }) if first.get() == 2));
    // The same id under another key is another command.
    assert_eq!(wrong(STORE, |plan| plan.id = 3), None);
}

#[test]
fn versions_have_no_gap_and_no_double() {
    assert!(matches!(wrong(STORE, |plan| plan.version = 4), Some(What::Version { begins: Version(3), .. })));
    assert!(matches!(wrong(STORE, |plan| plan.version = 2), Some(What::Version { begins: Version(1), .. })));
}

#[test]
fn the_link_leads_to_the_last_change() {
    assert!(matches!(wrong(STORE, |plan| plan.previous = 2), Some(What::Link { .. })));
    assert!(matches!(wrong(STORE, |plan| plan.previous = 0), Some(What::Link { link: None, .. })));
}

#[test]
fn time_does_not_run_backwards() {
    assert_eq!(wrong(STORE, |plan| plan.second = 2), Some(What::Time));
    assert_eq!(wrong(STORE, |plan| plan.second = 3), None);
}

#[test]
fn a_key_lives_in_its_partition() {
    let mut checks = Checks::new(StoreId { partition: 0, partitions: 3, ..STORE });
    let contradiction = checks.check(&story()[0].commit()).unwrap_err();
    assert_eq!(contradiction.what, What::Partition(1));
}

#[test]
fn a_rejection_has_no_events() {
    let rejection = story()[1].commit();
    let json = std::str::from_utf8(rejection.json()).unwrap().replace(r#""error""#, r#""events":[],"error""#);
    let with_events = Commit::from_json(Bytes::from(json), rejection.hash).unwrap();
    let mut checks = Checks::new(STORE);
    checks.check(&story()[0].commit()).unwrap();
    assert_eq!(checks.check(&with_events).unwrap_err().what, What::RejectionWithEvents);
}

/// The story, and behind it an atomic batch of two commands.
fn story_with_batch() -> Vec<Plan> {
    let mut story = story();
    let first = story[0].clone();
    let plan = |position, aggregate, version, previous| Plan {
        id: position,
        aggregate,
        position,
        version,
        previous,
        second: 5,
        events: 1,
        ..first.clone()
    };
    story.push(Plan { data: BATCH, events: 0, accepted: true, ..plan(5, "_batch/1", 0, 0) });
    story.extend([plan(6, "account/1", 4, 4), plan(7, "account/2", 2, 3)]);
    story
}

const BATCH: &str = r#"{"commands":2,"checks":[{"at":0,"aggregate":"account","key":"3","version":0,"actual":0}]}"#;

fn wrong_batch(change: impl Fn(&mut Vec<Plan>)) -> Option<(u64, &'static str)> {
    let mut story = story_with_batch();
    change(&mut story);
    let mut checks = Checks::new(STORE);
    let found = story.iter().find_map(|plan| checks.check(&plan.commit()).err());
    found.map(|contradiction| match contradiction.what {
        What::Group { what, .. } => (contradiction.position.get(), what),
        other => panic!("{other}"),
    })
}

#[test]
fn an_atomic_batch_is_one_decision() {
    assert_eq!(wrong_batch(|_| {}), None);
    let part = "a part was accepted and a part was not";
    let rejected = |plan: &mut Plan, version| (plan.events, plan.version) = (0, version);
    assert_eq!(wrong_batch(|story| rejected(&mut story[6], 1)), Some((7, part)));
    assert_eq!(wrong_batch(|story| story[4].accepted = false), Some((6, part)));
    assert_eq!(wrong_batch(|story| story[6].second = 6), Some((7, "a command was decided at another time")));
    assert_eq!(wrong_batch(|story| story[6].principal = "bob"), Some((7, "a command is another principal's")));
    let missing = Some((7, "a command is missing"));
    assert_eq!(wrong_batch(|story| story[6] = Plan { id: 9, position: 7, ..story[4].clone() }), missing);
    let changed = Some((5, "the commit itself has changed something"));
    assert_eq!(wrong_batch(|story| (story[4].events, story[4].version) = (1, 1)), changed);
    // Behind it, what is no part of it may be what it wants.
    let behind =
        Plan { id: 8, position: 8, version: 4, previous: 6, second: 6, principal: "bob", ..story()[1].clone() };
    assert_eq!(wrong_batch(|story| story.push(behind.clone())), None);
}

#[test]
fn a_batch_is_a_line_and_its_commands_are_the_next() {
    let timeline = Timeline { partition: 0, one_of_many: false, last: Position::new(12).unwrap() };
    let line = |plan: &Plan| timeline.text(&plan.commit()).unwrap();
    let batch = &story_with_batch()[4];
    assert_eq!(
        line(batch),
        "5   1970-01-01T00:00:05.000000Z  _batch/1  alice: run, the next 2, checked account/3 v0 => all accepted"
    );
    let data = r#"{"commands":2,"checks":[{"at":0,"aggregate":"account","key":"3","version":1,"actual":0}]}"#;
    let stale = line(&Plan { data, accepted: false, ..batch.clone() });
    assert!(stale.ends_with("the next 2, checked account/3 v1 and found v0 => all rejected"), "{stale}");
}

#[tokio::test]
async fn a_selection_is_a_range_and_an_aggregate() {
    let (mut store, tip) = (MemoryStore::new(STORE), Tip::empty(STORE));
    let mut hash = tip.hash;
    let chained = story().into_iter().map(|plan| {
        hash = hash.link(plan.commit().json());
        Commit::from_json(plan.commit().json().clone(), hash).unwrap()
    });
    store.append(chained.collect());
    store.durable().await.unwrap();
    let reader = store.reader();
    let chosen = |aggregate: Option<&str>, from, upto| {
        let aggregate = aggregate.map(|text| text.parse().unwrap());
        let at = |number| Position::new(number).map(At::Position);
        let selection = Selection { aggregate, from: at(from), upto: at(upto), ..Selection::default() };
        commits(&reader, &selection, |_| ()).map(|commit| commit.unwrap().position.get()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(None, 0, 0), [1, 2, 3, 4]);
    assert_eq!(chosen(None, 2, 3), [2, 3]);
    assert_eq!(chosen(Some("account/1"), 0, 0), [1, 2, 4]);
    assert_eq!(chosen(Some("account/1"), 2, 9), [2, 4]);
    assert_eq!(chosen(Some("account/3"), 0, 0), [0; 0]);
    assert_eq!(chosen(None, 5, 0), [0; 0]);
}
