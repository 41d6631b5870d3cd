//! What an id means to us: New, Before, Reused.

use super::*;
use crate::processor::intake::Fault;

fn recorded() -> Commit {
    commit(command("42", 1, "add", r#"{"amount":1,"why":"rent"}"#), 1, 1, 1)
}

fn seen(recorded: &Commit, command: Command, in_content: Option<bool>) -> &'static str {
    let fault = in_content.map(|in_content| Fault { refusal: Refusal::malformed("body", "wrong"), in_content });
    match dedupe(Some(recorded.clone().into()), &command, fault.as_ref()) {
        Seen::New => "new",
        Seen::Before(_) => "before",
        Seen::Reused(_) => "reused",
    }
}

#[test]
fn what_is_not_recorded_is_new() {
    assert!(matches!(dedupe(None, &recorded().command.clone(), None), Seen::New));
}

#[test]
fn the_same_content_was_before() {
    assert_eq!(seen(&recorded(), recorded().command.clone(), None), "before");
    let reordered = command("42", 1, "add", r#"{"why":"r\u0065nt","amount":1}"#);
    assert_eq!(seen(&recorded(), reordered, None), "before");
    let other_sending =
        Command { not_after: Some(second(9)), traceparent: Some("x".into()), ..recorded().command.clone() };
    assert_eq!(seen(&recorded(), other_sending, None), "before");
    // What is wrong with this one sending does not matter: the first outcome stands.
    assert_eq!(seen(&recorded(), recorded().command.clone(), Some(false)), "before");
}

#[test]
fn other_content_reuses_the_id() {
    let same = recorded().command.clone();
    assert_eq!(seen(&recorded(), command("42", 1, "add", r#"{"amount":1.0,"why":"rent"}"#), None), "reused");
    assert_eq!(seen(&recorded(), Command { expected: Some(Version(0)), ..same.clone() }, None), "reused");
    assert_eq!(
        seen(&recorded(), Command { name: CommandName::parse("look").unwrap(), ..same.clone() }, None),
        "reused"
    );
    let mut neighbour = same.clone();
    neighbour.aggregate.kind = AggregateType::parse("order").unwrap();
    assert_eq!(seen(&recorded(), neighbour, None), "reused");
    // Where the content cannot be read, what was left out of the command must not make it equal.
    assert_eq!(seen(&recorded(), same, Some(true)), "reused");
}

#[test]
fn a_void_asks_what_became_of_an_id_whatever_it_was() {
    assert_eq!(seen(&recorded(), command("42", 1, "_void", "{}"), None), "before");
}

#[test]
fn a_voided_id_is_settled_for_every_content() {
    let voided = commit(command("42", 1, "_void", "{}"), 1, 0, 0);
    assert_eq!(seen(&voided, recorded().command.clone(), None), "before");
    assert_eq!(seen(&voided, recorded().command.clone(), Some(true)), "before");
    assert_eq!(seen(&voided, command("42", 1, "_void", "{}"), None), "before");
}
