//! Data directories in the states that a processor may find at its start, each with what its clients know of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hapax::serve::DataDir;
use hapax::store::CommitReader;
use hapax::store::file::FileReader;
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::{Journal, SEGMENT_BYTES_MAX};
use hapax::{Position, model};
use tempfile::TempDir;

use crate::clients::{Clients, Told};
use crate::common::folder::copy_folder;
use crate::common::history::History;
use crate::common::nats::NatsServer;
use crate::program::{self, Feeds, PATIENCE, Serve};
use crate::strace::{Attached, Blow, Point};

/// A data directory to be copied, and its clients' history.
#[derive(Clone)]
pub(crate) struct Store {
    dir: Arc<TempDir>,
    pub(crate) told: Vec<Told>,
    pub(crate) history: History,
}

/// How often a store is made that must not have been idle.
const ATTEMPTS: u32 = 4;

/// An atomic batch: what is taken from one account is put into the other.
const TRANSFER: &str = r#"{"atomic":true,"commands":[
    {"check":{"aggregate":"account","key":"b","version":2}},
    {"id":"transfer-out-0001","aggregate":"account","key":"a","command":"withdraw","data":{"amount":20}},
    {"id":"transfer-in-00001","aggregate":"account","key":"b","command":"deposit","data":{"amount":20}}]}"#;

/// One that is rejected as a whole, since the second withdrawal finds too little.
const OVERDRAWN: &str = r#"{"atomic":true,"commands":[
    {"id":"overdrawn-in-0001","aggregate":"account","key":"b","command":"deposit","data":{"amount":40}},
    {"id":"overdrawn-out-001","aggregate":"account","key":"a","command":"withdraw","data":{"amount":40}},
    {"id":"overdrawn-out-002","aggregate":"account","key":"a","command":"withdraw","data":{"amount":40}}]}"#;

/// A few commands of two senders, one of them rejected, and two atomic batches, one of them rejected.
pub(crate) fn script() -> Vec<Told> {
    let lines = [
        ("alice.account.a.open", r#"{"owner":"ann"}"#),
        ("bob.account.b.open", r#"{"owner":"bob"}"#),
        ("alice.account.a.deposit", r#"{"amount":100}"#),
        ("alice.account.a.withdraw", r#"{"amount":500}"#),
        ("bob.account.b.deposit", r#"{"amount":5}"#),
        ("alice.account.a.withdraw", r#"{"amount":30}"#),
        ("alice._batch.a.run", TRANSFER),
        ("alice._batch.a.run", OVERDRAWN),
    ];
    let told = |(number, (to, body)): (usize, &(&str, &'static str))| Told::new(to, &id(number), *body);
    lines.iter().enumerate().map(told).collect()
}

/// Grammatical ids, by number.
pub(crate) fn id(number: usize) -> String {
    format!("command-{number:010}")
}

impl Store {
    /// Nothing yet.
    pub(crate) fn none() -> Store {
        Store { dir: Arc::new(tempfile::tempdir().unwrap()), told: Vec::new(), history: History::default() }
    }

    /// The data directory, which nobody may change any more.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A copy, to be broken.
    pub(crate) fn copy_to(&self, data: &Path) {
        if self.data().exists() {
            copy_folder(&self.data(), data);
        }
    }

    /// The same, and then what these commands add, and a clean stop.
    pub(crate) async fn after(&self, told: &[Told]) -> Store {
        let (nats, store) = (NatsServer::start(), self.clone_to_change());
        let program = store.serve(&nats).start_well().await;
        let clients = Clients::connect(&nats.url(), self.history.clone()).await;
        clients.settle_all(told).await;
        assert!(program.stop().await.success());
        Store { told: [&self.told[..], told].concat(), history: clients.history(), ..store }
    }

    /// The same, and then a command that is written, and no more: its processor is killed before the fsync.
    pub(crate) async fn killed_before_fsync(&self, told: &Told) -> Store {
        let (nats, store) = (NatsServer::start(), self.clone_to_change());
        let program = store.serve(&nats).start_well().await;
        let clients = Clients::connect(&nats.url(), self.history.clone()).await;
        let (point, trace) = (Point::new("fdatasync", last_segment(), 1), store.dir.path().join("trace"));
        let strace = Attached::to(Vec::new(), program.id, point.strike(Blow::Kill, &store.data(), &trace)).await;
        let segment = store.data().join(last_segment());
        let before = written(&segment);
        clients.send(told).await;
        strace.ended().await;
        drop(program);
        assert!(before < written(&segment), "it was written");
        Store { told: [&self.told[..], std::slice::from_ref(told)].concat(), history: clients.history(), ..store }
    }

    /// The same, and then what these commands add, and nothing more until its checkpoint has all of it; then it is killed.
    pub(crate) async fn killed_when_idle(&self, told: &[Told]) -> Store {
        let (nats, store) = (NatsServer::start(), self.clone_to_change());
        let program = store.serve(&nats).start_well().await;
        let clients = Clients::connect(&nats.url(), self.history.clone()).await;
        clients.settle_all(told).await;
        until_stated(&store.data()).await;
        until_checkpointed(&store.data()).await;
        program.kill().await;
        Store { told: [&self.told[..], told].concat(), history: clients.history(), ..store }
    }

    /// The same, and then what these commands add; then it is killed, before its checkpoint has any of it.
    pub(crate) async fn killed_at_once(&self, told: &[Told]) -> Store {
        // Where the machine stands still for two seconds, it is idle for long enough to be checkpointed.
        for _ in 0..ATTEMPTS {
            let (nats, store) = (NatsServer::start(), self.clone_to_change());
            let before = checkpointed(&store.data());
            let program = store.serve(&nats).start_well().await;
            let clients = Clients::connect(&nats.url(), self.history.clone()).await;
            clients.settle_all(told).await;
            program.kill().await;
            if checkpointed(&store.data()) == before {
                return Store { told: [&self.told[..], told].concat(), history: clients.history(), ..store };
            }
        }
        panic!("{ATTEMPTS} times it was checkpointed before it was killed");
    }

    /// The same with an index that nobody believes, beside one that was not believed before.
    pub(crate) fn with_doubtful_index(&self) -> Store {
        let store = self.clone_to_change();
        let partition = store.data().join("p0");
        copy_folder(&partition.join("sled"), &partition.join("sled.doubtful-1"));
        fs::write(partition.join("checkpoint.json"), "{").unwrap();
        store
    }

    /// The same in several small segments. A segment may end anywhere between two commits.
    pub(crate) fn in_segments(&self, bytes: u64) -> Store {
        let store = self.clone_to_change();
        let (data, dir) = (DataDir::open(&store.data()).unwrap(), DataDir::open(&store.data()).unwrap().journal_dir(0));
        let old = dir.with_extension("old");
        fs::rename(&dir, &old).unwrap();
        {
            let reader = FileReader::open_read_only(&old).unwrap();
            let mut journal = Journal::open(Arc::new(OsDisk), &dir, data.store_id(0), None, bytes).unwrap();
            for commit in reader.read(Position::FIRST) {
                journal.append(&[commit.unwrap()]).unwrap();
                journal.sync().unwrap();
            }
            journal.state_synced().unwrap();
        }
        fs::remove_dir_all(old).unwrap();
        store
    }

    /// The same by `hapax export` and `hapax import`.
    pub(crate) fn imported(&self) -> Store {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let store = Store { dir, ..self.clone() };
        let (from, to) = (self.data().display().to_string(), store.data().display().to_string());
        let export = store.dir.path().join("export.jsonl").display().to_string();
        program::hapax(&["export", "--data", &from, "--to", &export]);
        program::hapax(&["import", &export, "--data", &to]);
        store
    }

    /// The same without a file.
    pub(crate) fn without(&self, file: &str) -> Store {
        let store = self.clone_to_change();
        fs::remove_file(store.data().join(file)).unwrap();
        store
    }

    fn clone_to_change(&self) -> Store {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let store = Store { dir, ..self.clone() };
        self.copy_to(&store.data());
        store
    }

    fn serve(&self, nats: &NatsServer) -> Serve {
        let (url, data, log) = (nats.url(), self.data(), self.dir.path().join("log"));
        Serve { under: Vec::new(), url, data, feed: Feeds::Off, log }
    }
}

/// The only segment of a small store.
pub(crate) fn last_segment() -> &'static str {
    "p0/journal/00000000000000000001.log"
}

/// Commands that fill a segment.
pub(crate) fn bulk() -> Vec<Told> {
    // A commit has both the command and the event that comes of it.
    let owner = "x".repeat(model::limits::COMMAND_BYTES_MAX - 100);
    let count = usize::try_from(SEGMENT_BYTES_MAX).unwrap() / (2 * owner.len()) + 1;
    let open = format!(r#"{{"owner":"{owner}"}}"#);
    (0..count)
        .map(|number| Told::new(&format!("carol.account.bulk{number}.open"), &id(1_000 + number), open.clone()))
        .collect()
}

/// Waits until an idle journal says itself that everything in it is durable, so that nothing it does by itself depends
/// on the time between two commands. A journal whose process has just been killed does not say so.
pub(crate) async fn until_stated(data: &Path) {
    // A marker without flags, and no length behind it.
    const STATEMENT: [u8; 8] = [0xFF, 0xFA, 0xCE, 0, 0, 0, 0, 0];
    let stated = async {
        loop {
            let newest = fs::read_dir(data.join("p0/journal")).ok().and_then(|entries| {
                let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
                paths.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max()
            });
            let bytes = newest.and_then(|path| fs::read(path).ok()).unwrap_or_default();
            // The last frame of all; what is behind it was written beforehand.
            if bytes.windows(8).rfind(|window| window[..3] == STATEMENT[..3]) == Some(&STATEMENT[..]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE.min(Duration::from_millis(500)), stated).await;
}

/// Waits until the checkpoint of an idle index has everything that is recorded.
pub(crate) async fn until_checkpointed(data: &Path) {
    let dir = DataDir::open(data).unwrap().journal_dir(0);
    let checkpointed = async {
        while checkpointed(data) != FileReader::open_read_only(&dir).unwrap().last().map(Position::get) {
            tokio::time::sleep(Duration::from_millis(10)).await; // A pause between two looks.
        }
    };
    tokio::time::timeout(PATIENCE, checkpointed).await.expect("an idle index is checkpointed");
}

/// The position of the checkpoint.
fn checkpointed(data: &Path) -> Option<u64> {
    let checkpoint = fs::read(data.join("p0/checkpoint.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&checkpoint).unwrap()["position"].as_u64()
}

/// Where a file ends, without the zeros that were written beforehand.
pub(crate) fn written(file: &Path) -> usize {
    fs::read(file).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}
