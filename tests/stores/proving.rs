//! The proof beside the segments: what it shows to be missing, and what is wrong with it itself.

use std::fs;
use std::sync::Arc;

use hapax::Commit;
use hapax::store::file::FileReader;
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::{Journal, SEGMENT_BYTES_MAX};
use hapax::store::{CommitReader, StoreId, Tip};

use super::commits::{STORE, at, first, following};
use super::{HEADER, damage, folder, frames, goes_on, killed, last_of, log, open, proof};

/// Without a checkpoint and without a feed: what was promised before a kill is missed, wherever the journal is cut.
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
fn a_proof_that_is_damaged_old_or_of_another_store_proves_nothing() {
    let (dir, other) = (folder(), folder());
    killed(dir.path(), &[&first(3)]);
    let said = fs::read(proof(dir.path())).unwrap();
    let elsewhere = StoreId { partition: STORE.partition + 1, partitions: STORE.partitions + 1, ..STORE };
    let mut journal = Journal::open(Arc::new(OsDisk), other.path(), elsewhere, None, SEGMENT_BYTES_MAX).unwrap();
    journal.append(&following(Tip::empty(elsewhere), 9, 40)).unwrap();
    journal.sync().unwrap();
    let theirs = fs::read(proof(other.path())).unwrap();
    let flipped = (0..said.len()).map(|offset| {
        let mut bytes = said.clone();
        bytes[offset] ^= 1;
        bytes
    });
    let cut = (0..said.len()).map(|length| said[..length].to_vec());
    let others = [theirs, vec![0; said.len()]];
    for bytes in flipped.chain(cut).chain(others) {
        fs::write(proof(dir.path()), &bytes).unwrap();
        assert_eq!(FileReader::open_read_only(dir.path()).unwrap().last(), Some(at(3)));
        assert_eq!(last_of(&open(dir.path(), None).unwrap()), 3, "{bytes:?}");
        assert_eq!(fs::read(proof(dir.path())).unwrap(), said);
    }
}
