//! A commit is the same after it was written and read, down to the bytes of its outcome.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::{any_json, any_object};
use super::*;
use crate::model::commit::CommitError;

const CHAIN: ChainHash = ChainHash([7; 32]);

fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap()
}

fn any_decision() -> impl Strategy<Value = Decision> {
    let event = ("[a-z_]{1,12}", 1..3_u32, any_json()).prop_map(|(kind, schema, data)| RecordedEvent {
        kind,
        schema,
        data: raw(data),
    });
    let rejection = ("[a-z_]{1,12}", any::<String>(), prop::option::of(any_object()))
        .prop_map(|(reason, message, details)| Rejection::by_rule(reason, message, details.map(raw)));
    prop_oneof![
        prop::collection::vec(event, 0..4).prop_map(Decision::Accepted),
        rejection.prop_map(Decision::Rejected),
        (any::<u64>(), any::<u64>())
            .prop_map(|(one, other)| Decision::Rejected(Rejection::version_mismatch(Version(one), Version(other)))),
        Just(Decision::Rejected(Rejection::voided())),
    ]
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (-62_167_219_200_000_000..253_402_300_800_000_000_i64)
        .prop_map(|micros| Timestamp::from_unix_micros(micros).unwrap())
}

prop_compose! {
    fn any_command()(
        tokens in ("[!-)+-\\-/-=?-~]{1,16}", "[a-z]{1,8}", "[!-)+-\\-/-=?-~]{1,16}", "[a-z_]{1,8}"),
        id in "[A-Za-z0-9_-]{16,64}",
        data in any_object(),
        expected in prop::option::of(any::<u64>()),
        not_after in prop::option::of(any_time()),
        traceparent in prop::option::of("[!-~]{1,55}"),
    ) -> Command {
        let (principal, kind, key, name) = tokens;
        let key = Key::parse(&key).unwrap();
        let principal = Principal::parse(&principal).unwrap();
        Command {
            identity: Identity { principal, key: key.clone(), id: CommandId::parse(&id).unwrap() },
            aggregate: AggregateId { kind: AggregateType::parse(&kind).unwrap(), key },
            name: CommandName::parse(&name).unwrap(),
            data: Bytes::from(data),
            expected: expected.map(Version),
            not_after,
            traceparent,
        }
    }
}

prop_compose! {
    fn any_commit()(
        command in any_command(),
        decision in any_decision(),
        before in 0..1_000_000_u64,
        position in 1..u64::MAX,
        previous in prop::option::of(1..u64::MAX),
        decided_at in any_time(),
    ) -> (Commit, Outcome) {
        let mut outcome = Outcome {
            id: command.identity.id.clone(),
            aggregate: command.aggregate.clone(),
            version: Version(before),
            position: Position::new(position).unwrap(),
            decided_at,
            decision,
        };
        outcome.version.0 += outcome.event_count();
        (Commit::record(command, &outcome, previous.and_then(Position::new), &CHAIN), outcome)
    }
}

proptest! {
    #[test]
    fn what_was_recorded_is_read_back((commit, outcome) in any_commit()) {
        prop_assert_eq!(commit.hash, CHAIN.link(commit.json()));
        prop_assert_eq!(&commit.outcome_json()[..], &serde_json::to_vec(&outcome).unwrap()[..]);
        prop_assert_eq!(commit.version_before().0 + outcome.event_count(), commit.version.0);
        prop_assert!(!commit.json().contains(&b'\n'), "one commit, one line");

        let read = Commit::from_json(commit.json().clone(), commit.hash).unwrap();
        prop_assert_eq!(&read.command, &commit.command);
        prop_assert_eq!(read.json(), commit.json());
        prop_assert_eq!(read.outcome_json(), commit.outcome_json());
        prop_assert_eq!(
            (read.position, read.version, read.event_count, read.decided_at, read.previous, read.hash),
            (commit.position, commit.version, commit.event_count, commit.decided_at, commit.previous, commit.hash)
        );
        prop_assert_eq!(serde_json::to_vec(&read.outcome().unwrap()).unwrap(), commit.outcome_json().to_vec());
    }

    /// Read with as much as folding needs, it is the same commit.
    #[test]
    fn a_change_is_what_its_commit_says((commit, _) in any_commit()) {
        let change = Change::from_json(commit.json()).unwrap();
        prop_assert_eq!(change.aggregate().unwrap(), commit.command.aggregate.clone());
        prop_assert_eq!((change.position, change.version), (commit.position, commit.version));
        prop_assert_eq!(change.version_before(), commit.version_before());
        let shown = |events: &[EventRef<'_>]| {
            let shown = events.iter().map(|event| (event.kind.to_string(), event.schema, event.data.to_string()));
            shown.collect::<Vec<_>>()
        };
        prop_assert_eq!(shown(&change.events), shown(&commit.events().unwrap()));
        prop_assert_eq!(change.events.len() as u64, commit.event_count);
    }

    #[test]
    fn arbitrary_bytes_are_no_commit(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(Change::from_json(&bytes).is_err());
        prop_assert!(Commit::from_json(Bytes::from(bytes), CHAIN).is_err());
    }
}

/// The short way of reading an acceptance is one for outcomes as they are written. Were they written otherwise some day, or
/// read back from elsewhere, the same must come of them, only later.
#[test]
fn a_change_is_read_whichever_way_its_outcome_is_written() {
    let event = r#"{"type":"deposited","schema":1,"data":{"amount":100}}"#;
    let written = format!(
        r#"{{"id":"0123456789abcdef","status":"accepted","code":200,"aggregate":"account","key":"4\"2\\","version":7,"position":9,"decided_at":"2026-11-24T20:15:01.123456Z","events":[{event}]}}"#
    );
    let plain = written.replace(r#"4\"2\\"#, "42");
    for (outcome, key) in [
        (written, r#"4"2\"#),
        (plain.replace(r#""code":200,"#, ""), "42"),
        (plain.replace(',', " , "), "42"),
        (plain.replace(r#"}]}"#, r#"}],"more":{}}"#), "42"),
        (plain.replace("42", r"\u0034\u0032"), "42"),
        (plain.clone(), "42"),
    ] {
        let json = format!(r#"{{"principal":"alice","command":"deposit","data":{{}},"outcome":{outcome}}}"#);
        let change = Change::from_json(json.as_bytes()).unwrap();
        assert_eq!((&*change.kind, &*change.key), ("account", key), "{json}");
        assert_eq!((change.version, change.position.get(), change.events.len()), (Version(7), 9, 1), "{json}");
        assert_eq!((&*change.events[0].kind, change.events[0].data.get()), ("deposited", r#"{"amount":100}"#));
    }
    for (from, to) in [
        ("\"version\":7", "\"version\":+7"),
        ("\"version\":7", "\"version\":07"),
        ("\"version\":7", "\"version\":-7"),
        ("\"version\":7", "\"version\":18446744073709551616"),
        ("\"position\":9", "\"position\":0"),
        ("\"position\":9", "\"position\":"),
        ("\"key\":\"42\",", ""),
        ("}]}", "}}"),
        ("}]}", "}],"),
        ("}]}", "}]}}"),
        ("\"schema\":1,", ""),
    ] {
        let outcome = plain.replace(from, to);
        assert_ne!(outcome, plain, "{from} is in it");
        let json = format!(r#"{{"principal":"alice","command":"deposit","data":{{}},"outcome":{outcome}}}"#);
        assert!(matches!(Change::from_json(json.as_bytes()), Err(CommitError::Json(_))), "{json}");
    }
}

/// Bodies and events may have members of that name, at any depth.
#[test]
fn a_change_is_of_the_commits_own_outcome() {
    let outcome = |position: u64, data: &str| {
        format!(
            r#"{{"id":"0123456789abcdef","status":"accepted","code":200,"aggregate":"account","key":"42","version":1,"position":{position},"decided_at":"2026-11-24T20:15:01.123456Z","events":[{{"type":"deposited","schema":1,"data":{data}}}]}}"#
        )
    };
    let lent = outcome(9, "{}");
    for data in [
        format!(r#"{{"a":1,"outcome":{lent}}}"#),
        format!(r#"{{"a":{{"b":1,"outcome":{lent}}}}}"#),
        format!(r#"{{"a":[{{"b":1,"outcome":{lent}}}]}}"#),
        r#"{"a":",\"outcome\":{"}"#.to_owned(),
        r#"{"a":1,"outcome":{}}"#.to_owned(),
    ] {
        let own = outcome(1, &data);
        let json = format!(r#"{{"principal":"alice","command":"deposit","data":{data},"outcome":{own}}}"#);
        assert_eq!(Change::from_json(json.as_bytes()).unwrap().position, Position::FIRST, "{json}");
        // Nor does it have to be the last member.
        let json = format!(r#"{{"outcome":{own},"principal":"alice","command":"deposit","data":{data}}}"#);
        assert_eq!(Change::from_json(json.as_bytes()).unwrap().position, Position::FIRST, "{json}");
    }
}

/// The commit around an outcome.
fn around(outcome: &str) -> Result<Commit, CommitError> {
    let json = format!(r#"{{"principal":"alice","command":"deposit","data":{{}},"outcome":{outcome}}}"#);
    Commit::from_json(Bytes::from(json), CHAIN)
}

#[test]
fn what_is_never_recorded_is_not_read() {
    let refusal = String::from_utf8(Refusal::unavailable("starting").to_json(None)).unwrap();
    assert!(matches!(around(&refusal), Err(CommitError::RefusalRecorded)));
    assert!(matches!(around(r#"{"status":"unknown","after_ms":1}"#), Err(CommitError::RefusalRecorded)));
    assert!(matches!(around(r#"{"stream":"COMMANDS","seq":7}"#), Err(CommitError::Outcome(_))));
    assert!(matches!(around("{}}"), Err(CommitError::Json(_))));
    let outcome = r#"{"id":"0123456789abcdef","status":"accepted","code":200,"aggregate":"account","key":"42","version":0,"position":1,"decided_at":"2026-11-24T20:15:01.123456Z","events":[{"type":"deposited","schema":1,"data":{}}]}"#;
    assert!(matches!(around(outcome), Err(CommitError::VersionTooSmall { .. })));
    let change = format!(r#"{{"outcome":{outcome}}}"#);
    assert!(matches!(Change::from_json(change.as_bytes()), Err(CommitError::VersionTooSmall { .. })));
    assert!(around(&outcome.replace(r#""version":0"#, r#""version":1"#)).is_ok());
}

/// Anyone can check a chain with sha256sum: these are its words, not ours.
#[test]
fn the_chain_is_plain_sha256() {
    let store = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001);
    let first = ChainHash::of_store(store);
    // printf 01980000-0000-7000-8000-000000000001 | sha256sum
    assert_eq!(first.to_string(), "a51b33720f1c5e366bc7e3adf17894c44a8cb87e5ed0effbb65770fc05a8d523");
    // (printf 01980000-0000-7000-8000-000000000001 | sha256sum | cut -c-64 | xxd -r -p; printf {}) | sha256sum
    assert_eq!(first.link(b"{}").to_string(), "4ee0d14381ce2a8902174717afb9566a6aa19184cbe85313668f69989efc1f77");
    assert_eq!(first.to_string().parse::<ChainHash>().unwrap(), first);
    for text in ["", "00", &"x".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
        assert!(text.parse::<ChainHash>().is_err(), "{text:?}");
    }
}

#[test]
fn positions_begin_at_one() {
    assert_eq!(Position::new(0), None);
    assert_eq!(Position::after(None), Position::FIRST);
    assert_eq!(Position::after(Position::new(7)), Position::new(8).unwrap());
    assert!(serde_json::from_str::<Position>("0").is_err());
}
