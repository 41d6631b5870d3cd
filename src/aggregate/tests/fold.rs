//! State = snapshot + events, and what cannot be folded.

use bytes::Bytes;

use super::*;
use crate::model::{
    AggregateId, AggregateType, ChainHash, Command, Commit, Decision, Identity, Outcome, Position, RecordedEvent,
    Rejection, Snapshot, Version,
};
use crate::samples::{Account, AccountRejection, Order};

fn account() -> AggregateId {
    "account/42".parse().unwrap()
}

fn start() -> Folded {
    Service::new().with::<Account>().start(&account().kind).unwrap()
}

fn commit(at: u64, version: u64, decision: Decision) -> Commit {
    let id = CommandId::parse(&format!("command-{at:010}")).unwrap();
    let principal = Principal::parse("alice").unwrap();
    let command = Command {
        identity: Identity { principal, key: account().key, id: id.clone() },
        aggregate: account(),
        name: crate::model::CommandName::parse("deposit").unwrap(),
        data: Bytes::from_static(b"{}"),
        expected: None,
        not_after: None,
        traceparent: None,
    };
    let (aggregate, version, position) = (account(), Version(version), Position::new(at).unwrap());
    let outcome = Outcome { id, aggregate, version, position, decided_at: Timestamp::EPOCH, decision };
    Commit::record(command, &outcome, None, &ChainHash([0; 32]))
}

fn event(kind: &str, schema: u32, data: &str) -> RecordedEvent {
    RecordedEvent { kind: kind.into(), schema, data: serde_json::from_str(data).unwrap() }
}

fn opened() -> RecordedEvent {
    event("opened", 1, r#"{"owner":"ada"}"#)
}

fn deposited(amount: i64) -> RecordedEvent {
    event("deposited", 1, &format!(r#"{{"amount":{amount}}}"#))
}

fn accepted(at: u64, version: u64, events: Vec<RecordedEvent>) -> Commit {
    commit(at, version, Decision::Accepted(events))
}

fn state(folded: &Folded) -> String {
    String::from_utf8(folded.state.to_json().unwrap()).unwrap()
}

#[test]
fn commits_are_folded_in_their_order() {
    let mut folded = start();
    assert!(folded.head().is_none());
    folded.apply(&accepted(3, 2, vec![opened(), deposited(100)])).unwrap();
    folded.apply(&accepted(5, 3, vec![deposited(20)])).unwrap();
    assert_eq!(state(&folded), r#"{"owner":"ada","balance":120,"closed":false}"#);
    let head = folded.head().unwrap();
    assert_eq!((head.version, head.position.get()), (Version(3), 5));
}

#[test]
fn what_changed_nothing_is_passed_over() {
    let mut folded = start();
    folded.apply(&accepted(1, 1, vec![opened()])).unwrap();
    let reason = Rejection::by_rule("not_empty".into(), AccountRejection::NotOpen.to_string(), None);
    folded.apply(&commit(2, 1, Decision::Rejected(reason))).unwrap();
    folded.apply(&accepted(3, 1, Vec::new())).unwrap();
    assert_eq!((folded.version, folded.last), (Version(1), Position::new(1)));
}

#[test]
fn a_gap_is_an_error_and_so_is_the_same_commit_again() {
    let mut folded = start();
    let first = accepted(1, 1, vec![opened()]);
    let third = accepted(3, 3, vec![deposited(1)]);
    folded.apply(&first).unwrap();
    for wrong in [&first, &third] {
        assert!(matches!(folded.apply(wrong), Err(FoldError::Gap { version: Version(1), .. })));
    }
    assert_eq!(
        folded.apply(&third).unwrap_err().to_string(),
        "account/42: the commit at position 3 follows version 2, the fold is at 1"
    );
}

#[test]
fn an_event_that_todays_code_does_not_know_is_an_error() {
    let said = |unknown| {
        let error = start().apply(&accepted(7, 1, vec![unknown])).unwrap_err();
        assert!(matches!(error, FoldError::Event { .. }), "{error}");
        crate::model::error::with_sources(&error)
    };
    let knows = "this version knows closed (schema 1), deposited (schema 1), opened (schema 1), withdrawn (schema 1)";
    assert_eq!(
        said(event("renamed", 1, "{}")),
        format!(
            "account/42: the event \"renamed\" (schema 1) at position 7 cannot be read: {knows}; it was made by a later \
             version (run that one), or its variant was renamed or removed without an upcaster"
        )
    );
    assert_eq!(
        said(event("deposited", 2, r#"{"amount":1}"#)),
        "account/42: the event \"deposited\" (schema 2) at position 7 cannot be read: this version knows deposited up to \
         schema 1; it was made by a later version, run that one"
    );
    assert_eq!(
        said(event("deposited", 1, "{}")),
        "account/42: the event \"deposited\" (schema 1) at position 7 cannot be read: its data does not fit: missing \
         field `amount` at line 1 column 2"
    );
}

/// An order that was cancelled when the event had another form.
#[test]
fn an_event_of_an_older_schema_is_folded_as_todays() {
    let state_after = |cancelled: RecordedEvent| {
        let service = Service::new().with::<Order>();
        let mut folded = service.start(&AggregateType::parse("order").unwrap()).unwrap();
        let placed = event("placed", 1, r#"{"lines":[],"total":1000}"#);
        let paid = event("paid", 1, r#"{"amount":400}"#);
        folded.apply(&accepted(1, 3, vec![placed, paid, cancelled])).unwrap();
        state(&folded)
    };
    let then = state_after(event("cancelled", 1, r#"{"reason":"late","refund":400}"#));
    let today = state_after(event("cancelled", 2, r#"{"reason":"late","refunded":400}"#));
    assert_eq!(then, today);
    assert_eq!(then, r#"{"status":"cancelled","lines":[],"total":1000,"paid":0,"tracking":null}"#);
}

#[test]
fn a_panic_in_evolve_is_an_error() {
    let error = start().apply(&accepted(7, 2, vec![deposited(i64::MAX), deposited(1)])).unwrap_err();
    let FoldError::Panicked { position, panic, .. } = error else { panic!("not a panic: {error}") };
    assert_eq!((position.get(), panic.as_str()), (7, "attempt to add with overflow"));
}

#[test]
fn a_snapshot_is_the_state_it_was_taken_of() {
    let service = Service::new().with::<Account>();
    let mut folded = start();
    folded.apply(&accepted(1, 2, vec![opened(), deposited(100)])).unwrap();
    let snapshot = service.snapshot(&account(), &folded).unwrap();
    let resumed = service.resume(&account(), &snapshot).unwrap();
    assert_eq!((state(&resumed), resumed.version), (state(&folded), Version(2)));
}

#[test]
fn a_snapshot_of_another_fold_is_ignored() {
    let service = Service::new().with::<Account>();
    let snapshot = service.snapshot(&account(), &start()).unwrap();
    assert_eq!(snapshot.fold, Account::FOLD);
    let other = Snapshot { fold: Account::FOLD + 1, ..snapshot.clone() };
    assert!(service.resume(&account(), &other).is_none());
    let unreadable = Snapshot { state: "{}".into(), ..snapshot.clone() };
    assert!(service.resume(&account(), &unreadable).is_none());
    assert!(service.resume(&"invoice/42".parse().unwrap(), &snapshot).is_none());
}
