//! The same cases over every index, and what only the one in sled can get wrong: checkpoints, damage, and being opened
//! again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hapax::index::{
    CatchUpError, Checkpoint, Index, IndexError, MemoryIndex, SledIndex, VerifyError, catch_up, verify,
};
use hapax::store::{CommitReader, ReadError, StoreId};
use hapax::{
    AggregateId, ChainHash, Command, CommandId, CommandName, Commit, Decision, Entry, Head, Identity, Outcome,
    Position, Principal, RecordedEvent, Rejection, Snapshot, Timestamp, Version,
};
use proptest::prelude::*;
use uuid::Uuid;

const ID: StoreId = StoreId { store: Uuid::from_u128(7), partition: 0, partitions: 1 };

/// Commits as a store has them.
#[derive(Clone)]
struct Commits(Arc<Vec<Commit>>);

impl Commits {
    /// `number` commits on `aggregates` aggregates; every fifth is a rejection.
    fn of(number: u64, aggregates: u64) -> Commits {
        Commits::behind(ChainHash::of_store(ID.store), number, aggregates)
    }

    /// The same commits, behind another hash.
    fn behind(first: ChainHash, number: u64, aggregates: u64) -> Commits {
        let mut commits: Vec<Commit> = Vec::new();
        let mut heads: HashMap<AggregateId, Head> = HashMap::new();
        for n in 1..=number {
            let aggregate: AggregateId =
                format!("account/{}", n.wrapping_mul(0x9e37_79b9) % aggregates).parse().unwrap();
            let event_count = if n % 5 == 0 { 0 } else { 1 + n % 2 };
            let head = heads.get(&aggregate).copied();
            let chain = commits.last().map_or(first, |commit| commit.hash);
            let version = Version(head.map_or(0, |head| head.version.0) + event_count);
            let commit = commit(n, aggregate.clone(), event_count, version, head.map(|head| head.position), &chain);
            if event_count > 0 {
                heads.insert(aggregate, Head { version, position: commit.position });
            }
            commits.push(commit);
        }
        Commits(Arc::new(commits))
    }

    fn upto(&self, number: usize) -> Commits {
        Commits(Arc::new(self.0[..number].to_vec()))
    }

    fn entries(&self) -> Vec<Entry> {
        self.0.iter().map(Entry::of).collect()
    }

    fn heads(&self) -> HashMap<AggregateId, Head> {
        let changed = self.0.iter().filter(|commit| commit.event_count > 0);
        changed
            .map(|commit| {
                (commit.command.aggregate.clone(), Head { version: commit.version, position: commit.position })
            })
            .collect()
    }
}

fn commit(
    n: u64,
    aggregate: AggregateId,
    events: u64,
    version: Version,
    previous: Option<Position>,
    chain: &ChainHash,
) -> Commit {
    // In the order of time, as version 7 is; every seventh has an id that is no UUID.
    let id = match n % 7 {
        0 => CommandId::parse(&format!("order-2026-11-24-{n}")).unwrap(),
        _ => Uuid::from_u128(u128::from(n) << 64).into(),
    };
    let event =
        RecordedEvent { kind: "deposited".into(), schema: 1, data: serde_json::from_str(r#"{"amount":100}"#).unwrap() };
    let decision = match events {
        0 => Decision::Rejected(Rejection::voided()),
        _ => Decision::Accepted(vec![event; events as usize]),
    };
    let position = Position::new(n).unwrap();
    let outcome = Outcome {
        id: id.clone(),
        aggregate: aggregate.clone(),
        version,
        position,
        decided_at: Timestamp::EPOCH,
        decision,
    };
    let command = Command {
        identity: Identity { principal: Principal::parse("alice").unwrap(), key: aggregate.key.clone(), id },
        aggregate,
        name: CommandName::parse("deposit").unwrap(),
        data: Bytes::from_static(br#"{"amount":100}"#),
        expected: None,
        not_after: None,
        traceparent: None,
    };
    Commit::record(command, &outcome, previous, chain)
}

impl CommitReader for Commits {
    fn get(&self, position: Position) -> Result<Commit, ReadError> {
        self.0.get(position.get() as usize - 1).cloned().ok_or(ReadError::Absent(position))
    }

    fn read(&self, from: Position) -> impl Iterator<Item = Result<Commit, ReadError>> + Send {
        self.0.iter().skip(from.get() as usize - 1).cloned().map(Ok)
    }

    fn last(&self) -> Option<Position> {
        self.0.last().map(|commit| commit.position)
    }
}

fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

/// Every command and every head is what the commits say, and nothing that nobody sent is known.
fn assert_holds(index: &impl Index, commits: &Commits) {
    for commit in commits.0.iter() {
        assert_eq!(index.position_of(&commit.command.identity).unwrap(), Some(commit.position));
    }
    for (aggregate, head) in commits.heads() {
        assert_eq!(index.head(&aggregate).unwrap(), Some(head), "{aggregate}");
    }
    let mut stranger = commits.0[0].command.identity.clone();
    stranger.principal = Principal::parse("bob").unwrap();
    assert_eq!(index.position_of(&stranger).unwrap(), None);
}

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

fn state(bytes: usize) -> Bytes {
    (0..bytes).map(|n| (n / 7) as u8).collect()
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
    a_position_left_out_is_an_error
    a_version_that_goes_back_is_an_error
    a_rejection_has_no_head
    the_newest_snapshot_is_found
    neighbours_have_their_own_snapshots
}

/// An index in a folder, with these commits and a checkpoint at the last.
fn with_checkpoint(dir: &Path, commits: &Commits) -> SledIndex {
    let opened = SledIndex::open(dir, ID).unwrap();
    catch_up(&opened.index, commits, opened.from.as_ref(), commits.last(), &mut |_| {}).unwrap();
    let last = commits.0.last().unwrap();
    opened.index.checkpoint(last.position, last.hash).unwrap();
    opened.index
}

/// Opens and catches up as a start does, and says whether the index was believed.
fn start(dir: &Path, commits: &Commits) -> (SledIndex, bool) {
    let opened = SledIndex::open(dir, ID).unwrap();
    let mut index = opened.index;
    let mut believed = opened.from.is_some();
    match catch_up(&index, commits, opened.from.as_ref(), commits.last(), &mut |_| {}) {
        Ok(()) => {}
        Err(CatchUpError::Index(_)) => {
            believed = false;
            index.start_over().unwrap();
            catch_up(&index, commits, None, commits.last(), &mut |_| {}).unwrap();
        }
        Err(error) => panic!("{error}"),
    }
    (index, believed)
}

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
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        fs::write(copy.path().join("checkpoint.json"), changed).unwrap();
        assert!(SledIndex::open(copy.path(), ID).unwrap().doubt.is_some());
    }
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert!(SledIndex::open(dir.path(), ID).unwrap().doubt.is_some(), "a checkpoint alone");
}

/// As a later release writes it: the checksum is right.
fn of_other_format(json: &str) -> String {
    let json = json.replace(r#""format":1"#, r#""format":2"#);
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

struct Opened {
    index: SledIndex,
    from: Checkpoint,
}

fn reopen(dir: &Path) -> Opened {
    let opened = SledIndex::open(dir, ID).unwrap();
    assert_eq!(opened.doubt, None);
    Opened { index: opened.index, from: opened.from.unwrap() }
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

/// sled itself. It holds its lock for a moment after it was closed.
fn sled_in(dir: &Path) -> ::sled::Db {
    fs::File::open(dir.join("sled/db")).unwrap().lock().unwrap();
    ::sled::open(dir.join("sled")).unwrap()
}

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
        copy_dir(dir.path(), &copy);
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

/// What sled drops without a word, when it thinks that a page was never written, must be found by adding up.
#[test]
fn a_lost_note_is_found_at_start() {
    let commits = Commits::of(200, 20);
    type Loss = (&'static str, fn(&::sled::Db));
    let losses: [Loss; 6] = [
        ("a command", |db| drop(db.open_tree("commands").unwrap().pop_min().unwrap().unwrap())),
        ("a head", |db| drop(db.open_tree("heads").unwrap().pop_max().unwrap().unwrap())),
        ("a head is older", |db| {
            let heads = db.open_tree("heads").unwrap();
            let (key, _) = heads.first().unwrap().unwrap();
            heads.insert(key, [1_u64.to_be_bytes(), 1_u64.to_be_bytes()].concat()).unwrap();
        }),
        ("a head is of no commit", |db| {
            let heads = db.open_tree("heads").unwrap();
            let (key, head) = heads.first().unwrap().unwrap();
            heads.insert(key, [&99_u64.to_be_bytes(), &head[8..]].concat()).unwrap();
        }),
        ("a command that nobody sent", |db| {
            db.open_tree("commands").unwrap().insert("other", &9_999_u64.to_be_bytes()).unwrap();
        }),
        ("a command is another", |db| {
            let commands = db.open_tree("commands").unwrap();
            commands.pop_min().unwrap().unwrap();
            commands.insert("other", &9_999_u64.to_be_bytes()).unwrap();
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

/// The files of an index with a checkpoint, made once. Never opened again: sled then has to find its notes by reading its
/// log, and what it cannot read it passes over.
fn healthy() -> (tempfile::TempDir, Commits) {
    let dir = tempfile::tempdir().unwrap();
    let commits = Commits::of(3_000, 200);
    drop(with_checkpoint(dir.path(), &commits.upto(2_900)));
    (dir, commits)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy_dir(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
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
            let dir = tempfile::tempdir().unwrap();
            copy_dir(healthy.path(), dir.path());
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
