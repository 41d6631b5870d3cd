//! What a store does to its disk, in which order, and what happens when the disk says no; and that it is alone.

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::{Journal, SEGMENT_BYTES_MAX};
use hapax::store::file::{FileReader, FileStore, OpenError};
use hapax::store::{AppendError, CommitReader, EventStore, Tip};

use super::commits::{STORE, at, first, following};
use super::disk::Spy;
use super::{HEAD, folder, frames, goes_on, log, open, segments, written};

#[test]
fn there_is_one_writer() {
    let dir = folder();
    assert!(matches!(FileReader::open_read_only(dir.path()), Err(OpenError::Absent { .. })));
    let (store, _) = FileStore::open(dir.path(), STORE, None).unwrap();
    assert!(matches!(FileStore::open(dir.path(), STORE, None), Err(OpenError::Locked { .. })));
    let reader = FileReader::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.id(), STORE);
    assert!(reader.writer_is_running().unwrap());
    drop(store);
    assert!(!reader.writer_is_running().unwrap());
    FileStore::open(dir.path(), STORE, None).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn open_on(spy: &Spy, dir: &Path, segment_bytes_max: u64) -> FileStore {
    FileStore::open_on(spy.disk(), dir, STORE, None, segment_bytes_max).unwrap().0
}

#[test]
fn nothing_is_durable_after_a_failed_write_or_fsync_and_nothing_is_tried_again() {
    let failing = [("write", ".log"), ("sync_data", ".log"), ("write", "proof")];
    // A lone commit is written here, more than one by the thread.
    for ((operation, suffix), size) in failing.into_iter().flat_map(|failing| [(failing, 1), (failing, 2)]) {
        let dir = folder();
        let spy = Spy::failing(operation, suffix, 2);
        let mut store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
        let commits = first(6);
        let (mut groups, last) = (commits.chunks(size), at(size as u64));
        let mut next = || groups.next().expect("there are three").to_vec();
        store.append(next());
        assert_eq!(block_on(store.durable()).unwrap().get(), last);
        store.append(next());
        let error = block_on(store.durable()).unwrap_err();
        assert!(matches!(&error, AppendError::Io { path, .. } if path.ends_with(suffix)), "{error}");
        let tried = spy.count(operation);
        store.append(next());
        block_on(store.durable()).unwrap_err();
        assert_eq!(store.reader().last(), Some(last));
        drop(store);
        assert_eq!(spy.count(operation), tried, "nothing is tried again");
    }
}

#[test]
fn nothing_is_durable_any_more_when_the_thread_has_panicked() {
    let dir = folder();
    let spy = Spy::asking(|operation, name| {
        assert!(operation != "sync_data" || !name.ends_with(".log"), "a bug");
        Ok(())
    });
    let mut store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
    let commits = first(3);
    store.append(commits[..2].to_vec());
    assert!(matches!(block_on(store.durable()), Err(AppendError::Stopped)));
    store.append(commits[2..].to_vec());
    assert!(matches!(block_on(store.durable()), Err(AppendError::Stopped)));
    assert_eq!(store.reader().last(), None);
}

/// The next one of an fsync that has failed may lie.
#[test]
fn a_failed_fsync_of_the_proof_is_as_final() {
    for step in [Journal::state_synced, Journal::sync_proof] {
        let dir = folder();
        let spy = Spy::failing("sync_data", "proof", 1);
        let mut journal = Journal::open(spy.disk(), dir.path(), STORE, None, SEGMENT_BYTES_MAX).unwrap();
        let commits = first(2);
        journal.append(&commits[..1]).unwrap();
        journal.sync().unwrap();
        assert!(matches!(step(&mut journal), Err(AppendError::Io { path, .. }) if path.ends_with("proof")));
        let tried = spy.count("");
        assert!(journal.append(&commits[1..]).is_err() && journal.sync().is_err());
        assert!(journal.state_synced().is_err() && journal.sync_proof().is_err());
        assert_eq!((journal.reader().last(), spy.count("")), (Some(at(1)), tried), "nothing is tried again");
        drop(journal);
        goes_on(dir.path(), 1);
    }
}

#[test]
fn a_failed_roll_is_as_final_and_loses_nothing() {
    let failing = [
        ("create", ".idx.new", 1),
        ("write", ".idx.new", 1),
        ("sync_data", ".idx.new", 1),
        ("rename", ".idx", 1),
        // Opening is the first, the segment's name the second, the offsets' name the third.
        ("sync_dir", "", 2),
        ("sync_dir", "", 3),
        ("create", ".log.new", 1),
        ("write", ".log.new", 1),
        ("sync_data", ".log.new", 1),
        ("rename", ".log", 1),
        ("write", "4.log", 1),
    ];
    for (operation, suffix, nth) in failing {
        let dir = folder();
        // The first segment of all is made before.
        drop(open(dir.path(), None).unwrap());
        let spy = Spy::failing(operation, suffix, nth);
        let mut journal = Journal::open(spy.disk(), dir.path(), STORE, None, 1_000).unwrap();
        let commits = first(4);
        journal.append(&commits[..3]).unwrap();
        journal.sync().unwrap();
        let result = journal.append(&commits[3..]).and_then(|()| journal.sync().map(|_| ()));
        assert!(matches!(result, Err(AppendError::Io { .. })), "{operation} {suffix} {nth}");
        assert!(journal.sync().is_err() && journal.append(&[]).is_err() && journal.state_synced().is_err());
        assert_eq!(journal.reader().last(), Some(at(3)));
        drop(journal);
        goes_on(dir.path(), 3);
    }
}

/// A segment is safe, with its name, before a commit in it is called durable; and all before it is safe before that.
#[test]
fn a_roll_is_safe_step_by_step() {
    let dir = folder();
    let spy = Spy::new();
    let mut journal = Journal::open(spy.disk(), dir.path(), STORE, None, 1_000).unwrap();
    let commits = first(5);
    journal.append(&commits[..2]).unwrap();
    journal.append(&commits[2..3]).unwrap();
    journal.sync().unwrap();
    spy.take();
    journal.append(&commits[3..]).unwrap();
    journal.sync().unwrap();
    let done: Vec<String> = spy.take().into_iter().map(|done| done.replace("0000000000000000000", "")).collect();
    let dir_name = dir.path().file_name().unwrap().to_str().unwrap();
    let sync_dir = format!("sync_dir {dir_name}");
    let expected = [
        "create 4.log.new",
        "write 4.log.new",
        "sync_data 4.log.new",
        "rename 4.log",
        &sync_dir,
        // Not before: offsets beside a segment prove that another one followed it.
        "create 1.idx.new",
        "write 1.idx.new",
        "sync_data 1.idx.new",
        "rename 1.idx",
        &sync_dir,
        "write 4.log",
        "sync_data 4.log",
        // Not before: it would say too much.
        "write proof",
    ];
    assert_eq!(done, expected);
}

/// The figures are those of `journal`. A segment that is full has no zeros: whoever reads it expects frames to its end.
#[test]
fn a_small_group_prepares_the_file_for_those_behind_it() {
    const PREPARED: u64 = 128 * 1024;
    const SEGMENT: u64 = 1024 * 1024;
    let dir = folder();
    let path = log(dir.path(), 1);
    let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, SEGMENT).unwrap();
    let mut append = |count, bytes| {
        let commits = following(journal.tip(), count, bytes);
        journal.append(&commits).unwrap();
        journal.sync().unwrap();
        (fs::metadata(&path).unwrap().len(), written(&path).len() as u64)
    };
    let (length, end) = append(1, 100);
    assert_eq!(length, end + PREPARED);
    assert_eq!(append(1, 100).0, length, "what is there is overwritten");
    let (longer, end) = append(1, 200_000);
    assert_eq!(longer, end, "a large group goes down as it is");
    while segments(dir.path()).len() == 1 {
        append(1, 1_000);
    }
    let (length, end) = append(1, 1_000);
    assert!(SEGMENT <= length);
    assert_eq!(length, end, "frames to the end");
    FileReader::open_read_only(dir.path()).unwrap().verify(|_| {}).unwrap();
}

#[test]
fn what_gathers_during_an_fsync_goes_down_with_the_next() {
    let dir = folder();
    let (entered, entering) = channel();
    let (let_go, going) = channel::<()>();
    let going = Mutex::new(going);
    let spy = Spy::asking(move |operation, name| {
        if operation == "sync_data" && name.ends_with(".log") {
            entered.send(()).unwrap();
            let _ = going.lock().unwrap().recv();
        }
        Ok(())
    });
    let mut store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
    let commits = first(100);
    store.append(commits[..2].to_vec());
    entering.recv().unwrap();
    for commit in &commits[2..] {
        store.append(vec![commit.clone()]);
    }
    assert_eq!(store.reader().last(), None, "nothing is durable while the first fsync is under way");
    spy.take();
    let_go.send(()).unwrap();
    entering.recv().unwrap();
    let_go.send(()).unwrap();
    while block_on(store.durable()).unwrap().get() < at(100) {}
    assert_eq!(spy.take().iter().filter(|done| *done == "write 00000000000000000001.log").count(), 1);
    drop(let_go);
}

/// Whoever appends it has nothing else to do; more than one are the thread's.
#[test]
fn a_lone_commit_is_durable_when_append_returns() {
    let (dir, commits) = (folder(), first(3));
    let (wrote, writers) = channel();
    let spy = Spy::asking(move |operation, name| {
        if operation == "sync_data" && name.ends_with(".log") {
            wrote.send(std::thread::current().name().map(str::to_owned)).unwrap();
        }
        Ok(())
    });
    let mut store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
    let this_thread = std::thread::current().name().map(str::to_owned);
    store.append(commits[..1].to_vec());
    assert_eq!((store.reader().last(), writers.try_recv().unwrap()), (Some(at(1)), this_thread));
    assert_eq!(block_on(store.durable()).unwrap().get(), at(1));
    assert_eq!(writers.recv().unwrap().as_deref(), Some("journal"), "nothing has followed: that is stated");
    store.append(commits[1..].to_vec());
    assert_eq!(block_on(store.durable()).unwrap().get(), at(3));
    assert_eq!(writers.recv().unwrap().as_deref(), Some("journal"));
}

#[test]
fn an_idle_store_states_what_is_durable() {
    let dir = folder();
    let (synced, syncs) = channel();
    let spy = Spy::asking(move |operation, name| {
        if operation == "sync_data" && name.ends_with(".log") {
            let _ = synced.send(());
        }
        Ok(())
    });
    let mut store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
    store.append(first(1));
    block_on(store.durable()).unwrap();
    syncs.recv().unwrap();
    syncs.recv().unwrap(); // Nothing was appended since: this is the statement's.
    let bytes = fs::read(log(dir.path(), 1)).unwrap();
    assert_eq!(written(&log(dir.path(), 1)).len(), frames(&first(1))[1] + HEAD);
    drop(store);
    assert_eq!(fs::read(log(dir.path(), 1)).unwrap(), bytes, "it is stated once");
}

/// What was called durable before is then proven to whoever finds the journal without its end, after a power cut too.
#[test]
fn the_proof_is_made_safe_when_the_journal_is_idle() {
    let dir = folder();
    let spy = Spy::new();
    let mut journal = Journal::open(spy.disk(), dir.path(), STORE, None, SEGMENT_BYTES_MAX).unwrap();
    journal.append(&first(1)).unwrap();
    journal.sync().unwrap();
    spy.take();
    journal.state_synced().unwrap();
    let name = "00000000000000000001.log";
    assert_eq!(spy.take(), [&format!("write {name}"), &format!("sync_data {name}"), "sync_data proof"]);
}

#[test]
fn the_proof_is_made_safe_when_the_journal_is_never_idle() {
    let dir = folder();
    let spy = Spy::new();
    let mut store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
    let (mut tip, mut done, begun) = (Tip::empty(STORE), Vec::new(), Instant::now());
    let mut append = |store: &mut FileStore| {
        let commits = following(tip, 2, 40); // More than one, so that it is the thread's.
        tip = Tip::of(&commits[1]);
        store.append(commits);
    };
    append(&mut store); // One is always under way, so that the journal finds nothing to be idle for.
    // Behind a commit, and not behind the statement of an idle journal.
    while !done.windows(2).any(|done| done == ["write proof", "sync_data proof"]) {
        assert!(begun.elapsed() < Duration::from_secs(60), "not once a second");
        done.drain(..done.len().saturating_sub(1));
        append(&mut store);
        block_on(store.durable()).unwrap();
        done.extend(spy.take());
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_rewrite() {
    let dir = folder();
    let (mut store, _) = FileStore::open(dir.path(), STORE, None).unwrap();
    store.append(first(50));
    drop(store);
    let spy = Spy::new();
    let store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
    assert_eq!(store.reader().last(), Some(at(50)));
    // The statement at the end is made sure of, in its place, and so is the proof.
    assert_eq!((spy.count("create"), spy.count("write"), spy.count("sync_data")), (0, 2, 2));
}

#[test]
fn a_reader_beside_a_writer_sees_whole_commits_only() {
    let dir = folder();
    let (mut store, _) = FileStore::open_on(Arc::new(OsDisk), dir.path(), STORE, None, 20_000).unwrap();
    let commits = first(400);
    let live = store.reader();
    for group in commits.chunks(5) {
        store.append(group.to_vec());
        let beside = FileReader::open_read_only(dir.path()).unwrap();
        let verified = beside.verify(|_| {}).unwrap();
        assert_eq!(verified.position, beside.last());
        if let Some(last) = live.last() {
            assert_eq!(live.get(last).unwrap().hash, commits[last.get() as usize - 1].hash);
        }
    }
}
