//! The whole of it, by hand: the order in which things leave, and the three rules that keep a command from being decided
//! twice. Each of the rules has a test that fails without it.

use super::*;
use crate::aggregate::Folded;

const NOTHING: [&str; 0] = [];

#[test]
fn one_command_goes_its_way() {
    let mut rig = Rig::new();
    let effects = rig.deliver(vec![add("1", 1)]);
    assert_eq!(told(&effects), ["load 0: 1 ids, 1 aggregates"]);
    let loaded = rig.answer(&effects, 0);
    assert_eq!(told(&rig.on(loaded)), ["append 1"], "nothing leaves before it is durable");
    assert!(!rig.processor.is_idle());
    assert_eq!(told(&rig.sync()), ["index 1", "reply 1: 200 at 1", "ack 1"]);
    assert!(rig.processor.is_idle());
    assert_eq!(rig.processor.counts(), Counts { decided: 1, ..Counts::default() });
}

#[test]
fn a_batch_asks_once_and_is_appended_at_once() {
    let mut rig = Rig::new();
    let effects =
        rig.deliver(vec![add("1", 1), add("2", 2), add("1", 3), delivery("1", 4, "add", r#"{"amount":1001}"#)]);
    assert_eq!(told(&effects), ["load 0: 4 ids, 2 aggregates"]);
    let loaded = rig.answer(&effects, 0);
    assert_eq!(told(&rig.on(loaded)), ["append 1 2 3 4"]);
    let leaves = [
        "index 1 2 3 4",
        "reply 1: 200 at 1",
        "reply 2: 200 at 2",
        "reply 3: 200 at 3",
        "reply 4: 409 too_much at 4",
        "ack 1 2 3 4",
    ];
    assert_eq!(told(&rig.sync()), leaves);
}

#[test]
fn versions_and_back_links_belong_to_the_aggregate() {
    let mut rig = Rig::new();
    let too_much = delivery("1", 3, "add", r#"{"amount":1001}"#);
    rig.decide(vec![add("1", 1), add("2", 2), too_much, add("1", 4), delivery("1", 5, "burst", r#"{"events":3}"#)]);
    let written = rig.commits.iter().map(|commit| (commit.version.0, commit.previous.map_or(0, Position::get)));
    assert_eq!(written.collect::<Vec<_>>(), [(1, 0), (1, 0), (1, 1), (2, 1), (5, 4)]);
}

#[test]
fn what_is_appended_goes_before_what_is_said() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    // A replay that may leave at once, and a new command, in one batch: append, reply, ack.
    let effects = rig.decide(vec![add("1", 1).copy(2), add("1", 3)]);
    assert_eq!(told(&effects), ["append 2", "reply 2: 200 at 1 (replayed)", "ack 2"]);
}

#[test]
fn a_copy_of_what_is_not_durable_waits_for_it() {
    let mut rig = Rig::new();
    let effects = rig.decide(vec![add("1", 1), add("1", 1).copy(2)]);
    assert_eq!(told(&effects), ["append 1"], "in one batch");
    assert_eq!(told(&rig.decide(vec![add("1", 1).copy(3)])), NOTHING, "in the next one");
    let leaves =
        ["index 1", "reply 1: 200 at 1", "reply 2: 200 at 1 (replayed)", "reply 3: 200 at 1 (replayed)", "ack 1 2 3"];
    assert_eq!(told(&rig.sync()), leaves);
}

#[test]
fn all_outcomes_of_one_identity_are_the_same_bytes() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1), add("1", 1).copy(2)]);
    let mut effects = rig.sync();
    rig.index(1);
    effects.extend(rig.decide(vec![add("1", 1).copy(3)]));
    let bodies = effects.iter().filter_map(|effect| match effect {
        Effect::Reply(answer) => Some(answer.body.clone()),
        _ => None,
    });
    let bodies = bodies.collect::<Vec<_>>();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[test]
fn a_refusal_that_was_computed_from_what_is_not_durable_waits_for_it() {
    let mut rig = Rig::new();
    let reused = delivery("1", 1, "look", "{}").copy(2);
    let panics = delivery("1", 3, "panic", "{}");
    // If the append is lost, the id was never used, and the state that panicked never was.
    assert_eq!(told(&rig.decide(vec![add("1", 1), reused, panics])), ["append 1"]);
    let leaves = ["index 1", "reply 1: 200 at 1", "reply 2: 422 id_reused", "reply 3: 500 decide_panicked"];
    assert_eq!(told(&rig.sync()), [&leaves[..], &["quarantine 3", "ack 1 2"]].concat());
}

/// Rule 1. A copy comes while the first one waits for its look-up: its own look-up finds nothing either.
#[test]
fn memory_wins_over_a_look_up_that_missed_a_commit() {
    let mut rig = Rig::new();
    let first = rig.deliver(vec![add("1", 1)]);
    let second = rig.deliver(vec![add("1", 1).copy(2), add("1", 3)]);
    let (first, second) = (rig.answer(&first, 0), rig.answer(&second, 0));
    assert_eq!(told(&rig.on(second)), NOTHING, "batches are decided in the order in which they were delivered");
    assert_eq!(told(&rig.on(first)), ["append 1 2"]);
    assert_eq!(rig.commits[1].command.identity.id, id(3));
    assert_eq!(rig.commits[1].version, Version(2), "the loaded state was older than the one in memory");
    let leaves = ["index 1 2", "reply 1: 200 at 1", "reply 2: 200 at 1 (replayed)", "reply 3: 200 at 2", "ack 1 2 3"];
    assert_eq!(told(&rig.sync()), leaves);
}

/// Rule 2. The look-up of a copy misses the commit, which is then indexed before the look-up returns. If memory let go
/// of the commit as soon as it is in the index, nobody would know it any more.
#[test]
fn memory_keeps_what_a_look_up_under_way_may_have_missed() {
    let mut rig = Rig::new();
    let first = rig.deliver(vec![add("1", 1)]);
    let second = rig.deliver(vec![add("1", 1).copy(2), add("1", 3)]);
    let missed = rig.answer(&second, 0);
    let first = rig.answer(&first, 0);
    rig.on(first);
    rig.sync();
    assert_eq!(told(&rig.index(1)), NOTHING);
    assert_eq!(rig.processor.recent.len(), 1);
    assert_eq!(told(&rig.on(missed)), ["append 2", "reply 2: 200 at 1 (replayed)", "ack 2"]);
    assert_eq!(rig.processor.recent.len(), 1, "now that nobody can have missed it, it is forgotten");
}

/// Rule 2, for states: the same with an aggregate that falls out of the cache.
#[test]
fn memory_keeps_a_state_that_a_look_up_under_way_may_have_missed() {
    let mut rig = Rig::new();
    rig.processor.live = LiveAggregates::new(0, usize::MAX);
    let first = rig.deliver(vec![add("1", 1)]);
    let second = rig.deliver(vec![add("1", 2)]);
    let missed = rig.answer(&second, 0);
    let first = rig.answer(&first, 0);
    rig.on(first);
    rig.sync();
    rig.index(1);
    rig.on(missed);
    assert_eq!(rig.commits[1].version, Version(2));
}

/// Rule 2 again: what is not in the index stays, however long.
#[test]
fn memory_keeps_what_the_index_does_not_know() {
    let mut rig = Rig::new();
    rig.processor.live = LiveAggregates::new(0, usize::MAX);
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    assert_eq!((rig.processor.recent.len(), rig.processor.live.contains(&counter("1"))), (1, true));
    rig.index(1);
    assert_eq!((rig.processor.recent.len(), rig.processor.live.contains(&counter("1"))), (0, false));
    // From now on it is looked up.
    let effects = rig.deliver(vec![add("1", 1).copy(2)]);
    assert_eq!(told(&effects), ["load 1: 1 ids, 1 aggregates"]);
    let loaded = rig.answer(&effects, 1);
    assert_eq!(told(&rig.on(loaded)), ["reply 2: 200 at 1 (replayed)", "ack 2"]);
}

/// Rule 3. When the copy came its commit was in memory, so it was not looked up; when its turn comes it is not.
#[test]
fn an_id_that_was_forgotten_meanwhile_is_looked_up_again() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    let older = rig.deliver(vec![add("2", 2)]);
    rig.index(1); // Not forgotten yet: the older batch may ask for it.
    let copy = rig.deliver(vec![add("1", 1).copy(3), add("3", 4)]);
    assert_eq!(told(&copy), ["load 2: 1 ids, 1 aggregates"]);
    let (older, copy) = (rig.answer(&older, 1), rig.answer(&copy, 1));
    assert_eq!(told(&rig.on(older)), ["append 2"]);
    let effects = rig.on(copy);
    assert_eq!(told(&effects), ["load 2: 1 ids, 0 aggregates"]);
    let loaded = rig.answer(&effects, 1);
    assert_eq!(told(&rig.on(loaded)), ["append 3", "reply 3: 200 at 1 (replayed)", "ack 3"]);
}

/// Rule 3, for states: the aggregate was live when the batch came, and leaves the cache before its turn.
#[test]
fn a_state_that_left_the_cache_meanwhile_is_looked_up_again() {
    let (mut rig, other, again) = state_leaves_the_cache();
    assert_eq!(told(&again), ["load 2: 1 ids, 0 aggregates"]);
    let (other, again) = (rig.answer(&other, 1), rig.answer(&again, 1));
    rig.on(other);
    let effects = rig.on(again);
    assert_eq!(told(&effects), ["load 2: 0 ids, 1 aggregates"]);
    let loaded = rig.answer(&effects, 1);
    rig.on(loaded);
    assert_eq!(rig.commits[2].version, Version(2));
}

#[test]
fn dedupe_comes_before_every_guard() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    let late = add("1", 1).copy(2).with(header::NOT_AFTER, "2000-01-01T00:00:00Z");
    let broken = add("1", 1).copy(3).with(header::NOT_AFTER, "tomorrow");
    let leaves = ["reply 2: 200 at 1 (replayed)", "reply 3: 200 at 1 (replayed)", "ack 2 3"];
    assert_eq!(told(&rig.decide(vec![late, broken])), leaves);
    // An unreadable content is another content; for a new id it is said what is wrong.
    let unreadable = delivery("1", 1, "add", "{").copy(4);
    let leaves = ["reply 4: 422 id_reused", "reply 5: 400 malformed", "ack 4 5"];
    assert_eq!(told(&rig.decide(vec![unreadable, delivery("1", 5, "add", "{")])), leaves);
}

#[test]
fn what_is_not_served_is_refused_and_not_looked_up() {
    let mut rig = Rig::new();
    let mut delivery = add("1", 1);
    delivery.subject = "work.0.alice.nonesuch.1.add".into();
    let effects = rig.deliver(vec![delivery]);
    assert_eq!(told(&effects), ["load 0: 1 ids, 0 aggregates"]);
    let loaded = rig.answer(&effects, 0);
    assert_eq!(told(&rig.on(loaded)), ["reply 1: 404 unknown_aggregate", "ack 1"]);
}

#[test]
fn a_void_settles_an_id_and_every_later_copy_gets_that() {
    let mut rig = Rig::new();
    let void = |number, of| delivery("1", number, "_void", "").with(header::VOID, id(of).as_str());
    rig.decide(vec![add("1", 1), void(2, 1), void(4, 3), add("1", 3).copy(5), delivery("1", 3, "look", "{").copy(6)]);
    let leaves = [
        "index 1 2",
        "reply 1: 200 at 1",
        "reply 2: 200 at 1 (replayed)",
        "reply 4: 410 voided at 2",
        "reply 5: 410 voided at 2 (replayed)",
        "reply 6: 410 voided at 2 (replayed)",
        "ack 1 2 4 5 6",
    ];
    assert_eq!(told(&rig.sync()), leaves);
}

#[test]
fn times_never_run_backwards() {
    let mut rig = Rig::new();
    for (number, now) in [(1, 10), (2, 5), (3, 11)] {
        rig.now = second(now);
        rig.decide(vec![add("1", number)]);
    }
    let mut ahead = add("1", 4);
    ahead.stored_at = second(20); // The broker's clock is ahead of ours.
    rig.decide(vec![ahead]);
    let times = rig.commits.iter().map(|commit| commit.decided_at).collect::<Vec<_>>();
    assert_eq!(times, [second(10), second(10), second(11), second(20)]);
}

#[test]
fn a_snapshot_comes_with_the_commit_that_passes_the_mark() {
    let mut rig = Rig::new();
    let burst = |number, body| delivery("1", number, "burst", body);
    rig.decide(vec![burst(1, r#"{"events":99}"#), add("1", 2), add("1", 3), burst(4, r#"{"events":250}"#)]);
    let effects = rig.sync();
    let Effect::Index(entries) = &effects[0] else { panic!("the index is told first") };
    let versions = entries.iter().map(|entry| entry.snapshot.as_ref().map(|snapshot| snapshot.version.0));
    assert_eq!(versions.collect::<Vec<_>>(), [None, Some(100), None, Some(351)]);
    let snapshot = entries[1].snapshot.as_ref().unwrap();
    assert_eq!(snapshot.state, r#"{"count":1}"#, "the state after that commit, not the one now");
}

#[test]
fn intake_stops_when_enough_is_under_way() {
    let mut rig = Rig::new();
    let mut batches = Vec::new();
    for number in 0..crate::processor::turn::TURNS_MAX as u64 {
        assert!(rig.processor.has_room());
        batches.push(rig.deliver(vec![add("1", number)]));
    }
    assert!(!rig.processor.has_room());
    let first = rig.answer(&batches[0], 0);
    rig.on(first);
    assert!(rig.processor.has_room());
}

#[test]
fn intake_stops_when_the_disk_or_the_index_is_behind() {
    let mut rig = Rig::new();
    let mut numbers = 0_u64..;
    while rig.commits.len() < UNINDEXED_COMMITS_MAX {
        assert!(rig.processor.has_room());
        let looks = numbers.by_ref().take(IN_FLIGHT_COMMANDS_MAX).map(|number| delivery("1", number, "look", ""));
        let effects = rig.deliver(looks.collect());
        let loaded = rig.answer(&effects, 0);
        rig.on(loaded);
        assert!(!rig.processor.has_room(), "so many are not durable");
        rig.sync();
    }
    assert!(!rig.processor.has_room(), "so many are not in the index");
    rig.index(1);
    assert!(rig.processor.has_room());
}

#[test]
fn a_start_behind_a_tip_goes_on_there() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    rig.processor = Processor::new(service(), ONLY, Tip::of(&rig.commits[0]), Newest::default());
    let effects = rig.decide(vec![add("1", 1).copy(2), add("1", 3)]);
    assert_eq!(told(&effects), ["append 2", "reply 2: 200 at 1 (replayed)", "ack 2"]);
    assert_eq!((rig.commits[1].version, rig.commits[1].previous), (Version(2), Some(position(1))));
}

/// I10, in small: the state in memory is the fold of what was appended.
#[test]
fn the_live_state_is_the_fold_of_the_store() {
    let mut rig = Rig::new();
    let too_much = delivery("1", 3, "add", r#"{"amount":1000}"#);
    rig.decide(vec![
        add("1", 1),
        add("1", 2),
        too_much,
        delivery("1", 4, "burst", r#"{"events":2}"#),
        add("1", 1).copy(5),
    ]);
    let mut folded: Folded = service().start(&counter("1").kind).unwrap();
    for commit in &rig.commits {
        folded.apply(commit).unwrap();
    }
    let live = rig.processor.live.get(&counter("1")).unwrap();
    assert_eq!((live.version, live.last), (folded.version, folded.last));
    assert_eq!(live.state.to_json().unwrap(), folded.state.to_json().unwrap());
}
