//! The commits of an atomic batch stand or fall together: a group that is torn is cut whole, unless something says that it
//! was durable; then it is damage.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::commits::{STORE, at, commit, first, following};
use super::common::cut_disk::CutDisk;
use super::{HEAD, crashed, damage, flip, folder, frames, goes_on, last_of, log, open, segments, stopped, written};
use hapax::store::file::FileReader;
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::Journal;
use hapax::store::{CommitReader, ReadError, Tip};
use hapax::{CommandName, Commit, Position};

/// The commit of an atomic batch that follows `tip`, and those of its commands behind it.
pub fn group(tip: Tip, commands: u64, bytes: usize) -> Vec<Commit> {
    let head = commit(tip, "_batch", CommandName::RUN, format!(r#"{{"commands":{commands}}}"#));
    let followers = following(Tip::of(&head), commands, bytes);
    [vec![head], followers].concat()
}

/// How many commands the batch of these stories has: it is at the positions 3 to 6, behind two commits.
const COMMANDS: u64 = 3;
const GROUP: Range<usize> = 2..6;

/// Two commits, the group behind them, and behind that two more.
fn story() -> Vec<Commit> {
    let mut commits = first(2);
    commits.extend(group(Tip::of(&commits[1]), COMMANDS, 40));
    commits.extend(following(Tip::of(&commits[5]), 2, 40));
    commits
}

/// Without the group, two commits are left and can be gone on with.
#[track_caller]
fn is_cut_whole(dir: &Path) {
    assert_eq!(FileReader::open_read_only(dir).unwrap().last(), Some(at(2)), "a reader stops before it");
    goes_on(dir, 2);
}

#[test]
fn a_group_torn_at_any_byte_is_cut_whole() {
    let commits = story();
    let ends = frames(&commits);
    let whole = folder();
    crashed(whole.path(), &[&commits[..GROUP.start], &commits[GROUP]]);
    let bytes = written(&log(whole.path(), 1));
    assert_eq!(bytes.len(), ends[GROUP.end]);
    let (start, end) = (ends[GROUP.start], ends[GROUP.end]);
    let cuts = (start..end).step_by(13).chain(GROUP.map(|at| ends[at])).chain(GROUP.map(|at| ends[at + 1] - 1));
    for cut in cuts {
        for zeros in [0, bytes.len() - cut] {
            let dir = folder();
            fs::write(log(dir.path(), 1), [&bytes[..cut], &vec![0; zeros]].concat()).unwrap();
            is_cut_whole(dir.path());
        }
    }
    goes_on(whole.path(), 6);
}

/// The pages of one write survive in any order: what is valid behind the damaged frame belongs to the group, or to what was
/// written with it, and goes with it.
#[test]
fn a_group_with_damage_in_any_frame_is_cut_whole() {
    let commits = story();
    let ends = frames(&commits);
    for upto in [GROUP.end, commits.len()] {
        for frame in GROUP {
            for offset in [ends[frame], ends[frame] + 4, ends[frame] + HEAD + 1] {
                let dir = folder();
                crashed(dir.path(), &[&commits[..GROUP.start], &commits[GROUP.start..upto]]);
                flip(&log(dir.path(), 1), offset);
                is_cut_whole(dir.path());
            }
        }
    }
}

/// A reader that does not know a flag takes the frame as unreadable; so does one that knows it and finds it changed.
#[test]
fn a_changed_flag_is_a_torn_frame() {
    let commits = story();
    let ends = frames(&commits);
    let dir = folder();
    crashed(dir.path(), &[&commits[..GROUP.start], &commits[GROUP]]);
    let path = log(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let flags = GROUP.map(|frame| bytes[ends[frame] + 3]);
    assert_eq!(flags.collect::<Vec<_>>(), [1, 1, 1, 0], "every frame but the last one says that its group goes on");
    bytes[ends[GROUP.start] + 3] = 0;
    fs::write(&path, bytes).unwrap();
    is_cut_whole(dir.path());
}

#[test]
fn damage_behind_a_group_leaves_it_alone() {
    let commits = story();
    let ends = frames(&commits);
    let dir = folder();
    crashed(dir.path(), &[&commits[..GROUP.start], &commits[GROUP.start..]]);
    flip(&log(dir.path(), 1), ends[GROUP.end] + 4);
    goes_on(dir.path(), 6);
}

#[test]
fn a_torn_group_that_was_durable_is_damage_and_the_torn_frame_is_named() {
    let commits = story();
    let ends = frames(&commits);
    for frame in GROUP {
        let named = (ends[frame] as u64, frame as u64 + 1);
        let (by_frame, by_statement, by_checkpoint) = (folder(), folder(), folder());
        crashed(by_frame.path(), &[&commits[..GROUP.start], &commits[GROUP], &commits[GROUP.end..]]);
        stopped(by_statement.path(), &[&commits[..GROUP.start], &commits[GROUP]]);
        crashed(by_checkpoint.path(), &[&commits[..GROUP.start], &commits[GROUP]]);
        for (dir, proven) in [(by_frame, None), (by_statement, None), (by_checkpoint, Some(6))] {
            let path = log(dir.path(), 1);
            flip(&path, ends[frame] + 4);
            let before = fs::read(&path).unwrap();
            let found = damage(open(dir.path(), proven));
            assert_eq!((found.offset, found.position), named, "{found}");
            assert_eq!(fs::read(&path).unwrap(), before, "nothing was repaired");
        }
        // The file ends inside the group.
        let dir = folder();
        crashed(dir.path(), &[&commits[..GROUP.start], &commits[GROUP]]);
        let bytes = fs::read(log(dir.path(), 1)).unwrap();
        fs::write(log(dir.path(), 1), &bytes[..ends[frame]]).unwrap();
        let found = damage(open(dir.path(), Some(6)));
        assert_eq!((found.offset, found.position), named, "{found}");
        assert_eq!(last_of(&open(dir.path(), Some(2)).unwrap()), 2);
    }
}

/// More than the buffer holds is written in several pieces, and the process may be killed in or behind any of them; then
/// the power may go, or not.
#[test]
fn a_group_of_several_writes_is_there_as_a_whole_or_not_at_all() {
    let mut lasts = BTreeSet::new();
    for (deaths, power_cut) in (0..6).flat_map(|deaths| [(deaths, false), (deaths, true)]) {
        let disk = CutDisk::default();
        let open = || Journal::open(Arc::new(disk.clone()), Path::new("journal"), STORE, None, 1 << 30).unwrap();
        let mut journal = open();
        journal.append(&first(2)).unwrap();
        journal.sync().unwrap();
        let before = disk.happened().writes;
        disk.die_after(Some(deaths));
        let written = journal.append(&group(journal.tip(), 12, 1_000_000)).and_then(|()| journal.sync());
        assert!(written.is_err() || disk.happened().writes - before == 4, "three pieces and the proof");
        drop(journal);
        disk.die_after(None);
        if power_cut {
            disk.cut(deaths as u64);
        }
        let last = last_of(&open());
        assert!(written.is_err() || last == 15, "what was called durable is there");
        lasts.insert(last);
    }
    assert_eq!(lasts, BTreeSet::from([2, 15]));
}

/// A segment has no tail to be cut but the last one, so a group must lie in one.
#[test]
fn a_segment_never_begins_inside_a_group() {
    let dir = folder();
    let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, 0).unwrap();
    for _ in 0..3 {
        journal.append(&following(journal.tip(), 1, 40)).unwrap();
        journal.append(&group(journal.tip(), COMMANDS, 40)).unwrap();
        journal.sync().unwrap();
        journal.append(&group(journal.tip(), COMMANDS, 40)).unwrap();
        journal.sync().unwrap();
    }
    let begins = segments(dir.path());
    assert_eq!(begins, [1, 6, 10, 15, 19, 24], "each where a write begins");
    let heads = begins.iter().map(|begin| journal.reader().get(at(*begin)).unwrap().followers);
    assert_eq!(heads.collect::<Vec<_>>(), [0, 3, 0, 3, 0, 3], "with a commit of its own or with a whole group");
    drop(journal);
    let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, 1_000_000).unwrap();
    // More than the buffer holds, so that the segment is full before the group is all there.
    journal.append(&group(journal.tip(), 20, 300_000)).unwrap();
    journal.sync().unwrap();
    assert_eq!(segments(dir.path()), begins);
    journal.append(&following(journal.tip(), 1, 40)).unwrap();
    assert_eq!(segments(dir.path()).last(), Some(&49));
    let durable = journal.sync().unwrap().map(|durable| durable.get());
    assert_eq!(journal.reader().verify(|_| {}).unwrap().position, durable);
}

/// Gives a frame other flags, and the checksum that belongs to them.
fn set_flags(bytes: &mut [u8], frame: Range<usize>, flags: u8) {
    bytes[frame.start + 3] = flags;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[frame.start + 3..frame.start + 8]);
    hasher.update(&bytes[frame.start + 12..frame.end]);
    bytes[frame.start + 8..frame.start + 12].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// What `verify` says of a store that is open while its file changes.
fn verified(commits: &[Commit], change: impl FnOnce(&mut Vec<u8>, &[usize])) -> (u64, String) {
    let dir = folder();
    stopped(dir.path(), &[&commits[..GROUP.start], &commits[GROUP.start..]]);
    let reader = FileReader::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.verify(|_| {}).unwrap().position, Position::new(commits.len() as u64));
    let mut bytes = fs::read(log(dir.path(), 1)).unwrap();
    change(&mut bytes, &frames(commits));
    fs::write(log(dir.path(), 1), bytes).unwrap();
    let ReadError::Damage(found) = reader.verify(|_| {}).unwrap_err() else { panic!("not damage") };
    (found.position, found.what)
}

#[test]
fn verify_finds_a_frame_that_contradicts_its_commit() {
    let commits = story();
    for frame in 0..commits.len() {
        let (position, what) = verified(&commits, |bytes, ends| {
            let flags = bytes[ends[frame] + 3] ^ 1;
            set_flags(bytes, ends[frame]..ends[frame + 1], flags);
        });
        assert_eq!(position, frame as u64 + 1);
        assert!(what.contains("group"), "{what}");
    }
}

#[test]
fn verify_finds_a_group_that_is_not_complete() {
    let dir = folder();
    let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, 0).unwrap();
    let mut commits = Vec::new();
    for step in [|tip| following(tip, 1, 40), |tip| group(tip, COMMANDS, 40), |tip| following(tip, 1, 40)] {
        let next = step(journal.tip());
        journal.append(&next).unwrap();
        journal.sync().unwrap();
        commits.push(next);
    }
    assert_eq!(segments(dir.path()), [1, 2, 6]);
    let bytes = fs::read(log(dir.path(), 2)).unwrap();
    fs::write(log(dir.path(), 2), &bytes[..frames(&commits[1])[COMMANDS as usize]]).unwrap();
    let ReadError::Damage(found) = journal.reader().verify(|_| {}).unwrap_err() else { panic!("not damage") };
    let what = "the atomic batch at position 2 does not end: 1 of its commits are missing";
    assert_eq!((found.position, &found.what[..]), (5, what));
}
