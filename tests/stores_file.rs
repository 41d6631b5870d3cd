//! What only the file store promises: what is a torn tail and what is damage, one writer, segments, group commit.

#[path = "stores/commits.rs"]
mod commits;
#[path = "stores/disk.rs"]
mod disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use commits::{STORE, at, first, following};
use disk::Spy;
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::{Journal, SEGMENT_BYTES_MAX};
use hapax::store::file::{FileReader, FileStore, OpenError, store_id};
use hapax::store::{AppendError, CommitReader, Damage, EventStore, ReadError, StoreId, Tip};
use hapax::{Commit, Position};

/// Bytes of a segment's header.
const HEADER: usize = 96;
/// Bytes of a frame before its JSON.
const HEAD: usize = 52;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn log(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

fn idx(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.idx"))
}

fn open(dir: &Path, proven: Option<u64>) -> Result<Journal, OpenError> {
    Journal::open(Arc::new(OsDisk), dir, STORE, proven.map(at), SEGMENT_BYTES_MAX)
}

/// Groups of commits, each made durable before the next is written, and then the process is gone: nothing states the
/// last group.
fn crashed(dir: &Path, groups: &[&[Commit]]) {
    let mut journal = open(dir, None).unwrap();
    for group in groups {
        journal.append(group).unwrap();
        journal.sync().unwrap();
    }
}

/// The same with a clean stop.
fn stopped(dir: &Path, groups: &[&[Commit]]) {
    crashed(dir, groups);
    let mut journal = open(dir, None).unwrap();
    journal.state_synced().unwrap();
}

/// A store of several segments.
fn segmented(dir: &Path, count: u64) -> Vec<Commit> {
    let commits = first(count);
    let mut journal = Journal::open(Arc::new(OsDisk), dir, STORE, None, 1_500).unwrap();
    for commit in &commits {
        journal.append(std::slice::from_ref(commit)).unwrap();
        journal.sync().unwrap();
    }
    journal.state_synced().unwrap();
    commits
}

fn segments(dir: &Path) -> Vec<u64> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut firsts: Vec<u64> = names.filter_map(|name| name.strip_suffix(".log").map(|n| n.parse().unwrap())).collect();
    firsts.sort_unstable();
    firsts
}

fn last_of(journal: &Journal) -> u64 {
    journal.tip().position.map_or(0, Position::get)
}

#[track_caller]
fn damage<T>(result: Result<T, OpenError>) -> Damage {
    match result {
        Ok(_) => panic!("opened"),
        Err(OpenError::Damage(damage)) => damage,
        Err(error) => panic!("{error}"),
    }
}

/// What is there can be gone on with, and all of it holds.
#[track_caller]
fn goes_on(dir: &Path, last: u64) {
    let mut journal = open(dir, None).unwrap();
    assert_eq!(last_of(&journal), last);
    journal.append(&following(journal.tip(), 2, 40)).unwrap();
    assert_eq!(journal.sync().unwrap(), Some(at(last + 2)));
    let tip = journal.tip();
    drop(journal);
    let reader = FileReader::open_read_only(dir).unwrap();
    assert_eq!(reader.verify(|_| {}).unwrap(), tip);
    assert_eq!(reader.read(at(1)).map(Result::unwrap).count() as u64, last + 2);
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Where each frame begins, and where the last one ends.
fn frames(commits: &[Commit]) -> Vec<usize> {
    let mut ends = vec![HEADER];
    for commit in commits {
        ends.push(ends.last().unwrap() + HEAD + commit.json().len());
    }
    ends
}

/// The format is for ever. The checksum was computed by another program.
#[test]
fn a_header_is_these_bytes() {
    let dir = folder();
    let store = uuid::Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
    let id = StoreId { store, partition: 3, partitions: 4 };
    drop(Journal::open(Arc::new(OsDisk), dir.path(), id, None, 0).unwrap());
    let bytes = fs::read(log(dir.path(), 1)).unwrap();
    let text: String = bytes[..60].iter().map(|byte| format!("{byte:02x}")).collect();
    let store_text = "000102030405060708090a0b0c0d0e0f";
    assert_eq!(
        text,
        format!(
            "68617061786c6f67{}{}{}{store_text}{}000000000000000000{}",
            "01000000", "03000000", "04000000", "666e7631613332", "0100000000000000"
        )
    );
    assert_eq!(bytes.len(), HEADER);
    assert_eq!(bytes[92..], crc32fast::hash(&bytes[..92]).to_le_bytes());
    assert_eq!(store_id(dir.path()).unwrap(), Some(id));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let commits = first(3);
    let ends = frames(&commits);
    let whole = folder();
    crashed(whole.path(), &[&commits[..2], &commits[2..]]);
    let bytes = fs::read(log(whole.path(), 1)).unwrap();
    assert_eq!(bytes.len(), ends[3]);
    for cut in ends[2]..ends[3] {
        for zeros in [0, bytes.len() - cut] {
            let dir = folder();
            fs::write(log(dir.path(), 1), [&bytes[..cut], &vec![0; zeros]].concat()).unwrap();
            let reader = FileReader::open_read_only(dir.path()).unwrap();
            assert_eq!(reader.last(), Some(at(2)), "a reader stops before it");
            goes_on(dir.path(), 2);
        }
    }
    goes_on(whole.path(), 3);
}

#[test]
fn a_changed_bit_before_what_is_durable_is_damage_wherever_it_is() {
    let commits = first(3);
    let ends = frames(&commits);
    let whole = folder();
    stopped(whole.path(), &[&commits[..1], &commits[1..]]);
    let bytes = fs::read(log(whole.path(), 1)).unwrap();
    assert_eq!(bytes.len(), ends[3] + HEAD, "the clean stop is stated");
    let dir = folder();
    let path = log(dir.path(), 1);
    for offset in 0..ends[3] {
        fs::write(&path, &bytes).unwrap();
        flip(&path, offset);
        let frame = ends.iter().rposition(|end| *end <= offset);
        let found = damage(open(dir.path(), None));
        assert_eq!(found.file, path.display().to_string());
        assert_eq!(found.offset, frame.map_or(0, |frame| ends[frame] as u64), "{found}");
        assert_eq!(found.position, frame.map_or(1, |frame| frame as u64 + 1), "{found}");
        assert_eq!(fs::read(&path).unwrap().len(), bytes.len(), "nothing was repaired");
        damage(FileReader::open_read_only(dir.path()));
    }
    // The statement itself promises nothing that the frames do not hold.
    for offset in ends[3]..bytes.len() {
        fs::write(&path, &bytes).unwrap();
        flip(&path, offset);
        assert_eq!(last_of(&open(dir.path(), None).unwrap()), 3);
    }
}

#[test]
fn a_checkpoint_tells_damage_from_a_torn_tail() {
    let commits = first(3);
    let ends = frames(&commits);
    let dir = folder();
    crashed(dir.path(), &[&commits[..2], &commits[2..]]);
    flip(&log(dir.path(), 1), ends[2] + 60);
    let found = damage(open(dir.path(), Some(3)));
    assert_eq!((found.offset, found.position), (ends[2] as u64, 3));
    assert_eq!(last_of(&open(dir.path(), Some(2)).unwrap()), 2);
}

/// The pages of one unsynced write survive in any order, so a valid frame behind an invalid one proves nothing by being
/// there.
#[test]
fn valid_frames_of_an_unsynced_group_do_not_make_its_torn_one_damage() {
    let commits = first(5);
    let ends = frames(&commits);
    let dir = folder();
    crashed(dir.path(), &[&commits[..2], &commits[2..]]);
    flip(&log(dir.path(), 1), ends[2] + 4);
    goes_on(dir.path(), 2);
}

#[test]
fn a_group_behind_it_makes_a_torn_frame_damage() {
    let commits = first(4);
    let ends = frames(&commits);
    let dir = folder();
    crashed(dir.path(), &[&commits[..3], &commits[3..]]);
    // Its length is damaged: only the marker leads to the frame behind it.
    flip(&log(dir.path(), 1), ends[1] + 6);
    assert_eq!(damage(open(dir.path(), None)).position, 2);
}

#[test]
fn a_store_behind_what_is_known_to_be_durable_is_damage() {
    let dir = folder();
    assert_eq!(damage(open(dir.path(), Some(1))).position, 1);
    assert!(segments(dir.path()).is_empty(), "no new store where one was lost");
    stopped(dir.path(), &[&first(3)]);
    let found = damage(open(dir.path(), Some(4)));
    assert_eq!(found.position, 4);
    assert!(found.to_string().contains("position 4 was synced"), "{found}");
    assert_eq!(last_of(&open(dir.path(), Some(3)).unwrap()), 3);
}

#[test]
fn what_is_not_proven_is_rewritten_before_anything_relies_on_it() {
    let dir = folder();
    let commits = first(3);
    crashed(dir.path(), &[&commits]);
    let spy = Spy::new();
    let journal = Journal::open(spy.disk(), dir.path(), STORE, None, SEGMENT_BYTES_MAX).unwrap();
    let name = "00000000000000000001.log";
    let dir_name = dir.path().file_name().unwrap().to_str().unwrap();
    let expected = [
        format!("create {name}.new"),
        format!("write {name}.new"),
        format!("write {name}.new"),
        format!("sync_data {name}.new"),
        format!("rename {name}"),
        format!("sync_dir {dir_name}"),
    ];
    assert_eq!(spy.take(), expected);
    drop(journal);
    drop(Journal::open(spy.disk(), dir.path(), STORE, None, SEGMENT_BYTES_MAX).unwrap());
    assert_eq!(spy.take(), Vec::<String>::new(), "it is proven now");
    goes_on(dir.path(), 3);
}

#[test]
fn what_an_interrupted_step_left_behind_is_removed() {
    let dir = folder();
    fs::write(dir.path().join("00000000000000000001.log.new"), b"half a header").unwrap();
    stopped(dir.path(), &[&first(3)]);
    fs::write(dir.path().join("00000000000000000001.log.new"), b"half a copy").unwrap();
    fs::write(dir.path().join("00000000000000000004.log.new"), b"").unwrap();
    goes_on(dir.path(), 3);
    assert!(fs::read_dir(dir.path()).unwrap().all(|entry| !entry.unwrap().path().ends_with("new")));
}

#[test]
fn segments_are_read_as_one() {
    let dir = folder();
    let commits = segmented(dir.path(), 40);
    assert!(5 < segments(dir.path()).len());
    let reader = FileReader::open_read_only(dir.path()).unwrap();
    let hashes = |commits: &[Commit]| commits.iter().map(|commit| commit.hash).collect::<Vec<_>>();
    for from in 1..=40 {
        let read: Vec<Commit> = reader.read(at(from)).map(Result::unwrap).collect();
        assert_eq!(hashes(&read), hashes(&commits[from as usize - 1..]));
        assert_eq!(reader.get(at(from)).unwrap().hash, commits[from as usize - 1].hash);
    }
    let mut seen = Vec::new();
    assert_eq!(reader.verify(|commit| seen.push(commit.clone())).unwrap(), Tip::of(&commits[39]));
    assert_eq!(hashes(&seen), hashes(&commits));
    goes_on(dir.path(), 40);
}

#[test]
fn offsets_are_made_again() {
    let dir = folder();
    let commits = segmented(dir.path(), 12);
    let path = idx(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let reads = |reader: FileReader| (1..=12).all(|n| reader.get(at(n)).unwrap().hash == commits[n as usize - 1].hash);
    for offset in 0..whole.len() {
        fs::write(&path, &whole).unwrap();
        flip(&path, offset);
        assert!(reads(FileReader::open_read_only(dir.path()).unwrap()), "{offset}");
        assert!(reads(open(dir.path(), None).unwrap().reader()), "{offset}");
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(reads(FileReader::open_read_only(dir.path()).unwrap()), "{length}");
    }
    fs::remove_file(&path).unwrap();
    assert!(reads(FileReader::open_read_only(dir.path()).unwrap()));
    assert!(!path.exists(), "a reader writes nothing");
    assert!(reads(open(dir.path(), None).unwrap().reader()));
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn a_lost_segment_is_damage() {
    let whole = folder();
    segmented(whole.path(), 30);
    let firsts = segments(whole.path());
    for lost in &firsts[..firsts.len() - 1] {
        for keeps_offsets in [true, false] {
            let dir = folder();
            for first in firsts.iter().filter(|first| *first != lost) {
                fs::copy(log(whole.path(), *first), log(dir.path(), *first)).unwrap();
                if keeps_offsets {
                    let _ = fs::copy(idx(whole.path(), *first), idx(dir.path(), *first));
                }
            }
            assert_eq!(damage(open(dir.path(), None)).position, *lost);
            damage(FileReader::open_read_only(dir.path()));
        }
    }
    // Nothing in the files says that there was a last one; a checkpoint does.
    let dir = folder();
    for first in &firsts[..firsts.len() - 1] {
        fs::copy(log(whole.path(), *first), log(dir.path(), *first)).unwrap();
    }
    assert_eq!(damage(open(dir.path(), Some(30))).position, *firsts.last().unwrap());
}

#[test]
fn a_segment_of_another_history_is_damage() {
    let (dir, other) = (folder(), folder());
    segmented(dir.path(), 12);
    let mut journal = Journal::open(Arc::new(OsDisk), other.path(), STORE, None, 1_500).unwrap();
    for _ in 0..12 {
        // Commits of the same length, so that the segments begin with the same positions.
        let commits = following(journal.tip(), 1, 40);
        let json = String::from_utf8(commits[0].json().to_vec()).unwrap().replace("xxx", "yyy");
        let hash = journal.tip().hash.link(json.as_bytes());
        journal.append(&[Commit::from_json(json.into(), hash).unwrap()]).unwrap();
        journal.sync().unwrap();
    }
    assert_eq!(segments(dir.path()), segments(other.path()));
    let second = segments(dir.path())[1];
    for (file, name) in
        [(log(other.path(), second), log(dir.path(), second)), (idx(other.path(), second), idx(dir.path(), second))]
    {
        fs::copy(file, name).unwrap();
    }
    assert_eq!(damage(open(dir.path(), None)).position, second);
}

#[test]
fn damage_in_a_sealed_segment_is_found_when_it_is_read() {
    let dir = folder();
    let commits = segmented(dir.path(), 12);
    let ends = frames(&commits[..3]);
    let path = log(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let is_second = |error: ReadError| matches!(error, ReadError::Damage(damage) if damage.position == 2);
    for offset in ends[1]..ends[2] {
        fs::write(&path, &whole).unwrap();
        flip(&path, offset);
        let reader = open(dir.path(), None).unwrap().reader();
        assert!(reader.get(at(1)).is_ok());
        assert!(is_second(reader.get(at(2)).unwrap_err()), "{offset}");
        let mut read = reader.read(at(1));
        assert!(read.next().unwrap().is_ok());
        assert!(is_second(read.next().unwrap().unwrap_err()), "{offset}");
        assert!(read.next().is_none(), "it ends after an error");
        assert!(is_second(reader.verify(|_| {}).unwrap_err()), "{offset}");
    }
    fs::write(&path, &whole[..ends[1]]).unwrap();
    assert_eq!(damage(open(dir.path(), None)).position, 2, "a sealed segment has no tail to be cut");
}

/// A frame whose checksum is right and whose content is not what was appended.
#[test]
fn verify_finds_what_a_checksum_cannot() {
    let dir = folder();
    let commits = segmented(dir.path(), 12);
    let path = log(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let frame = HEADER..frames(&commits[..1])[1];
    let text = String::from_utf8_lossy(&bytes[frame.start + HEAD..frame.end]).replace("alice", "mallo");
    bytes[frame.start + HEAD..frame.end].copy_from_slice(text.as_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[frame.start + 3..frame.start + 8]);
    hasher.update(&bytes[frame.start + 12..frame.end]);
    bytes[frame.start + 8..frame.start + 12].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let reader = open(dir.path(), None).unwrap().reader();
    assert_eq!(reader.get(at(1)).unwrap().command.identity.principal.as_str(), "mallo");
    let error = reader.verify(|_| {}).unwrap_err();
    assert!(error.to_string().contains("chain"), "{error}");
}

#[test]
fn files_of_another_store_are_refused() {
    let dir = folder();
    stopped(dir.path(), &[&first(1)]);
    let open = |id| Journal::open(Arc::new(OsDisk), dir.path(), id, None, SEGMENT_BYTES_MAX).err().unwrap();
    let other = uuid::Uuid::from_u128(9);
    assert!(
        matches!(open(StoreId { store: other, ..STORE }), OpenError::OtherStore { found, expected, .. } if found == STORE.store && expected == other)
    );
    assert!(matches!(open(StoreId { partition: 1, ..STORE }), OpenError::OtherPartition { found: 0, expected: 1, .. }));
    assert!(matches!(
        open(StoreId { partitions: 2, ..STORE }),
        OpenError::OtherPartitions { found: 1, expected: 2, .. }
    ));
    let mut bytes = fs::read(log(dir.path(), 1)).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..92]);
    bytes[92..96].copy_from_slice(&checksum.to_le_bytes());
    fs::write(log(dir.path(), 1), bytes).unwrap();
    assert!(matches!(open(STORE), OpenError::OtherFormat { format: 2, .. }));
    assert!(matches!(FileReader::open_read_only(dir.path()), Err(OpenError::OtherFormat { format: 2, .. })));
}

#[test]
fn there_is_one_writer() {
    let dir = folder();
    assert!(matches!(FileReader::open_read_only(dir.path()), Err(OpenError::Absent { .. })));
    assert_eq!(store_id(&dir.path().join("none")).unwrap(), None);
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
    for operation in ["write", "sync_data"] {
        let dir = folder();
        let spy = Spy::failing(operation, ".log", 2);
        let mut store = open_on(&spy, dir.path(), SEGMENT_BYTES_MAX);
        let commits = first(3);
        store.append(commits[..1].to_vec());
        assert_eq!(block_on(store.durable()).unwrap().get(), at(1));
        store.append(commits[1..2].to_vec());
        let error = block_on(store.durable()).unwrap_err();
        assert!(matches!(&error, AppendError::Io { path, .. } if path.ends_with(".log")), "{error}");
        let tried = spy.count(operation);
        store.append(commits[2..].to_vec());
        block_on(store.durable()).unwrap_err();
        assert_eq!(store.reader().last(), Some(at(1)));
        drop(store);
        assert_eq!(spy.count(operation), tried, "nothing is tried again");
    }
}

#[test]
fn a_failed_roll_is_as_final_and_loses_nothing() {
    let failing = [
        ("sync_dir", ""),
        ("create", ".idx.new"),
        ("write", ".idx.new"),
        ("sync_data", ".idx.new"),
        ("rename", ".idx"),
        ("create", ".log.new"),
        ("write", ".log.new"),
        ("sync_data", ".log.new"),
        ("rename", ".log"),
        ("write", "4.log"),
    ];
    for (operation, suffix) in failing {
        let dir = folder();
        // The first segment of all is made before.
        drop(open(dir.path(), None).unwrap());
        let spy = Spy::failing(operation, suffix, 1);
        let mut journal = Journal::open(spy.disk(), dir.path(), STORE, None, 1_000).unwrap();
        let commits = first(4);
        journal.append(&commits[..3]).unwrap();
        journal.sync().unwrap();
        let result = journal.append(&commits[3..]).and_then(|()| journal.sync().map(|_| ()));
        assert!(matches!(result, Err(AppendError::Io { .. })), "{operation} {suffix}");
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
        "create 1.idx.new",
        "write 1.idx.new",
        "sync_data 1.idx.new",
        "rename 1.idx",
        &sync_dir,
        "create 4.log.new",
        "write 4.log.new",
        "sync_data 4.log.new",
        "rename 4.log",
        &sync_dir,
        "write 4.log",
        "sync_data 4.log",
    ];
    assert_eq!(done, expected);
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
    store.append(commits[..1].to_vec());
    entering.recv().unwrap();
    for commit in &commits[1..] {
        store.append(vec![commit.clone()]);
    }
    assert_eq!(store.reader().last(), None, "nothing is durable while the first fsync is under way");
    spy.take();
    let_go.send(()).unwrap();
    entering.recv().unwrap();
    let_go.send(()).unwrap();
    while block_on(store.durable()).unwrap().get() < at(100) {}
    assert_eq!(spy.count("write"), 1);
    drop(let_go);
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
    assert_eq!(bytes.len(), frames(&first(1))[1] + HEAD);
    drop(store);
    assert_eq!(fs::read(log(dir.path(), 1)).unwrap(), bytes, "it is stated once");
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
    assert_eq!(spy.take(), Vec::<String>::new());
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
