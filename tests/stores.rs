//! The same cases over every event store. What one of them allows and another refuses is a bug that only the second one
//! would show.

#[path = "stores/commits.rs"]
mod commits;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use commits::{STORE, at, first, following};
use hapax::store::file::FileStore;
use hapax::store::memory::MemoryStore;
use hapax::store::{CommitReader, EventStore, ReadError, StoreId, Tip};
use hapax::{Commit, Position};

/// A store under test, empty, and what has to outlive it.
trait Subject {
    type Store: EventStore;
    fn new() -> Self;
    fn store(&mut self) -> &mut Self::Store;
}

struct Memory(MemoryStore);

impl Subject for Memory {
    type Store = MemoryStore;

    fn new() -> Memory {
        Memory(MemoryStore::new(STORE))
    }

    fn store(&mut self) -> &mut MemoryStore {
        &mut self.0
    }
}

struct File {
    store: FileStore,
    _dir: tempfile::TempDir,
}

impl Subject for File {
    type Store = FileStore;

    fn new() -> File {
        let dir = tempfile::tempdir().unwrap();
        let (store, tip) = FileStore::open(&dir.path().join("p0/journal"), STORE, None).unwrap();
        assert_eq!(tip, Tip::empty(STORE));
        File { store, _dir: dir }
    }

    fn store(&mut self) -> &mut FileStore {
        &mut self.store
    }
}

/// Each case, once for each store.
macro_rules! contract {
    ($($case:ident),* $(,)?) => {
        mod memory { $(#[test] fn $case() { super::$case::<super::Memory>() })* }
        mod file { $(#[test] fn $case() { super::$case::<super::File>() })* }
    };
}

contract![
    what_is_durable_can_be_read,
    nothing_to_wait_for_is_waited_for,
    a_dropped_wait_loses_nothing,
    a_position_that_is_not_there_is_absent,
    reading_ends_where_it_was_durable_when_it_began,
    a_gap_is_refused,
    a_wrong_chain_is_refused,
    an_empty_append_is_nothing,
];

fn wait(store: &mut impl EventStore, upto: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut last = 0;
        while last < upto {
            let durable = store.durable().await.unwrap().get().get();
            assert!(last < durable && durable <= upto, "{durable} after {last}");
            last = durable;
        }
    });
}

fn bytes_of(commits: impl IntoIterator<Item = Commit>) -> Vec<(Position, bytes::Bytes, String)> {
    commits.into_iter().map(|commit| (commit.position, commit.json().clone(), commit.hash.to_string())).collect()
}

fn what_is_durable_can_be_read<S: Subject>() {
    let mut subject = S::new();
    let store = subject.store();
    assert_eq!(store.reader().last(), None);
    let commits = first(100);
    for group in commits.chunks(7) {
        store.append(group.to_vec());
    }
    wait(store, 100);
    let reader = store.reader();
    assert_eq!(reader.last(), Some(at(100)));
    let read: Vec<Commit> = reader.read(at(1)).map(Result::unwrap).collect();
    assert_eq!(bytes_of(read), bytes_of(commits.clone()));
    let read: Vec<Commit> = reader.read(at(93)).map(Result::unwrap).collect();
    assert_eq!(bytes_of(read), bytes_of(commits[92..].to_vec()));
    for commit in commits {
        assert_eq!(bytes_of([reader.get(commit.position).unwrap()]), bytes_of([commit]));
    }
}

fn poll_once(store: &mut impl EventStore) -> Poll<Position> {
    let mut context = Context::from_waker(Waker::noop());
    pin!(store.durable()).poll(&mut context).map(|durable| durable.unwrap().get())
}

fn nothing_to_wait_for_is_waited_for<S: Subject>() {
    let mut subject = S::new();
    let store = subject.store();
    assert_eq!(poll_once(store), Poll::Pending);
    store.append(first(1));
    wait(store, 1);
    assert_eq!(poll_once(store), Poll::Pending, "it was said already");
}

fn a_dropped_wait_loses_nothing<S: Subject>() {
    let mut subject = S::new();
    let store = subject.store();
    store.append(first(1));
    let said = poll_once(store);
    if said.is_pending() {
        wait(store, 1);
    }
    let reader = store.reader();
    assert_eq!(reader.last(), Some(at(1)));
}

fn a_position_that_is_not_there_is_absent<S: Subject>() {
    let mut subject = S::new();
    let store = subject.store();
    let absent = |store: &S::Store, number| {
        let result = store.reader().get(at(number));
        matches!(result, Err(ReadError::Absent(position)) if position == at(number))
    };
    assert!(absent(store, 1));
    store.append(first(3));
    wait(store, 3);
    assert!(!absent(store, 3));
    assert!(absent(store, 4));
    assert!(absent(store, u64::MAX));
    assert_eq!(store.reader().read(at(4)).count(), 0);
}

fn reading_ends_where_it_was_durable_when_it_began<S: Subject>() {
    let mut subject = S::new();
    let store = subject.store();
    let commits = first(4);
    store.append(commits[..2].to_vec());
    wait(store, 2);
    let reader = store.reader();
    let reading = reader.read(at(1));
    store.append(commits[2..].to_vec());
    wait(store, 4);
    assert_eq!(reading.count(), 2);
    assert_eq!(reader.last(), Some(at(4)), "a reader goes with its store");
}

fn refuses(store: &mut impl EventStore, commits: Vec<Commit>) -> bool {
    catch_unwind(AssertUnwindSafe(|| store.append(commits))).is_err()
}

fn a_gap_is_refused<S: Subject>() {
    let mut subject = S::new();
    let store = subject.store();
    let commits = first(3);
    assert!(refuses(store, commits[1..].to_vec()));
    store.append(commits[..1].to_vec());
    assert!(refuses(store, commits[2..].to_vec()));
    assert!(refuses(store, commits[..1].to_vec()), "the same again");
}

fn a_wrong_chain_is_refused<S: Subject>() {
    let other = StoreId { store: uuid::Uuid::from_u128(7), ..STORE };
    let mut subject = S::new();
    assert!(refuses(subject.store(), following(Tip::empty(other), 1, 0)));
}

fn an_empty_append_is_nothing<S: Subject>() {
    let mut subject = S::new();
    let store = subject.store();
    store.append(Vec::new());
    assert_eq!(poll_once(store), Poll::Pending);
    store.append(first(2));
    wait(store, 2);
}

#[test]
fn a_memory_store_can_be_synced_by_hand() {
    let mut store = MemoryStore::synced_by_hand(STORE);
    store.append(first(2));
    assert_eq!(poll_once(&mut store), Poll::Pending);
    assert_eq!(store.reader().last(), None);
    store.sync();
    assert_eq!(poll_once(&mut store), Poll::Ready(at(2)));
}

#[test]
fn a_file_store_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut tip = Tip::empty(STORE);
    for round in 1..=5 {
        let (mut store, found) = FileStore::open(dir.path(), STORE, tip.position).unwrap();
        assert_eq!(found, tip);
        let commits = following(tip, 10, 40);
        tip = Tip::of(&commits[9]);
        store.append(commits);
        // Closing makes durable what is queued, so waiting is for the replies only.
        if round % 2 == 0 {
            wait(&mut store, 10 * round);
        }
        drop(store);
    }
    let reader = hapax::store::file::FileReader::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.verify(|_| {}).unwrap(), tip);
}
