//! What comes back, read from its JSON; and what is not a reply.

use super::*;
use crate::model::outcome::Reply;

fn read(json: &str) -> Reply {
    Reply::from_json(json.as_bytes()).unwrap()
}

fn outcome(json: &str) -> Outcome {
    match read(json) {
        Reply::Outcome(outcome) => outcome,
        other => panic!("not an outcome: {other:?}"),
    }
}

fn refused(json: &[u8]) -> Refusal {
    match Reply::from_json(json).unwrap() {
        Reply::Refused(refusal) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

const ACCEPTED: &str = r#"{"id":"0123456789abcdef","status":"accepted","code":200,"aggregate":"account","key":"42","version":3,"position":1207,"decided_at":"2026-11-24T20:15:01.123456Z","events":[{"type":"deposited","schema":1,"data":{"amount":100}}]}"#;
const REJECTED: &str = r#"{"id":"0123456789abcdef","status":"rejected","code":409,"aggregate":"account","key":"42","version":3,"position":1208,"decided_at":"2026-11-24T20:15:01.123456Z","retry":{"with":"new_id"},"error":{"reason":"insufficient_funds","message":"balance 20 is less than 100","details":{"balance":20}}}"#;

#[test]
fn an_outcome_is_written_as_it_was_read() {
    for json in [ACCEPTED, REJECTED] {
        assert_eq!(serde_json::to_string(&outcome(json)).unwrap(), json);
    }
}

#[test]
fn an_accepted_outcome_has_events() {
    let outcome = outcome(ACCEPTED);
    assert_eq!((outcome.event_count(), outcome.version, outcome.position.get()), (1, Version(3), 1207));
    let Decision::Accepted(events) = outcome.decision else { panic!("it was accepted") };
    assert_eq!((events[0].kind.as_str(), events[0].data.get()), ("deposited", r#"{"amount":100}"#));
}

#[test]
fn a_rejected_outcome_has_a_reason() {
    let outcome = outcome(REJECTED);
    assert_eq!(outcome.event_count(), 0);
    let Decision::Rejected(rejection) = outcome.decision else { panic!("it was rejected") };
    assert_eq!((rejection.code, rejection.reason.as_str()), (409, "insufficient_funds"));
    assert_eq!(rejection.details.unwrap().get(), r#"{"balance":20}"#);
    assert_eq!(rejection.retry, Some(Retry::NEW_ID));
}

#[test]
fn a_refusal_says_which_field_and_how_to_go_on() {
    let malformed = refused(&Refusal::malformed("Hapax-Not-After", "no \"time\"\n").to_json(None));
    assert_eq!((malformed.code, malformed.reason.as_ref()), (400, "malformed"));
    assert_eq!(malformed.message, "Hapax-Not-After: no \"time\"\n");
    assert_eq!(malformed.field.as_deref(), Some("Hapax-Not-After"));
    assert_eq!(malformed.retry, Some(Retry::SAME_ID));

    let unavailable = refused(&Refusal::unavailable("starting").to_json(None));
    assert_eq!(unavailable.retry, Some(Retry { with: RetryWith::SameId, after_ms: Some(250) }));
    assert_eq!(unavailable.field, None);

    assert_eq!(refused(&Refusal::too_large("body", 9, 8).to_json(None)).retry, None, "not to be sent again");
    // A refusal of a newer contract is read, whatever its details are.
    let newer = br#"{"status":"refused","code":418,"error":{"reason":"teapot","message":"","details":[1]},"more":1}"#;
    assert_eq!((refused(newer).code, refused(newer).field), (418, None));
}

#[test]
fn unknown_is_neither_an_outcome_nor_a_refusal() {
    let unknown = |json| match read(json) {
        Reply::Unknown { as_of, after_ms } => (as_of.map(Position::get), after_ms),
        other => panic!("not unknown: {other:?}"),
    };
    assert_eq!(unknown(r#"{"status":"unknown","as_of":7,"after_ms":250}"#), (Some(7), 250));
    assert_eq!(unknown(r#"{"status":"unknown","as_of":null,"after_ms":250}"#), (None, 250));
}

#[test]
fn the_reply_to_a_batch_has_an_entry_for_each_item() {
    let batch = |json: String| match read(&json) {
        Reply::Batch(batch) => batch,
        other => panic!("not a batch: {other:?}"),
    };
    let refused = String::from_utf8(Refusal::unavailable("starting").to_json(None)).unwrap();
    let check = r#"{"status":"accepted","code":200,"aggregate":"account","key":"7","version":2}"#;
    let stale = r#"{"status":"rejected","code":412,"aggregate":"account","key":"7","version":2,"retry":{"with":"new_id"},"error":{"reason":"version_mismatch","message":"m"}}"#;
    let of = |items: &[&str], more: &str| format!(r#"{{"id":"0123456789abcdee","items":[{}]{more}}}"#, items.join(","));
    let reply = batch(of(&[ACCEPTED, check, REJECTED, &refused, stale], ""));
    assert_eq!((reply.id.as_str(), reply.events_omitted), ("0123456789abcdee", false));
    let [
        ItemReply::Outcome { json, outcome },
        ItemReply::Check(holds),
        _,
        ItemReply::Refused(_),
        ItemReply::Check(stale),
    ] = &reply.items[..]
    else {
        panic!("{reply:?}")
    };
    assert_eq!((json.as_ref(), outcome.event_count()), (ACCEPTED.as_bytes(), 1));
    assert_eq!((holds.aggregate.to_string().as_str(), holds.version), ("account/7", Version(2)));
    assert_eq!(stale.stale.as_ref().unwrap().reason, "version_mismatch");
    assert_eq!(reply.items.iter().map(ItemReply::is_accepted).collect::<Vec<_>>(), [true, true, false, false, false]);
    assert!(!reply.is_accepted() && batch(of(&[ACCEPTED, check], "")).is_accepted());

    let brief = ACCEPTED.split(r#","events""#).next().unwrap().to_owned() + "}";
    assert!(batch(of(&[&brief], r#","events_omitted":true"#)).events_omitted);
    for wrong in [of(&[&brief], ""), of(&[&of(&[], "")], ""), of(&["7"], ""), r#"{"items":[]}"#.into()] {
        assert!(Reply::from_json(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_not_ours_is_not_a_reply() {
    for json in [
        r#"{"stream":"COMMANDS","seq":7}"#,
        r#"{"stream":"COMMANDS","seq":7,"duplicate":true}"#,
        r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"COMMANDS","seq":0}"#,
        "",
        "+ACK",
        "[]",
        r#"{"status":"maybe"}"#,
        r#"{"status":"unknown"}"#,
        r#"{"status":"refused","code":400}"#,
    ] {
        assert!(Reply::from_json(json.as_bytes()).is_err(), "{json}");
    }
    // An outcome with a member missing, or with a number that none has.
    for member in [r#""id":"0123456789abcdef","#, r#""version":3,"#, r#""position":1207,"#, r#""key":"42","#] {
        assert!(Reply::from_json(ACCEPTED.replace(member, "").as_bytes()).is_err(), "without {member}");
    }
    assert!(Reply::from_json(ACCEPTED.replace("1207", "0").as_bytes()).is_err());
}
