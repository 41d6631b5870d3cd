//! Whatever becomes of sled's files, the index gives no wrong answer.

use std::fs;

use hapax::index::{CatchUpError, IndexError, catch_up, verify};
use hapax::store::CommitReader;
use proptest::prelude::*;

use crate::commits::{Commits, assert_holds};
use crate::common::folder::copy_of;
use crate::folder::{Opened, files, reopen, sled_in, start, with_checkpoint};

#[test]
fn a_half_written_file_of_an_open_that_was_killed_is_removed() {
    // sled 0.34 writes `snap.<n>.generating` at open. A kill leaves it, and every later open fails on it.
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(50, 5);
    drop(with_checkpoint(dir.path(), &commits));
    fs::write(dir.path().join("sled/snap.00000000000000FF.generating"), b"half").unwrap();
    let (index, believed) = start(dir.path(), &commits);
    assert!(believed);
    assert_holds(&index, &commits);
}

/// A page of the index: one behind the other, length of the key, key, value. This one has a single command.
fn page(key: &[u8], position: u64) -> Vec<u8> {
    [&(key.len() as u16).to_be_bytes(), key, &position.to_be_bytes()].concat()
}

/// Bytes of the first entry of a page.
fn entry_bytes(page: &[u8], value_bytes: usize) -> usize {
    2 + usize::from(u16::from_be_bytes([page[0], page[1]])) + value_bytes
}

fn set_first_head(db: &::sled::Db, version: u64, position: u64) {
    let heads = db.open_tree("heads").unwrap();
    let (begins, page) = heads.first().unwrap().unwrap();
    let (mut page, end) = (page.to_vec(), entry_bytes(&page, 16));
    page[end - 16..end].copy_from_slice(&(u128::from(version) << 64 | u128::from(position)).to_be_bytes());
    heads.insert(begins, page).unwrap();
}

/// What sled drops without a word, when it thinks that a page was never written, must be found by adding up.
#[test]
fn a_lost_note_is_found_at_start() {
    let commits = Commits::of(200, 20);
    type Loss = (&'static str, fn(&::sled::Db));
    let losses: [Loss; 7] = [
        ("a command", |db| drop(db.open_tree("commands").unwrap().pop_min().unwrap().unwrap())),
        ("a head", |db| drop(db.open_tree("heads").unwrap().pop_max().unwrap().unwrap())),
        ("a head is older", |db| set_first_head(db, 1, 1)),
        ("a head is of no commit", |db| set_first_head(db, 99, 1)),
        ("a command that nobody sent", |db| {
            db.open_tree("commands").unwrap().insert("other", page(b"other", 9_999)).unwrap();
        }),
        ("a command is another", |db| {
            let commands = db.open_tree("commands").unwrap();
            commands.pop_min().unwrap().unwrap();
            commands.insert("other", page(b"other", 9_999)).unwrap();
        }),
        ("a command lies where nobody looks for it", |db| {
            let commands = db.open_tree("commands").unwrap();
            let (begins, first) = commands.first().unwrap().unwrap();
            commands.insert(&begins, &first[entry_bytes(&first, 8)..]).unwrap();
            commands.insert("other", &first[..entry_bytes(&first, 8)]).unwrap();
        }),
    ];
    for (name, lose) in losses {
        let dir = tempfile::tempdir().unwrap();
        drop(with_checkpoint(dir.path(), &commits));
        lose(&sled_in(dir.path()));
        let Opened { index, from } = reopen(dir.path());
        assert!(verify(&index, &commits, &from, &mut |_| {}).is_err(), "{name}");
        let error = catch_up(&index, &commits, Some(&from), commits.last(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, CatchUpError::Index(IndexError::Disagrees(_))), "{name}: {error}");
        drop(index);
        assert_holds(&start(dir.path(), &commits).0, &commits);
    }
}

/// The files of an index with a checkpoint, made once. Never opened again: sled then has to find its notes by reading its
/// log, and what it cannot read it passes over.
fn healthy() -> (tempfile::TempDir, Commits) {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(3_000, 200);
    drop(with_checkpoint(dir.path(), &commits.upto(2_900)));
    (dir, commits)
}

#[test]
fn damage_in_any_file_never_gives_a_wrong_answer() {
    let (healthy, commits) = healthy();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    // Mostly where the notes are: sled's files are longer than what is written in them.
    let place = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    runner
        .run(&place, |(file, at, flip, block)| {
            let dir = copy_of(healthy.path());
            let files = files(&dir.path().join("sled"));
            let path = &files[file.index(files.len())];
            let mut bytes = fs::read(path).unwrap();
            let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            prop_assume!(written > 0);
            let at = at.index(written);
            let upto = if block { bytes.len().min(at + 4_096) } else { at + 1 };
            bytes[at..upto].iter_mut().for_each(|byte| *byte ^= flip.max(1));
            fs::write(path, bytes).unwrap();

            let (index, _) = start(dir.path(), &commits);
            assert_holds(&index, &commits);
            Ok(())
        })
        .unwrap();
}
