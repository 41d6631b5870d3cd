//! Entries leave when their commits are durable, and a snapshot is due where a mark is passed.

use super::*;

/// Whether a commit with `events` events that ends at `version` brings a snapshot.
fn brings_snapshot(version: u64, events: u64) -> bool {
    let commit = commit(command("42", 1, "burst", "{}"), 1, version, events);
    let mut folded = service().start(&counter("42").kind).unwrap();
    folded.version = Version(version);
    let mut unindexed = Unindexed::default();
    let mut live = LiveAggregates::new(1, usize::MAX);
    live.take_in(counter("42"), folded);
    unindexed.add(&commit, &service(), &mut live);
    let entries = unindexed.take_upto(position(1));
    let snapshot = entries[0].snapshot.as_ref();
    assert!(snapshot.is_none_or(|snapshot| snapshot.version == Version(version)));
    snapshot.is_some()
}

#[test]
fn a_snapshot_is_due_at_every_hundredth_event() {
    assert!(!brings_snapshot(1, 1));
    assert!(!brings_snapshot(99, 1));
    assert!(brings_snapshot(100, 1));
    assert!(!brings_snapshot(101, 1));
    assert!(brings_snapshot(200, 1));
}

#[test]
fn a_commit_that_jumps_over_the_mark_passes_it() {
    assert!(brings_snapshot(101, 2));
    assert!(brings_snapshot(350, 300));
    assert!(!brings_snapshot(199, 99));
}

#[test]
fn what_changes_nothing_brings_none() {
    assert!(!brings_snapshot(100, 0));
    assert!(!brings_snapshot(0, 0));
}

#[test]
fn entries_leave_up_to_what_is_durable() {
    let mut live = LiveAggregates::new(1, usize::MAX);
    let mut unindexed = Unindexed::default();
    for number in 5..=7 {
        unindexed.add(&commit(command("42", number, "look", "{}"), number, 0, 0), &service(), &mut live);
    }
    let mut taken = |upto| {
        let entries = unindexed.take_upto(position(upto));
        entries.iter().map(|entry| entry.position.get()).collect::<Vec<_>>()
    };
    assert_eq!(taken(4), [0; 0]);
    assert_eq!(taken(6), [5, 6]);
    assert_eq!(taken(6), [0; 0]);
    assert_eq!(taken(9), [7]);
}
