//! Positions without gaps, an unbroken chain, and times that never run backwards.

use super::*;

#[test]
fn commits_follow_each_other() {
    let mut ledger = Ledger::new(Tip::empty(STORE));
    assert_eq!(ledger.last(), None);
    let mut hash = Tip::empty(STORE).hash;
    for number in 1..=3 {
        let look = command("42", number, "look", "{}");
        let commit = ledger.record(look, Decision::Accepted(Vec::new()), Version(0), None, second(1));
        hash = hash.link(commit.json());
        assert_eq!((commit.position, commit.hash), (position(number), hash));
        assert_eq!(ledger.last(), Some(position(number)));
    }
}

#[test]
fn a_ledger_goes_on_behind_a_tip() {
    let before = commit(command("42", 1, "look", "{}"), 7, 0, 0);
    let mut ledger = Ledger::new(Tip::of(&before));
    let look = command("42", 2, "look", "{}");
    let commit = ledger.record(look, Decision::Accepted(Vec::new()), Version(4), Some(position(3)), second(1));
    assert_eq!((commit.position, commit.hash), (position(8), before.hash.link(commit.json())));
    assert_eq!((commit.version, commit.previous), (Version(4), Some(position(3))));
}

#[test]
fn the_time_is_the_latest_that_anything_says() {
    let mut ledger = Ledger::new(Tip::empty(STORE));
    assert_eq!(ledger.time(second(5), second(3)), second(5), "the edge's clock");
    assert_eq!(ledger.time(second(3), second(5)), second(5), "the message was stored later than that");
    ledger.record(command("42", 1, "look", "{}"), Decision::Accepted(Vec::new()), Version(0), None, second(9));
    assert_eq!(ledger.time(second(5), second(3)), second(9), "the commit before was later than both");
}
