//! The same cases over every index, and what only the one in sled can get wrong: checkpoints, damage, and being opened
//! again.

mod common;
#[path = "indexes/commits.rs"]
mod commits;
#[path = "indexes/folder.rs"]
mod folder;
#[path = "indexes/checkpoint.rs"]
mod checkpoint;
#[path = "indexes/snapshots.rs"]
mod snapshots;
#[path = "indexes/damage.rs"]
mod damage;

use commits::{Commits, ID, assert_holds, position, state};
use hapax::index::{Index, IndexError, MemoryIndex, SledIndex};
use hapax::{Entry, Snapshot, Version};

/// The cases that every index must pass, each with an empty one.
mod cases {
    use super::*;

    pub(super) fn an_empty_index_knows_nothing(index: &impl Index) {
        let commits = Commits::of(1, 1);
        let command = &commits.0[0].command;
        assert_eq!(index.position_of(&command.identity).unwrap(), None);
        assert_eq!(index.head(&command.aggregate).unwrap(), None);
        assert_eq!(index.snapshot(&command.aggregate).unwrap(), None);
    }

    pub(super) fn what_is_noted_is_found(index: &impl Index) {
        let commits = Commits::of(1_000, 30);
        commits.entries().chunks(64).for_each(|chunk| index.note(chunk).unwrap());
        assert_holds(index, &commits);
    }

    pub(super) fn noting_again_changes_nothing(index: &impl Index) {
        let commits = Commits::of(300, 10);
        let entries = commits.entries();
        index.note(&entries).unwrap();
        // From somewhere in the middle, as after a crash; its heads are older than those that are there.
        index.note(&entries[100..200]).unwrap();
        index.note(&entries[..1]).unwrap();
        assert_holds(index, &commits);
    }

    pub(super) fn a_known_command_keeps_its_position(index: &impl Index) {
        let commits = Commits::of(10, 2);
        index.note(&commits.entries()).unwrap();
        let mut again = Entry::of(&commits.0[3]);
        again.position = position(11);
        again.changed_to = None;
        assert!(matches!(index.note(&[again]), Err(IndexError::Disagrees(_))));
        assert_holds(index, &commits);
    }

    /// More than share a page.
    pub(super) fn every_known_command_keeps_its_position(index: &impl Index) {
        let commits = Commits::of(900, 30);
        index.note(&commits.entries()).unwrap();
        for mut again in commits.entries() {
            again.position = position(901);
            again.changed_to = None;
            assert!(matches!(index.note(&[again]), Err(IndexError::Disagrees(_))));
        }
        assert_holds(index, &commits);
    }

    pub(super) fn a_position_left_out_is_an_error(index: &impl Index) {
        let entries = Commits::of(10, 2).entries();
        index.note(&entries[..3]).unwrap();
        assert!(matches!(index.note(&entries[4..]), Err(IndexError::Disagrees(_))), "4 is left out");
        assert!(matches!(index.note(&[entries[3].clone(), entries[5].clone()]), Err(IndexError::Disagrees(_))));
        index.note(&entries[3..]).unwrap();
    }

    pub(super) fn a_version_that_goes_back_is_an_error(index: &impl Index) {
        let commits = Commits::of(4, 1);
        let mut entries = commits.entries();
        index.note(&entries[..3]).unwrap();
        entries[3].changed_to = entries[2].changed_to;
        assert!(matches!(index.note(&entries[3..]), Err(IndexError::Disagrees(_))));
        assert_holds(index, &commits.upto(3));
    }

    pub(super) fn a_rejection_has_no_head(index: &impl Index) {
        let mut entry = Commits::of(1, 1).entries().remove(0);
        (entry.changed_to, entry.event_count) = (None, 0);
        index.note(std::slice::from_ref(&entry)).unwrap();
        assert_eq!(index.position_of(&entry.identity).unwrap(), Some(entry.position));
        assert_eq!(index.head(&entry.aggregate).unwrap(), None);
    }

    pub(super) fn the_newest_snapshot_is_found(index: &impl Index) {
        let mut entries = Commits::of(20, 1).entries();
        let aggregate = entries[0].aggregate.clone();
        // Small, in pieces, in more pieces, in fewer, exactly one piece, one byte more, empty.
        for (n, bytes) in [100, 70_000, 3_000_000, 20_000, 6 * 1024, 6 * 1024 + 1, 0].into_iter().enumerate() {
            let snapshot = Snapshot { version: Version(n as u64 + 1), fold: 3, state: state(bytes) };
            entries[n].snapshot = Some(snapshot.clone());
            index.note(&entries[n..=n]).unwrap();
            assert_eq!(index.snapshot(&aggregate).unwrap(), Some(snapshot));
        }
        index.note(&entries[1..3]).unwrap();
        assert_eq!(index.snapshot(&aggregate).unwrap().unwrap().version, Version(7), "an older one, noted again");
    }

    pub(super) fn neighbours_have_their_own_snapshots(index: &impl Index) {
        let mut entries = Commits::of(2, 2).entries();
        for (entry, name) in entries.iter_mut().zip(["account/12", "account/1"]) {
            entry.aggregate = name.parse().unwrap();
            entry.snapshot = Some(Snapshot { version: Version(1), fold: 1, state: state(40_000) });
        }
        index.note(&entries).unwrap();
        entries.iter().for_each(|entry| assert_eq!(index.snapshot(&entry.aggregate).unwrap(), entry.snapshot));
    }
}

macro_rules! contract {
    ($($case:ident)*) => {
        mod memory {
            $(#[test]
            fn $case() {
                super::cases::$case(&super::MemoryIndex::new());
            })*
        }
        mod sled {
            $(#[test]
            fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::cases::$case(&super::SledIndex::open(dir.path(), super::ID).unwrap().index);
            })*
        }
    };
}

contract! {
    an_empty_index_knows_nothing
    what_is_noted_is_found
    noting_again_changes_nothing
    a_known_command_keeps_its_position
    every_known_command_keeps_its_position
    a_position_left_out_is_an_error
    a_version_that_goes_back_is_an_error
    a_rejection_has_no_head
    the_newest_snapshot_is_found
    neighbours_have_their_own_snapshots
}
