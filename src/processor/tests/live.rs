//! Which states may leave memory.

use super::*;
use crate::aggregate::Folded;

fn changed_at(last: Option<u64>) -> Folded {
    let mut folded = service().start(&counter("42").kind).unwrap();
    folded.last = last.map(position);
    folded
}

/// Room for two; three are in it, changed at 1, 2 and 3, used in this order.
fn three() -> LiveAggregates {
    let mut live = LiveAggregates::new(2, usize::MAX);
    for number in 1..=3 {
        live.take_in(counter(&number.to_string()), changed_at(Some(number)));
    }
    live
}

fn held(live: &LiveAggregates) -> Vec<&'static str> {
    ["1", "2", "3"].into_iter().filter(|key| live.contains(&counter(key))).collect()
}

#[test]
fn what_was_used_longest_ago_leaves() {
    let mut live = three();
    live.trim(Some(position(9)));
    assert_eq!(held(&live), ["2", "3"]);

    let mut live = three();
    assert!(live.get(&counter("1")).is_some());
    live.trim(Some(position(9)));
    assert_eq!(held(&live), ["1", "3"]);
}

#[test]
fn what_the_index_may_not_know_stays() {
    let mut live = three();
    live.trim(None);
    assert_eq!(held(&live), ["1", "2", "3"]);
    live.trim(Some(position(1)));
    assert_eq!(held(&live), ["2", "3"]);
}

#[test]
fn what_never_changed_may_always_leave() {
    let mut live = LiveAggregates::new(0, usize::MAX);
    live.take_in(counter("1"), changed_at(None));
    live.trim(None);
    assert_eq!(held(&live), [] as [&str; 0]);
}

#[test]
fn memory_wins_over_what_was_loaded() {
    let mut live = three();
    live.take_in(counter("3"), changed_at(None));
    assert_eq!(live.get(&counter("3")).unwrap().last, Some(position(3)));
}

/// 3,000 accounts with owners of 250 KB took 840 MB, since only their number was bounded.
#[test]
fn what_is_too_large_leaves_too() {
    let one = changed_at(Some(1)).state.to_json().unwrap().len();
    let three_of = |bytes_max| {
        let mut live = LiveAggregates::new(9, bytes_max);
        for number in 1..=3 {
            live.take_in(counter(&number.to_string()), changed_at(Some(number)));
        }
        live.trim(Some(position(9)));
        live
    };
    assert_eq!(held(&three_of(2 * one)), ["2", "3"]);

    // What comes to a state counts at once, and no more than it is when it is measured again.
    let mut live = three_of(2 * one + 100);
    assert_eq!(held(&live), ["1", "2", "3"]);
    live.changed(&counter("3"), 100);
    live.trim(Some(position(9)));
    assert_eq!(held(&live), ["2", "3"]);
    live.changed(&counter("3"), 1_000_000);
    live.trim(Some(position(9)));
    assert_eq!(held(&live), ["2", "3"]);
}
