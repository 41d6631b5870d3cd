//! What only the file store promises: what is a torn tail and what is damage, segments and their offsets; in modules, what
//! it does to the disk and in which order (`writing`), the groups of atomic batches (`groups`), the proof beside the segments
//! (`proving`), and any sequence of crashes (`crash`).

mod common;
#[path = "stores/commits.rs"]
mod commits;
#[path = "stores/crash.rs"]
mod crash;
#[path = "stores/disk.rs"]
mod disk;
#[path = "stores/groups.rs"]
mod groups;
#[path = "stores/proving.rs"]
mod proving;
#[path = "stores/writing.rs"]
mod writing;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use commits::{STORE, at, first, following};
use disk::{Earlier, Spy};
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::{Journal, SEGMENT_BYTES_MAX};
use hapax::store::file::{FileReader, OpenError};
use hapax::store::{CommitReader, Damage, ReadError, StoreId, Tip};
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

fn proof(dir: &Path) -> PathBuf {
    dir.join("proof")
}

/// Groups of commits, each made durable before the next is written, and then the power is gone: nothing states the last
/// group, and what the proof said of it was not safe yet.
fn crashed(dir: &Path, groups: &[&[Commit]]) {
    killed(dir, groups);
    fs::remove_file(proof(dir)).unwrap();
}

/// The same, but only the process is gone: what it wrote is there.
fn killed(dir: &Path, groups: &[&[Commit]]) {
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
    assert_eq!(journal.sync().unwrap().map(|durable| durable.get()), Some(at(last + 2)));
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

/// What is written to a segment, without the zeros behind it.
fn written(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
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
    assert_eq!(FileReader::open_read_only(dir.path()).unwrap().id(), id);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let commits = first(3);
    let ends = frames(&commits);
    let whole = folder();
    crashed(whole.path(), &[&commits[..2], &commits[2..]]);
    let bytes = written(&log(whole.path(), 1));
    assert_eq!(bytes.len(), ends[3]);
    for cut in ends[2]..ends[3] {
        for zeros in [0, bytes.len() - cut, 2 * bytes.len()] {
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
        format!("sync_dir {dir_name}"),
        format!("create {name}.new"),
        format!("write {name}.new"),
        format!("write {name}.new"),
        format!("sync_data {name}.new"),
        format!("rename {name}"),
        format!("sync_dir {dir_name}"),
        "create proof".into(),
        format!("sync_dir {dir_name}"),
        "write proof".into(),
        "sync_data proof".into(),
    ];
    assert_eq!(spy.take(), expected);
    drop(journal);
    drop(Journal::open(spy.disk(), dir.path(), STORE, None, SEGMENT_BYTES_MAX).unwrap());
    assert_eq!(spy.count("create"), 0, "it is proven now");
    goes_on(dir.path(), 3);
}

/// A store that was stopped keeps its zeros, and goes on in their place.
#[test]
fn zeros_behind_the_last_frame_are_neither_torn_nor_lost() {
    let dir = folder();
    let path = log(dir.path(), 1);
    let mut journal = open(dir.path(), None).unwrap();
    journal.append(&first(3)).unwrap();
    journal.sync().unwrap();
    journal.state_synced().unwrap();
    drop(journal);
    let length = fs::metadata(&path).unwrap().len();
    assert!(written(&path).len() as u64 + 100_000 < length);
    let spy = Spy::new();
    let mut journal = Journal::open(spy.disk(), dir.path(), STORE, None, SEGMENT_BYTES_MAX).unwrap();
    assert_eq!((last_of(&journal), spy.count("create")), (3, 0), "nothing to rewrite");
    journal.append(&following(journal.tip(), 2, 40)).unwrap();
    journal.sync().unwrap();
    drop(journal);
    assert_eq!(fs::metadata(&path).unwrap().len(), length, "they were overwritten");
    goes_on(dir.path(), 5);
    // Anything else behind the last frame is the torn rest of a write.
    stopped(dir.path(), &[]);
    let end = written(&path).len();
    fs::write(&path, [fs::read(&path).unwrap(), vec![0; 1_000]].concat()).unwrap();
    flip(&path, end + 500);
    let journal = Journal::open(spy.disk(), dir.path(), STORE, None, SEGMENT_BYTES_MAX).unwrap();
    assert_eq!((last_of(&journal), spy.count("create")), (7, 1));
    drop(journal);
    goes_on(dir.path(), 7);
}

/// A reader reads zeros; then the writer puts two commits there, one after the other, and only the second one is found, which
/// says that the first is durable.
#[test]
fn a_writer_that_goes_on_into_zeros_is_no_damage_to_a_reader() {
    let dir = folder();
    let commits = first(5);
    let groups: Vec<&[Commit]> = commits.chunks(1).collect();
    crashed(dir.path(), &groups);
    let zeros_from = frames(&commits)[3] as u64;
    for earlier in 1..4 {
        // The header, then frames.
        let disk = Earlier { reads: Arc::new(AtomicUsize::new(0)), as_it_was: 1..1 + earlier, zeros_from };
        let reader = FileReader::open_read_only_on(Arc::new(disk), dir.path()).unwrap();
        assert!(Some(at(3)) <= reader.last());
        reader.verify(|_| {}).unwrap();
    }
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

/// Offsets that lead to whole frames, but not to the right ones, cannot make a reader take one commit for another.
#[test]
fn wrong_offsets_are_no_other_commit() {
    let dir = folder();
    segmented(dir.path(), 12);
    let path = idx(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let (first, second) = (bytes[72..80].to_vec(), bytes[80..88].to_vec());
    bytes[72..80].copy_from_slice(&second);
    bytes[80..88].copy_from_slice(&first);
    let offsets = crc32fast::hash(&bytes[72..]);
    bytes[64..68].copy_from_slice(&offsets.to_le_bytes());
    let head = crc32fast::hash(&bytes[..68]);
    bytes[68..72].copy_from_slice(&head.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let reader = open(dir.path(), None).unwrap().reader();
    for position in [1, 2] {
        assert!(matches!(reader.get(at(position)), Err(ReadError::Damage(found)) if found.position == position));
    }
    assert!(reader.verify(|_| {}).is_ok(), "the journal itself is fine");
}

/// A segment says by its existence that all before it is durable, so none may begin while that is not so.
#[test]
fn a_segment_does_not_begin_inside_a_group() {
    let dir = folder();
    let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, 0).unwrap();
    journal.append(&first(1)).unwrap();
    assert!(!idx(dir.path(), 1).exists(), "a segment without a commit is not full, however small segments are");
    drop(journal);
    let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, 1_000_000).unwrap();
    journal.append(&following(journal.tip(), 1, 40)).unwrap();
    journal.sync().unwrap();
    // More than the buffer holds, so that a part of the group is written before it is synced.
    journal.append(&following(journal.tip(), 20, 300_000)).unwrap();
    journal.append(&following(journal.tip(), 1, 40)).unwrap();
    assert_eq!(segments(dir.path()), [1]);
    journal.sync().unwrap();
    journal.append(&following(journal.tip(), 1, 40)).unwrap();
    journal.sync().unwrap();
    assert_eq!(segments(dir.path()), [1, 23]);
    drop(journal);
    goes_on(dir.path(), 23);
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
    // That there was a last one is said by a checkpoint, by the offsets of the one before it, and by the proof.
    let dir = folder();
    for first in &firsts[..firsts.len() - 1] {
        fs::copy(log(whole.path(), *first), log(dir.path(), *first)).unwrap();
    }
    assert_eq!(damage(open(dir.path(), Some(30))).position, *firsts.last().unwrap());
    fs::copy(proof(whole.path()), proof(dir.path())).unwrap();
    assert_eq!(damage(open(dir.path(), None)).position, *firsts.last().unwrap());
    fs::remove_file(proof(dir.path())).unwrap();
    for first in &firsts[..firsts.len() - 1] {
        fs::copy(idx(whole.path(), *first), idx(dir.path(), *first)).unwrap();
    }
    assert_eq!(damage(open(dir.path(), None)).position, *firsts.last().unwrap());
    damage(FileReader::open_read_only(dir.path()));
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

#[test]
fn verify_compares_the_headers() {
    let dir = folder();
    segmented(dir.path(), 12);
    let reader = FileReader::open_read_only(dir.path()).unwrap();
    let second = segments(dir.path())[1];
    let mut bytes = fs::read(log(dir.path(), second)).unwrap();
    bytes[60] ^= 1; // The previous chain hash.
    let checksum = crc32fast::hash(&bytes[..92]);
    bytes[92..96].copy_from_slice(&checksum.to_le_bytes());
    fs::write(log(dir.path(), second), bytes).unwrap();
    let ReadError::Damage(found) = reader.verify(|_| {}).unwrap_err() else { panic!("not damage") };
    assert_eq!((found.offset, found.position), (0, second));
    assert_eq!(damage(open(dir.path(), None)).position, second);
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
    assert!(matches!(open(StoreId { store: other, ..STORE }), OpenError::OtherStore { found, expected, .. }
            if found == STORE.store && expected == other));
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
