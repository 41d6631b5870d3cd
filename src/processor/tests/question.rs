//! Askers that wait: how many, how long, and who is shown what.

use super::*;
use crate::model::limits::WAITERS_MAX;
use crate::processor::question::outcome_for;

const INBOX: &str = "_INBOX.alice.asker";
const NOTHING: [&str; 0] = [];

fn waiters(wait_until: &[(u64, i64)]) -> Waiters {
    let mut waiters = Waiters::default();
    for &(number, until) in wait_until {
        waiters.add(identity("42", number), format!("_INBOX.alice.{number}"), counter("42"), None, second(until));
    }
    waiters
}

fn tell_all(answers: Vec<Answer>) -> Vec<String> {
    answers.iter().map(tell_answer).collect()
}

#[test]
fn who_waits_for_a_commit_gets_its_outcome() {
    let mut waiters = waiters(&[(1, 5), (2, 5), (1, 9)]);
    let commit = commit(command("42", 1, "look", "{}"), 3, 0, 0);
    assert_eq!(tell_all(waiters.answer(&commit.clone().into())), ["1: 200 at 3 (replayed)", "1: 200 at 3 (replayed)"]);
    assert_eq!(tell_all(waiters.answer(&commit.clone().into())), NOTHING, "once");
    assert!(!waiters.is_empty(), "another one still waits");
}

#[test]
fn who_has_waited_long_enough_is_told_so() {
    let mut waiters = waiters(&[(1, 5), (2, 6), (1, 7)]);
    assert_eq!(tell_all(waiters.expire(second(4), None)), NOTHING);
    // In this order in every process: a simulation must give the same answers for the same seed.
    let answers = tell_all(waiters.expire(second(6), Some(position(3))));
    assert_eq!(answers, ["1: unknown as of 3", "2: unknown as of 3"]);
    assert!(!waiters.is_empty());
    assert_eq!(tell_all(waiters.expire(second(7), None)), ["1: unknown as of 0"]);
    assert!(waiters.is_empty());
}

#[test]
fn there_is_room_for_so_many_and_again_when_they_are_gone() {
    let mut waiters = Waiters::default();
    for number in 0..WAITERS_MAX as u64 {
        assert!(waiters.has_room());
        waiters.add(identity("42", number), INBOX.into(), counter("42"), None, second(5));
    }
    assert!(!waiters.has_room());
    waiters.answer(&commit(command("42", 17, "look", "{}"), 1, 0, 0).into());
    assert!(waiters.has_room());
    waiters.expire(second(5), None);
    assert!(waiters.is_empty());
}

#[test]
fn another_aggregates_outcome_is_not_shown() {
    let commit = commit(command("42", 1, "look", "{}"), 3, 0, 0);
    assert_eq!(
        tell_answer(&outcome_for(INBOX.into(), &counter("42"), None, &commit.clone().into())),
        "asker: 200 at 3 (replayed)"
    );
    let order = AggregateId { kind: AggregateType::parse("order").unwrap(), ..counter("42") };
    let answer = outcome_for(INBOX.into(), &order, None, &commit.clone().into());
    assert_eq!(tell_answer(&answer), "asker: 422 id_reused");
    assert!(!String::from_utf8_lossy(&answer.body).contains("counter"), "not even whose it was");
}

fn outcome_of(number: u64, wait_until: Option<Timestamp>) -> Ask {
    Ask::Outcome { identity: identity("1", number), aggregate: counter("1"), content: None, wait_until }
}

/// Asks, and answers the look-up that it needs.
fn asked(rig: &mut Rig, ask: Ask) -> Vec<String> {
    let effects = rig.ask(ask);
    if !effects.iter().any(|effect| matches!(effect, Effect::Load(..))) {
        return told(&effects);
    }
    let loaded = rig.answer(&effects, rig.commits.len());
    told(&rig.on(loaded))
}

#[test]
fn a_known_outcome_is_told_when_it_is_durable() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    assert_eq!(asked(&mut rig, outcome_of(1, None)), NOTHING);
    let leaves = ["index 1", "reply 1: 200 at 1", "reply asker: 200 at 1 (replayed)", "ack 1"];
    assert_eq!(told(&rig.sync()), leaves);
    rig.index(1);
    assert_eq!(asked(&mut rig, outcome_of(1, None)), ["reply asker: 200 at 1 (replayed)"], "looked up");
}

#[test]
fn what_is_not_known_up_to_a_position_waits_for_that_position() {
    let mut rig = Rig::new();
    assert_eq!(asked(&mut rig, outcome_of(1, None)), ["reply asker: unknown as of 0"]);
    rig.decide(vec![add("1", 2)]);
    assert_eq!(asked(&mut rig, outcome_of(1, None)), NOTHING);
    assert_eq!(told(&rig.sync()), ["index 1", "reply 2: 200 at 1", "reply asker: unknown as of 1", "ack 2"]);
}

#[test]
fn who_attaches_is_told_once_it_is_decided_and_durable() {
    let mut rig = Rig::new();
    assert_eq!(asked(&mut rig, outcome_of(1, Some(second(9)))), NOTHING);
    assert!(rig.processor.has_waiters());
    assert_eq!(told(&rig.decide(vec![add("1", 1).without(header::REPLY_TO)])), ["append 1"]);
    assert!(!rig.processor.has_waiters());
    assert_eq!(told(&rig.sync()), ["index 1", "reply asker: 200 at 1 (replayed)", "ack 1"]);
}

#[test]
fn who_attaches_in_vain_is_told_in_time() {
    let mut rig = Rig::new();
    asked(&mut rig, outcome_of(1, Some(second(9))));
    assert_eq!(told(&rig.on(Input::Tick(second(8)))), NOTHING);
    assert_eq!(told(&rig.on(Input::Tick(second(9)))), ["reply asker: unknown as of 0"]);
}

#[test]
fn one_too_many_is_answered_at_once() {
    let mut rig = Rig::new();
    for number in 0..WAITERS_MAX as u64 {
        rig.processor.waiters.add(identity("2", number), INBOX.into(), counter("2"), None, second(9));
    }
    assert_eq!(asked(&mut rig, outcome_of(1, Some(second(9)))), ["reply asker: unknown as of 0"]);
}

#[test]
fn a_state_is_told_when_all_that_is_in_it_is_durable() {
    let mut rig = Rig::new();
    let state = || Ask::State { aggregate: counter("1") };
    let empty = r#"{"aggregate":"counter","key":"1","version":0,"position":null,"state":{"count":0}}"#;
    assert_eq!(asked(&mut rig, state()), [format!("reply asker: {empty}")]);
    rig.decide(vec![add("1", 1)]);
    assert_eq!(asked(&mut rig, state()), NOTHING, "never less than the sender of the command has been told");
    let one = r#"{"aggregate":"counter","key":"1","version":1,"position":1,"state":{"count":1}}"#;
    let leaves = ["index 1", "reply 1: 200 at 1", &format!("reply asker: {one}"), "ack 1"];
    assert_eq!(told(&rig.sync()), leaves);
}

#[test]
fn a_question_that_cannot_be_answered_is_refused() {
    let mut rig = Rig::new();
    let nonesuch = AggregateId { kind: AggregateType::parse("nonesuch").unwrap(), ..counter("1") };
    assert_eq!(asked(&mut rig, Ask::State { aggregate: nonesuch }), ["reply asker: 404 unknown_aggregate"]);
    for ask in [outcome_of(1, Some(second(9))), Ask::State { aggregate: counter("1") }] {
        let effects = rig.ask(ask);
        let Effect::Load(number, _) = effects[0] else { panic!("it is looked up") };
        let effects = rig.on(Input::LoadFailed(number, "the disk is on fire".into()));
        assert_eq!(told(&effects), ["reply asker: 503 unavailable"]);
    }
}
