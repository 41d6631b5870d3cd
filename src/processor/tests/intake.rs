//! What is read of a delivery, what is refused at the door, and what is kept as a fault until the id turns out to be new.

use super::*;
use crate::model::limits::{COMMAND_BYTES_MAX, HEADER_BYTES_MAX, TRACEPARENT_BYTES_MAX};
use crate::processor::intake::{Intake, intake};

/// The intent of a delivery that goes on.
fn asked(delivery: Delivery) -> Intent {
    match intake(delivery) {
        Intake::Ask(intent) => *intent,
        other => panic!("it goes no further: {other:?}"),
    }
}

/// Code and field of a refusal at the door, and whether anybody is told.
fn refused(delivery: Delivery) -> (u16, String, bool) {
    match intake(delivery) {
        Intake::Refused { refusal, reply_to, .. } => {
            (refusal.code, refusal.field.unwrap_or_default().into_owned(), reply_to.is_some())
        }
        other => panic!("it is not refused: {other:?}"),
    }
}

/// Code, field, and whether the content is meant.
fn fault(delivery: Delivery) -> (u16, String, bool) {
    let fault = asked(delivery).fault.expect("something is wrong with it");
    (fault.refusal.code, fault.refusal.field.unwrap_or_default().into_owned(), fault.in_content)
}

#[test]
fn everything_is_read() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let delivery = delivery("42", 1, "add", " { \"amount\" : 1 } ")
        .with(header::EXPECTED_VERSION, "7")
        .with(header::NOT_AFTER, "2026-11-24T21:15:01+01:00")
        .with(header::TRACEPARENT, trace);
    let intent = asked(delivery);
    assert!(intent.fault.is_none());
    assert_eq!(intent.reply_to.as_deref(), Some("_INBOX.alice.1"));
    assert_eq!(
        intent.command,
        Command {
            expected: Some(Version(7)),
            not_after: Timestamp::parse("2026-11-24T20:15:01Z"),
            traceparent: Some(trace.into()),
            ..command("42", 1, "add", r#"{"amount":1}"#)
        }
    );
}

#[test]
fn an_empty_body_is_an_object_without_members() {
    assert_eq!(asked(delivery("42", 1, "look", "")).command.data, "{}");
    assert_eq!(asked(delivery("42", 1, "look", " \n")).command.data, "{}");
}

#[test]
fn without_a_reply_address_it_is_decided_all_the_same() {
    let intent = asked(add("42", 1).without(header::REPLY_TO));
    assert!(intent.fault.is_none() && intent.reply_to.is_none());
}

#[test]
fn another_principals_inbox_is_silence() {
    for other in ["_INBOX.bob.1", "_INBOX.alice", "_INBOX.alice.*", "_INBOX.alicex.1", "cmd.alice.counter.42.add", ""] {
        let delivery = add("42", 1).without(header::REPLY_TO).with(header::REPLY_TO, other);
        assert!(matches!(intake(delivery), Intake::Silent { reply_to, .. } if reply_to == other), "{other:?}");
    }
}

#[test]
fn what_hides_principal_key_or_id_is_refused_at_the_door() {
    // Its principal is told, if that much can be read.
    let stored = |subject: &str| Delivery { subject: subject.into(), ..add("42", 1) };
    assert_eq!(refused(stored("work.0.alice.counter.42")), (400, "subject".into(), true));
    assert_eq!(refused(stored("work.0.bob.counter.42")), (400, "subject".into(), false));
    assert_eq!(refused(stored("work.0")), (400, "subject".into(), false));

    let twice = add("42", 1).with(header::REPLY_TO, "_INBOX.alice.1");
    assert_eq!(refused(twice), (400, header::REPLY_TO.into(), false));

    let id = |text: &str| add("42", 1).without(header::ID).with(header::ID, text);
    assert_eq!(refused(add("42", 1).without(header::ID)), (400, header::ID.into(), true));
    assert_eq!(refused(add("42", 1).with(header::ID, "command-0000000001")), (400, header::ID.into(), true));
    assert_eq!(refused(id("fifteen-letters")), (400, header::ID.into(), true));
    assert_eq!(refused(id(&"x".repeat(65))), (400, header::ID.into(), true));
    assert_eq!(refused(id("no.dots.in.an.id")), (400, header::ID.into(), true));
    assert_eq!(asked(id(&"x".repeat(64))).command.identity.id.as_str().len(), 64);
}

#[test]
fn headers_are_weighed_before_they_are_read() {
    let heavy = add("42", 1).without(header::ID).with(header::TRACEPARENT, &"x".repeat(HEADER_BYTES_MAX));
    assert_eq!(refused(heavy), (413, "headers".into(), true));

    let others = add("42", 1).with(header::TRACEPARENT, "").headers;
    let room = HEADER_BYTES_MAX - others.into_iter().map(|(name, value)| format!("{name}{value}").len()).sum::<usize>();
    let filled = |bytes| add("42", 1).with(header::TRACEPARENT, &"x".repeat(bytes));
    assert_eq!(fault(filled(room)), (400, header::TRACEPARENT.into(), false), "not too heavy, only too long");
    assert_eq!(refused(filled(room + 1)), (413, "headers".into(), true));
}

#[test]
fn a_body_that_cannot_be_recorded_is_a_fault_in_the_content() {
    let body = |body: &'static str| fault(delivery("42", 1, "add", body));
    for malformed in ["{", "[1]", "1", "null", r#""amount""#, r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":1}}"#, "{}{}"] {
        assert_eq!(body(malformed), (400, "body".into(), true), "{malformed}");
    }
    let large = |bytes: usize| Delivery { body: format!("{{{}}}", " ".repeat(bytes - 2)).into(), ..add("42", 1) };
    assert!(asked(large(COMMAND_BYTES_MAX)).fault.is_none());
    assert_eq!(fault(large(COMMAND_BYTES_MAX + 1)), (413, "body".into(), true));
    let mut deep = add("42", 1);
    deep.body = format!(r#"{{"a":{}{}}}"#, "[".repeat(64), "]".repeat(64)).into();
    assert_eq!(fault(deep), (400, "body".into(), true));
}

#[test]
fn an_expected_version_is_digits_and_belongs_to_the_content() {
    let expected = |text: &str| add("42", 1).with(header::EXPECTED_VERSION, text);
    for malformed in ["", "+1", "-1", "1.0", " 1", "one", "18446744073709551616"] {
        assert_eq!(fault(expected(malformed)), (400, header::EXPECTED_VERSION.into(), true), "{malformed:?}");
    }
    assert_eq!(fault(expected("1").with(header::EXPECTED_VERSION, "1")), (400, header::EXPECTED_VERSION.into(), true));
    assert_eq!(asked(expected("0")).command.expected, Some(Version(0)));
}

#[test]
fn what_is_about_one_sending_is_no_fault_in_the_content() {
    let long = "x".repeat(TRACEPARENT_BYTES_MAX + 1);
    let faults = [
        (header::NOT_AFTER, "tomorrow"),
        (header::TRACEPARENT, long.as_str()),
        (header::TRACEPARENT, "not one word"),
        (header::VOID, "command-0000000002"),
    ];
    for (name, text) in faults {
        let delivery = add("42", 1).with(name, text);
        assert_eq!(fault(delivery.clone()), (400, name.into(), false));
        // The content was read before it.
        assert!(asked(delivery).command.same_content(&command("42", 1, "add", r#"{"amount":1}"#)));
    }
}

#[test]
fn a_traceparent_may_be_as_long_as_the_limit() {
    let longest = "x".repeat(TRACEPARENT_BYTES_MAX);
    let intent = asked(add("42", 1).with(header::TRACEPARENT, &longest));
    assert!(intent.fault.is_none());
    assert_eq!(intent.command.traceparent, Some(longest));
}

#[test]
fn a_void_stands_for_the_id_that_it_settles() {
    let void = delivery("42", 9, "_void", "not even JSON").with(header::EXPECTED_VERSION, "x");
    let intent = asked(void.clone().with(header::VOID, id(1).as_str()));
    assert!(intent.fault.is_none());
    assert_eq!(intent.command, command("42", 1, "_void", "{}"));

    assert_eq!(refused(void.clone()), (400, header::VOID.into(), true));
    assert_eq!(refused(void.clone().with(header::VOID, "short")), (400, header::VOID.into(), true));
    assert_eq!(
        refused(void.clone().without(header::ID).with(header::VOID, id(1).as_str())),
        (400, header::ID.into(), true)
    );
    // The stream would swallow it as a copy of the command.
    assert_eq!(refused(void.with(header::VOID, id(9).as_str())), (400, header::ID.into(), true));
}
