//! A large snapshot is stored in pieces. Is it whole?

use hapax::index::{Index, SledIndex};
use hapax::{Snapshot, Version};

use crate::commits::{Commits, ID, state};
use crate::common::folder::copy_folder;
use crate::folder::sled_in;

#[test]
fn pieces_that_are_not_all_there_are_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut entries = Commits::of(1, 1).entries();
    let aggregate = entries[0].aggregate.clone();
    entries[0].snapshot = Some(Snapshot { version: Version(1), fold: 1, state: state(100_000) });
    SledIndex::open(dir.path(), ID).unwrap().index.note(&entries).unwrap();

    let copy = tempfile::tempdir().unwrap();
    for damage in [None, Some([0xff; 6 * 1024])] {
        let copy = copy.path().join(if damage.is_none() { "gone" } else { "other" });
        copy_folder(dir.path(), &copy);
        {
            let db = sled_in(&copy);
            let pieces = db.open_tree("snapshot_pieces").unwrap();
            let keys: Vec<_> = pieces.iter().keys().map(Result::unwrap).collect();
            assert_eq!(keys.len(), 100_000_usize.div_ceil(6 * 1024));
            match damage {
                None => pieces.remove(&keys[7]).unwrap(),
                Some(bytes) => pieces.insert(&keys[7], &bytes[..]).unwrap(),
            };
            // So that it is believed.
            db.open_tree("commands").unwrap().clear().unwrap();
            db.open_tree("heads").unwrap().clear().unwrap();
        }
        let opened = SledIndex::open(&copy, ID).unwrap();
        assert_eq!(opened.doubt, None);
        assert_eq!(opened.index.snapshot(&aggregate).unwrap(), None);
        opened.index.note(&entries).unwrap();
    }
}

#[test]
fn pieces_of_an_older_snapshot_are_removed() {
    for (bytes, pieces) in [(50_000, 9), (10, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let mut entries = Commits::of(2, 1).entries();
        entries[0].snapshot = Some(Snapshot { version: Version(1), fold: 1, state: state(100_000) });
        entries[1].snapshot = Some(Snapshot { version: Version(2), fold: 1, state: state(bytes) });
        SledIndex::open(dir.path(), ID).unwrap().index.note(&entries).unwrap();
        let db = sled_in(dir.path());
        assert_eq!(db.open_tree("snapshot_pieces").unwrap().len(), pieces);
    }
}
