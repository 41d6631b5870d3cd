//! A journal that is read while it grows.

use std::path::Path;
use std::sync::Arc;

use hapax::Commit;
use hapax::store::StoreId;
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::Journal;
use hapax::store::file::{FileReader, Follower};

use crate::common::pure::STORE;
use crate::till::story;

/// A new segment for every few commits.
const SEGMENT_BYTES: u64 = 1_000;

fn journal(dir: &Path) -> Journal {
    Journal::open(Arc::new(OsDisk), dir, STORE, None, SEGMENT_BYTES).unwrap()
}

fn append(journal: &mut Journal, commits: &[Commit]) {
    journal.append(commits).unwrap();
    journal.sync().unwrap();
}

fn seen(follower: &mut Follower) -> Vec<u64> {
    follower.look().unwrap().iter().map(|commit| commit.position.get()).collect()
}

#[test]
fn what_is_durable_appears_once_and_in_order() {
    let (dir, story) = (tempfile::tempdir().unwrap(), story());
    let mut journal = journal(dir.path());
    append(&mut journal, &story[..2]);
    let mut follower = FileReader::open_read_only(dir.path()).unwrap().follow().unwrap();
    assert_eq!(seen(&mut follower), [0; 0]);
    append(&mut journal, &story[2..4]);
    assert_eq!(seen(&mut follower), [0; 0], "nothing says yet that they are durable");
    append(&mut journal, &story[4..5]);
    assert_eq!(seen(&mut follower), [3, 4]);
    journal.state_synced().unwrap();
    assert_eq!(seen(&mut follower), [5]);
    assert_eq!(seen(&mut follower), [0; 0]);
    // Over several segments, and a group as a whole.
    for commit in &story[5..13] {
        append(&mut journal, std::slice::from_ref(commit));
    }
    append(&mut journal, &story[13..16]);
    journal.state_synced().unwrap();
    assert_eq!(seen(&mut follower), (6..=16).collect::<Vec<_>>());
    assert!(std::fs::read_dir(dir.path()).unwrap().count() > 4, "there is more than one segment");
}

/// 1. The power goes under a processor. Of its last write, one commit is whole and the next one is not.
/// 2. The next start writes the last segment anew, without the torn one, under the same name.
/// 3. Whoever follows has the old file open, and would wait in it for ever.
#[test]
fn a_restart_that_cuts_a_torn_tail_is_followed() {
    let (dir, story) = (tempfile::tempdir().unwrap(), story());
    let mut first = journal(dir.path());
    append(&mut first, &story[..1]);
    let mut follower = FileReader::open_read_only(dir.path()).unwrap().follow().unwrap();
    append(&mut first, &story[1..3]);
    drop(first);
    let log = dir.path().join("00000000000000000001.log");
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 7]).unwrap();
    std::fs::remove_file(dir.path().join("proof")).unwrap(); // It was not safe yet.
    assert_eq!(seen(&mut follower), [0; 0]);
    let mut second = journal(dir.path());
    assert_eq!(seen(&mut follower), [2]);
    append(&mut second, &story[2..3]);
    second.state_synced().unwrap();
    assert_eq!(seen(&mut follower), [3]);
}

#[test]
fn another_journal_in_its_place_is_not_followed() {
    let (dir, story) = (tempfile::tempdir().unwrap(), story());
    let mut first = journal(dir.path());
    append(&mut first, &story[..2]);
    first.state_synced().unwrap();
    let mut follower = FileReader::open_read_only(dir.path()).unwrap().follow().unwrap();
    drop(first);
    std::fs::remove_file(dir.path().join("00000000000000000001.log")).unwrap();
    let _other = Journal::open(Arc::new(OsDisk), dir.path(), StoreId { partitions: 2, ..STORE }, None, SEGMENT_BYTES);
    let error = follower.look().unwrap_err().to_string();
    assert!(error.contains("the journal has become shorter than what was read from it"), "{error}");
}
