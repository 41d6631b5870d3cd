//! What happens when a look-up, the clock, an aggregate's code or a sender is at fault: nothing is decided that should not
//! be, and the neighbours are served.

use super::*;

const NOTHING: [&str; 0] = [];

fn fail(rig: &mut Rig, number: TurnNumber) -> Vec<Effect> {
    rig.on(Input::LoadFailed(number, "the disk is on fire".into()))
}

#[test]
fn a_failed_look_up_is_never_an_absence() {
    let mut rig = Rig::new();
    rig.deliver(vec![add("1", 1), add("2", 2)]);
    let leaves = ["reply 1: 503 unavailable", "reply 2: 503 unavailable", "ack 1 2"];
    assert_eq!(told(&fail(&mut rig, 0)), leaves);
    assert_eq!(rig.commits.len(), 0);
    assert_eq!(rig.processor.counts(), Counts { refused: 2, ..Counts::default() });
    // The next copy is decided, if its own look-up succeeds.
    assert_eq!(told(&rig.decide(vec![add("1", 1)])), ["append 1"]);
}

#[test]
fn who_cannot_be_told_is_delivered_again() {
    let mut rig = Rig::new();
    rig.deliver(vec![add("1", 1).without(header::REPLY_TO)]);
    assert_eq!(told(&fail(&mut rig, 0)), NOTHING, "neither decided nor acknowledged");
    assert!(rig.processor.is_idle());
}

#[test]
fn what_memory_knows_is_answered_although_the_look_up_failed() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    rig.deliver(vec![add("1", 1).copy(2), add("1", 3)]);
    assert_eq!(told(&fail(&mut rig, 1)), ["reply 2: 200 at 1 (replayed)", "reply 3: 503 unavailable", "ack 2 3"]);
}

#[test]
fn a_state_that_could_not_be_looked_up_again_decides_nothing() {
    let (mut rig, other, again) = state_leaves_the_cache();
    let (other, again) = (rig.answer(&other, 1), rig.answer(&again, 1));
    rig.on(other);
    assert_eq!(told(&rig.on(again)), ["load 2: 0 ids, 1 aggregates"]);
    assert_eq!(told(&fail(&mut rig, 2)), ["reply 3: 503 unavailable", "ack 3"]);
}

#[test]
fn an_aggregate_that_cannot_be_folded_is_refused_alone() {
    let mut rig = Rig::new();
    let effects = rig.deliver(vec![add("1", 1), add("2", 2)]);
    let Input::Loaded(number, mut found) = rig.answer(&effects, 0) else { panic!("it answers") };
    found.aggregates.insert(counter("1"), Err("evolve panicked at position 9".into()));
    assert_eq!(told(&rig.on(Input::Loaded(number, found))), ["append 1", "reply 1: 503 unavailable", "ack 1"]);
    assert_eq!(rig.commits[0].command.aggregate, counter("2"));
}

#[test]
fn a_wrong_clock_decides_nothing_new() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    rig.on(Input::ClockChecked(Err("the clocks are 31 s apart".into())));
    let effects = rig.decide(vec![add("1", 1).copy(2), add("1", 3), add("1", 4).without(header::REPLY_TO)]);
    assert_eq!(told(&effects), ["reply 2: 200 at 1 (replayed)", "reply 3: 503 unavailable", "ack 2 3"]);
    rig.on(Input::ClockChecked(Ok(())));
    assert_eq!(told(&rig.decide(vec![add("1", 3)])), ["append 2"]);
}

#[test]
fn a_panic_ends_one_command_and_not_its_neighbours() {
    for name in ["panic", "break", "garble"] {
        let mut rig = Rig::new();
        let effects = rig.decide(vec![add("1", 1), delivery("1", 2, name, ""), add("1", 3), add("2", 4)]);
        assert_eq!(told(&effects), ["append 1 2 3"]);
        assert_eq!(rig.commits[1].version, Version(2), "the state before is still the state");
        let leaves = [
            "index 1 2 3",
            "reply 1: 200 at 1",
            "reply 2: 500 decide_panicked",
            "quarantine 2",
            "reply 3: 200 at 2",
            "reply 4: 200 at 3",
            "ack 1 3 4",
        ];
        assert_eq!(told(&rig.sync()), leaves, "{name}");
        assert_eq!(rig.processor.counts().quarantined, 1);
    }
}

#[test]
fn a_panic_without_a_reply_address_is_put_aside_all_the_same() {
    let mut rig = Rig::new();
    let effects = rig.decide(vec![delivery("1", 1, "panic", "").without(header::REPLY_TO)]);
    assert_eq!(told(&effects), ["quarantine 1"]);
}

#[test]
fn a_refusal_that_nobody_can_hear_is_put_aside() {
    let mut rig = Rig::new();
    let deaf = |ticket, body| delivery("1", ticket, "add", body).without(header::REPLY_TO);
    let effects = rig.decide(vec![delivery("1", 1, "add", "{"), deaf(2, "{"), deaf(3, r#"{"amount":"much"}"#)]);
    assert_eq!(told(&effects), ["reply 1: 400 malformed", "quarantine 2", "quarantine 3", "ack 1"]);
    assert_eq!((rig.processor.counts().refused, rig.processor.counts().quarantined), (1, 2));
}

#[test]
fn an_outcome_that_is_too_large_is_a_recorded_rejection() {
    let mut rig = Rig::new();
    let large = delivery("1", 1, "fill", r#"{"bytes":600000}"#);
    rig.decide(vec![large.clone(), large.copy(2)]);
    let leaves =
        ["index 1", "reply 1: 409 outcome_too_large at 1", "reply 2: 409 outcome_too_large at 1 (replayed)", "ack 1 2"];
    assert_eq!(told(&rig.sync()), leaves);
    assert_eq!(rig.commits[0].version, Version(0));
}

#[test]
fn what_cannot_be_read_is_told_or_put_aside() {
    let mut rig = Rig::new();
    let mut shapeless = add("1", 1);
    shapeless.subject = "work.0".into();
    let effects = rig.deliver(vec![shapeless, add("1", 2).without(header::ID)]);
    assert_eq!(told(&effects), ["quarantine 1", "reply 2: 400 malformed", "ack 2"]);
}

#[test]
fn who_names_another_inbox_is_not_answered_and_not_decided() {
    let mut rig = Rig::new();
    let delivery = add("1", 1).without(header::REPLY_TO).with(header::REPLY_TO, "_INBOX.bob.1");
    assert_eq!(told(&rig.deliver(vec![delivery])), ["ack 1"]);
    assert_eq!(rig.processor.counts(), Counts { silent: 1, ..Counts::default() });
}
