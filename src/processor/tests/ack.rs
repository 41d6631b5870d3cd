//! What waits for which position, and in which order it leaves.

use super::*;

fn settled(number: u64) -> Settled {
    Settled { answer: None, end: End::Ack(Ticket(number.to_string())) }
}

fn number_of(settled: &Settled) -> u64 {
    let End::Ack(Ticket(number)) = &settled.end else { panic!("all of these are acknowledged") };
    number.parse().unwrap()
}

/// What a store says that has made its first `upto` commits durable.
fn durable(upto: u64) -> Durable<Position> {
    let mut store = MemoryStore::new(STORE);
    let mut ledger = Ledger::new(Tip::empty(STORE));
    let look = |number| command("42", number, "look", "{}");
    let mut record = |number| ledger.record(look(number), Decision::Accepted(Vec::new()), Version(0), None, second(0));
    store.append((1..=upto).map(&mut record).collect());
    store.durable().now_or_never().unwrap().unwrap()
}

fn released(outbox: &mut Outbox, upto: u64) -> Vec<u64> {
    outbox.release(durable(upto)).map(|settled| number_of(&settled)).collect()
}

#[test]
fn what_was_computed_from_durable_positions_leaves_at_once() {
    let mut outbox = Outbox::new(Some(position(3)));
    assert!(outbox.put(None, settled(1)).is_some());
    assert!(outbox.put(Some(position(3)), settled(2)).is_some());
    assert!(outbox.put(Some(position(4)), settled(3)).is_none());
    assert_eq!(outbox.len(), 1);
}

#[test]
fn everything_else_waits_for_its_position() {
    let mut outbox = Outbox::new(None);
    for number in [1, 2, 3] {
        assert!(outbox.put(Some(position(number)), settled(number)).is_none());
    }
    assert_eq!(released(&mut outbox, 2), [1, 2]);
    assert_eq!(outbox.len(), 1);
    assert_eq!(released(&mut outbox, 4), [3]);
    assert!(outbox.put(Some(position(4)), settled(4)).is_some(), "it remembers what is durable");
}

#[test]
fn a_replay_waits_behind_what_is_ahead_of_it() {
    let mut outbox = Outbox::new(None);
    outbox.put(Some(position(5)), settled(1));
    outbox.put(Some(position(2)), settled(2)); // A copy of an older command, still under way.
    outbox.put(Some(position(6)), settled(3));
    assert_eq!(released(&mut outbox, 2), [0; 0]);
    assert_eq!(released(&mut outbox, 5), [1, 2]);
    assert_eq!(released(&mut outbox, 6), [3]);
}
