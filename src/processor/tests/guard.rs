//! Time limit, expected version, then the aggregate; and every way in which its code can misbehave.

use super::*;
use crate::aggregate::Folded;
use crate::model::limits::OUTCOME_BYTES_MAX;

/// A counter that has had three events.
fn folded() -> Folded {
    let mut folded = service().start(&counter("42").kind).unwrap();
    folded.apply(&commit(command("42", 1, "burst", r#"{"events":3}"#), 1, 3, 3)).unwrap();
    folded
}

fn verdict(command: &Command) -> String {
    match guard(&folded(), command, second(5)) {
        Verdict::Accepted { events, .. } => format!("{} events", events.len()),
        Verdict::Rejected(rejection) => format!("{} {}", rejection.code, rejection.reason),
        Verdict::Refused(refusal) => format!("{} {}", refusal.code, refusal.reason),
        Verdict::Panicked(panic) => format!("panicked: {panic}"),
    }
}

fn asked(name: &str, data: &'static str) -> String {
    verdict(&command("42", 2, name, data))
}

#[test]
fn the_aggregate_answers() {
    assert_eq!(asked("add", r#"{"amount":1}"#), "1 events");
    assert_eq!(asked("burst", r#"{"events":7}"#), "7 events");
    assert_eq!(asked("look", "{}"), "0 events");
    assert_eq!(asked("add", r#"{"amount":1001}"#), "409 too_much");
}

#[test]
fn what_the_aggregate_cannot_read_is_refused() {
    assert_eq!(asked("subtract", "{}"), "404 unknown_command");
    assert_eq!(asked("add", "{}"), "400 malformed");
    assert_eq!(asked("add", r#"{"amount":-1}"#), "400 malformed");
    assert_eq!(asked("look", r#"{"closely":true}"#), "400 malformed");
}

#[test]
fn a_time_limit_includes_its_moment() {
    let look = |second| Command { not_after: Some(second), ..command("42", 2, "look", "{}") };
    assert_eq!(verdict(&look(second(5))), "0 events");
    assert_eq!(verdict(&look(second(4))), "410 expired");
}

#[test]
fn the_expected_version_is_the_exact_one() {
    let look = |version| Command { expected: Some(Version(version)), ..command("42", 2, "look", "{}") };
    assert_eq!(verdict(&look(3)), "0 events");
    for other in [0, 2, 4] {
        assert_eq!(verdict(&look(other)), "412 version_mismatch");
    }
}

#[test]
fn the_first_no_counts() {
    let stale = Command { expected: Some(Version(0)), ..command("42", 2, "panic", "{}") };
    assert_eq!(verdict(&stale), "412 version_mismatch", "before the aggregate is asked");
    let late = Command { not_after: Some(second(1)), ..stale };
    assert_eq!(verdict(&late), "410 expired", "before the version is compared");
    let void = Command { name: CommandName::parse("_void").unwrap(), ..late };
    assert_eq!(verdict(&void), "410 voided", "before everything");
}

#[test]
fn a_panic_of_the_author_is_caught() {
    assert_eq!(asked("panic", "{}"), "panicked: decide fell over");
    assert_eq!(asked("break", "{}"), "panicked: evolve fell over", "before the commit exists");
    assert!(asked("garble", "{}").starts_with("panicked: its decision is not JSON"));
}

#[test]
fn a_decision_that_would_not_fit_is_rejected() {
    assert_eq!(asked("fill", r#"{"bytes":524000}"#), "1 events");
    assert_eq!(asked("fill", r#"{"bytes":524288}"#), "409 outcome_too_large");
    // Line breaks are one byte each in the message, and two as JSON; bells are six there. Both times it just fits.
    assert_eq!(asked("complain", r#"{"lines":262143,"bells":0}"#), "409 complaint");
    assert_eq!(asked("complain", r#"{"lines":262144,"bells":0}"#), "409 outcome_too_large");
    assert_eq!(asked("complain", r#"{"lines":0,"bells":87381}"#), "409 complaint");
    assert_eq!(asked("complain", r#"{"lines":0,"bells":87382}"#), "409 outcome_too_large");
}

/// Story: the bound was on names and fields alone. Events without fields have nearly none of those, so a command with
/// 40,000 of them was accepted as 320 KB, became a commit of 1.5 MB, and its reply fitted no message. Now each event
/// counts with its frame.
#[test]
fn many_small_events_count_as_what_is_written() {
    assert_eq!(asked("burst", r#"{"events":40000}"#), "409 outcome_too_large");
    assert_eq!(
        asked("burst", r#"{"events":14000}"#),
        "409 outcome_too_large",
        "they would be written as 532,000 bytes"
    );
    let Verdict::Accepted { events, .. } =
        guard(&folded(), &command("42", 2, "burst", r#"{"events":10000}"#), second(5))
    else {
        panic!("that many fit")
    };
    assert!(serde_json::to_vec(&events).unwrap().len() <= OUTCOME_BYTES_MAX);
}
