//! The bytes of answers.

use super::*;

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

#[test]
fn an_outcome_is_the_slice_of_its_commit() {
    let commit = commit(command("42", 1, "burst", "{}"), 7, 3, 1);
    let answer = crate::processor::reply::outcome("_INBOX.alice.1".into(), &commit.clone().into(), true);
    assert!(answer.replayed);
    let within = commit.json().as_ptr_range();
    assert!(within.contains(&answer.body.as_ptr()), "no copy");
    assert!(text(&answer).starts_with(r#"{"id":"command-0000000001","status":"accepted","code":200,"#));
    assert!(std::str::from_utf8(commit.json()).unwrap().ends_with(&format!("{}}}", text(&answer))));
}

#[test]
fn a_refusal_names_the_id_where_it_could_be_read() {
    let refusal = Refusal::malformed("body", "wrong");
    let answer =
        |id: Option<CommandId>| crate::processor::reply::refusal("_INBOX.alice.1".into(), &refusal, id.as_ref());
    assert_eq!(
        text(&answer(Some(id(1)))),
        r#"{"id":"command-0000000001","status":"refused","code":400,"retry":{"with":"same_id"},"error":{"reason":"malformed","message":"body: wrong","details":{"field":"body"}}}"#
    );
    assert!(text(&answer(None)).starts_with(r#"{"status":"refused""#));
}

#[test]
fn unknown_says_up_to_where_was_looked_and_when_to_ask_again() {
    let unknown = |as_of| crate::processor::reply::unknown("_INBOX.alice.1".into(), as_of);
    assert_eq!(text(&unknown(Some(position(7)))), r#"{"status":"unknown","as_of":7,"after_ms":250}"#);
    assert_eq!(text(&unknown(None)), r#"{"status":"unknown","as_of":null,"after_ms":250}"#);
}

#[test]
fn a_state_says_whose_and_when() {
    let mut folded = service().start(&counter("42").kind).unwrap();
    folded.apply(&commit(command("42", 1, "burst", "{}"), 7, 3, 3)).unwrap();
    let body = crate::processor::reply::state(&counter("42"), &folded).unwrap();
    assert_eq!(body, r#"{"aggregate":"counter","key":"42","version":3,"position":7,"state":{"count":0}}"#);
}
