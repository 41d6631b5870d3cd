//! The proof beside the segments: what it shows to be missing, and what is wrong with it itself.

use std::fs;
use std::sync::{Arc, Mutex};

use hapax::Commit;
use hapax::store::file::FileReader;
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::{Journal, SEGMENT_BYTES_MAX};
use hapax::store::{CommitReader, StoreId, Tip};
use uuid::Uuid;

use super::commits::{STORE, at, first, following};
use super::disk::Spy;
use super::{HEADER, damage, folder, frames, goes_on, killed, last_of, log, open, proof};

/// Without a checkpoint and without a feed: a cut is noticed, wherever the journal is cut.
#[test]
fn a_tail_that_is_cut_off_after_a_kill_is_damage() {
    let commits = first(5);
    let ends = frames(&commits);
    let groups: Vec<&[Commit]> = commits.chunks(1).collect();
    let dir = folder();
    killed(dir.path(), &groups);
    let (path, said) = (log(dir.path(), 1), fs::read(proof(dir.path())).unwrap());
    let bytes = fs::read(&path).unwrap();
    for length in (0..ends[5]).step_by(7).chain(ends[..5].iter().copied()).filter(|length| HEADER <= *length) {
        for zeros in [0, bytes.len() - length] {
            fs::write(&path, [&bytes[..length], &vec![0; zeros]].concat()).unwrap();
            let whole = ends.iter().rposition(|end| *end <= length).unwrap();
            let found = damage(open(dir.path(), None));
            assert_eq!((found.offset, found.position), (ends[whole] as u64, whole as u64 + 1), "{found}");
            damage(FileReader::open_read_only(dir.path()));
            assert_eq!(fs::read(&path).unwrap().len(), length + zeros, "nothing was repaired");
        }
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(damage(open(dir.path(), None)).position, 1, "no new store where one was lost");
    fs::write(&path, &bytes).unwrap();
    goes_on(dir.path(), 5);
    assert_ne!(fs::read(proof(dir.path())).unwrap(), said, "it goes on with the journal");
}

/// It is only a proof: what is wrong with it harms nothing, and the next writer writes it anew.
#[test]
fn a_proof_that_is_damaged_or_of_another_store_proves_nothing() {
    let dir = folder();
    killed(dir.path(), &[&first(3)]);
    let said = fs::read(proof(dir.path())).unwrap();
    let theirs = |id: StoreId| {
        let other = folder();
        let mut journal = Journal::open(Arc::new(OsDisk), other.path(), id, None, SEGMENT_BYTES_MAX).unwrap();
        journal.append(&following(Tip::empty(id), 9, 40)).unwrap();
        journal.sync().unwrap();
        fs::read(proof(other.path())).unwrap()
    };
    let others = [
        theirs(StoreId { partition: 1, ..STORE }),
        theirs(StoreId { partitions: 2, ..STORE }),
        theirs(StoreId { store: Uuid::from_u128(1), ..STORE }),
        vec![0; said.len()],
    ];
    let flipped = (0..said.len()).map(|offset| {
        let mut bytes = said.clone();
        bytes[offset] ^= 1;
        bytes
    });
    let cut = (0..said.len()).map(|length| said[..length].to_vec());
    for bytes in flipped.chain(cut).chain(others) {
        fs::write(proof(dir.path()), &bytes).unwrap();
        assert_eq!(FileReader::open_read_only(dir.path()).unwrap().last(), Some(at(3)));
        assert_eq!(last_of(&open(dir.path(), None).unwrap()), 3, "{bytes:?}");
        assert_eq!(fs::read(proof(dir.path())).unwrap(), said);
    }
}

/// What a power cut may leave: the proof was safe, what was written since was not.
#[test]
fn an_older_proof_proves_what_it_says_and_no_more() {
    let dir = folder();
    killed(dir.path(), &[&first(3)]);
    let older = fs::read(proof(dir.path())).unwrap();
    let mut journal = open(dir.path(), None).unwrap();
    journal.append(&following(journal.tip(), 2, 40)).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (path, ends) = (log(dir.path(), 1), frames(&first(3)));
    let bytes = fs::read(&path).unwrap();
    fs::write(proof(dir.path()), &older).unwrap();
    fs::write(&path, &bytes[..ends[3] - 1]).unwrap();
    assert_eq!(damage(open(dir.path(), None)).position, 3);
    let torn = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    fs::write(&path, &bytes[..torn]).unwrap();
    goes_on(dir.path(), 4);
}

/// The proof is read first. Read last, it would speak of commits that the reader has not looked for.
#[test]
fn a_writer_that_goes_on_meanwhile_is_no_damage_to_a_reader() {
    for opened in ["proof", ".log"] {
        let dir = folder();
        let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, 1_500).unwrap();
        journal.append(&first(3)).unwrap();
        journal.sync().unwrap();
        let journal = Mutex::new(Some(journal));
        let spy = Spy::asking(move |operation, name| {
            if operation == "open"
                && name.ends_with(opened)
                && let Some(mut journal) = journal.lock().unwrap().take()
            {
                for commit in following(journal.tip(), 5, 40) {
                    journal.append(&[commit]).unwrap();
                    journal.sync().unwrap();
                }
            }
            Ok(())
        });
        let reader = FileReader::open_read_only_on(spy.disk(), dir.path()).unwrap();
        assert!(Some(at(3)) <= reader.last(), "{opened}");
        reader.verify(|_| {}).unwrap();
    }
}
