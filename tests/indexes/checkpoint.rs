//! From where an index is believed, and by whom it is held.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hapax::ChainHash;
use hapax::index::checkpoint::INDEX_FORMAT;
use hapax::index::{CatchUpError, Index, IndexError, SledIndex, VerifyError, catch_up, verify};
use hapax::store::{CommitReader, StoreId};
use uuid::Uuid;

use crate::commits::{Commits, ID, assert_holds, position};
use crate::common::folder::copy_of;
use crate::folder::{Opened, reopen, start, with_checkpoint};

fn doubtful(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("sled.doubtful-")).collect()
}

#[test]
fn it_goes_on_from_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(500, 20);
    drop(with_checkpoint(dir.path(), &commits.upto(300)));

    let opened = SledIndex::open(dir.path(), ID).unwrap();
    assert_eq!(opened.doubt, None);
    let from = opened.from.unwrap();
    assert_eq!((from.position, from.hash), (position(300), commits.0[299].hash));
    let mut seen = Vec::new();
    catch_up(&opened.index, &commits, Some(&from), commits.last(), &mut |progress| seen.push(progress.noted)).unwrap();
    assert_eq!(seen, [0, 200]);
    assert_holds(&opened.index, &commits);
}

#[test]
fn what_was_noted_behind_the_checkpoint_is_noted_again() {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(500, 20);
    let index = with_checkpoint(dir.path(), &commits.upto(300));
    index.note(&commits.entries()[300..400]).unwrap();
    drop(index); // Closing writes what was noted.

    let (index, believed) = start(dir.path(), &commits);
    assert!(believed);
    assert_holds(&index, &commits);
    let last = commits.0.last().unwrap();
    index.checkpoint(last.position, last.hash).unwrap();
    drop(index);
    assert!(start(dir.path(), &commits).1, "and the sums of the next checkpoint are right");
}

#[test]
fn an_empty_index_without_checkpoint_is_no_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let none = Commits(Arc::default());
    for _ in 0..2 {
        let opened = SledIndex::open(dir.path(), ID).unwrap();
        assert_eq!((opened.from, opened.doubt), (None, None));
        catch_up(&opened.index, &none, None, None, &mut |_| {}).unwrap();
    }
    assert!(SledIndex::open_as_it_is(dir.path(), ID).unwrap().is_none());
}

#[test]
fn without_checkpoint_it_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(100, 10);
    for n in 1..=3 {
        let index = with_checkpoint(dir.path(), &commits);
        index.distrust().unwrap();
        drop(index);
        let opened = SledIndex::open(dir.path(), ID).unwrap();
        assert_eq!(opened.doubt.unwrap(), "there is an index, but no checkpoint");
        assert_eq!(opened.from, None);
        assert_eq!(doubtful(dir.path()), [format!("sled.doubtful-{n}")], "only the last one is kept");
        assert_eq!(opened.index.position_of(&commits.0[0].command.identity).unwrap(), None);
    }
}

#[test]
fn a_checkpoint_that_does_not_belong_is_a_doubt() {
    let commits = Commits::of(50, 5);
    let other_store = StoreId { store: Uuid::from_u128(8), ..ID };
    let other_partition = StoreId { partition: 1, partitions: 2, ..ID };
    for other in [other_store, other_partition] {
        let dir = tempfile::tempdir().unwrap();
        drop(with_checkpoint(dir.path(), &commits));
        let opened = SledIndex::open(dir.path(), other).unwrap();
        assert!(opened.doubt.unwrap().starts_with("the checkpoint is of store"));
        assert_eq!(opened.from, None);
        assert_eq!(opened.index.position_of(&commits.0[0].command.identity).unwrap(), None);
    }
}

#[test]
fn a_damaged_checkpoint_is_a_doubt() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_checkpoint(dir.path(), &Commits::of(50, 5)));
    let path = dir.path().join("checkpoint.json");
    let json = fs::read_to_string(&path).unwrap();
    let changed = [
        String::new(),
        json[..json.len() / 2].to_owned(),
        json.replace(r#""position":50"#, r#""position":51"#), // Else: the store would be thought to have lost one.
        of_other_format(&json),
    ];
    for changed in changed {
        assert_ne!(changed, json);
        let copy = copy_of(dir.path());
        fs::write(copy.path().join("checkpoint.json"), changed).unwrap();
        assert!(SledIndex::open(copy.path(), ID).unwrap().doubt.is_some());
    }
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert!(SledIndex::open(dir.path(), ID).unwrap().doubt.is_some(), "a checkpoint alone");
}

/// As a later release writes it: the checksum is right.
fn of_other_format(json: &str) -> String {
    let format = |format: u32| format!(r#""index_format":{format}"#);
    let json = json.replace(&format(INDEX_FORMAT), &format(INDEX_FORMAT + 1));
    let (members, _crc32) = json.rsplit_once(',').unwrap();
    let crc32 = crc32fast::hash(format!("{members}}}").as_bytes());
    format!("{members},\"crc32\":{crc32}}}")
}

#[test]
fn a_checkpoint_that_the_store_has_not_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(50, 5);
    let index = with_checkpoint(dir.path(), &commits);
    drop(index);
    let Opened { index, from } = reopen(dir.path());

    let short = commits.upto(49);
    let error = catch_up(&index, &short, Some(&from), short.last(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, CatchUpError::Ahead { last: Some(_), .. }), "the store has lost a commit: {error}");
    let error = catch_up(&index, &Commits(Arc::default()), Some(&from), None, &mut |_| {}).unwrap_err();
    assert!(matches!(error, CatchUpError::Ahead { last: None, .. }), "{error}");
    let other = Commits::behind(ChainHash([0; 32]), 50, 5);
    let error = catch_up(&index, &other, Some(&from), other.last(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, CatchUpError::Index(IndexError::Disagrees(_))), "another history: {error}");
}

#[test]
fn a_checkpoint_is_only_of_the_last_commit_noted() {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(50, 5);
    let index = with_checkpoint(dir.path(), &commits);
    assert!(matches!(index.checkpoint(position(49), commits.0[48].hash), Err(IndexError::Disagrees(_))));
}

#[test]
fn a_second_process_is_refused_and_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(50, 5);
    let index = with_checkpoint(dir.path(), &commits);
    assert!(matches!(SledIndex::open(dir.path(), ID), Err(IndexError::InUse { .. })));
    assert!(matches!(SledIndex::open_as_it_is(dir.path(), ID), Err(IndexError::InUse { .. })));
    drop(index);
    assert_holds(&start(dir.path(), &commits).0, &commits);
}

#[test]
fn verify_passes_what_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(500, 20);
    let index = with_checkpoint(dir.path(), &commits.upto(300));
    index.note(&commits.entries()[300..400]).unwrap();
    drop(index);
    let (index, from) = SledIndex::open_as_it_is(dir.path(), ID).unwrap().unwrap();
    verify(&index, &commits, &from, &mut |_| {}).unwrap();
    let error = verify(&index, &Commits::behind(ChainHash([0; 32]), 500, 20), &from, &mut |_| {}).unwrap_err();
    assert!(matches!(error, VerifyError::Index(IndexError::Disagrees(_))), "{error}");
}
