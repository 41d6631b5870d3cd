//! The backup that the README describes: taken while the processor works, and put in the place of a store that is lost.
//! What had its outcome before the copy was begun is in it, and is answered as it was.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::clients::{Clients, Told};
use crate::common::history::History;
use crate::common::nats::NatsServer;
use crate::common::row::{Row, Verdict};
use crate::program::{self, Feeds, Serve, verify};
use crate::stores::{id, script};

/// `hapax export`, beside the processor.
fn back_up(data: &Path, copy: &Path) {
    program::hapax(&["export", "--data", &data.display().to_string(), "--to", &copy.display().to_string()]);
}

fn serve(nats: &NatsServer, data: PathBuf) -> Serve {
    let log = data.with_extension("log");
    Serve { under: Vec::new(), url: nats.url(), data, feed: Feeds::Anew, log }
}

/// Settles one command after the other for ever, and notes the outcomes.
async fn work(clients: Arc<Clients>, sender: usize, known: Arc<Mutex<Vec<(Told, Bytes)>>>) {
    let more = (1_000_000 * (sender + 1)..)
        .map(|number| Told::new(&format!("carol.account.c{number}.open"), &id(number), r#"{"owner":"eve"}"#));
    let first = if sender == 0 { script() } else { Vec::new() };
    for told in first.into_iter().chain(more) {
        let outcome = clients.settle(&told).await;
        known.lock().unwrap().push((told, outcome));
    }
}

/// What does not hold of a copy: everything that was known is answered as it was.
async fn restore(copy: &Path, known: &[(Told, Bytes)]) -> Verdict {
    let data = copy.with_extension("data");
    program::hapax(&["import", &copy.display().to_string(), "--data", &data.display().to_string()]);
    let nats = NatsServer::start();
    let program = serve(&nats, data.clone()).start_well().await;
    let clients = Clients::connect(&nats.url(), History::default()).await;
    let mut verdict = Verdict::default();
    for (told, outcome) in known {
        let again = clients.settle(told).await;
        if again != outcome {
            verdict.lost += 1;
            verdict.complaints.push(format!("{told:?} has another outcome: {again:?}"));
        }
    }
    program.stop().await;
    let verified = verify(&data);
    if !verified.status.success() {
        verdict.complaints.push(format!("verify: {verified:?}"));
    }
    verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_taken_under_load_can_be_restored() {
    const COPIES: usize = 10;
    const SENDERS: usize = 16;
    let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    let program = serve(&nats, data.clone()).start_well().await;
    let known = Arc::new(Mutex::new(Vec::new()));
    let clients = Arc::new(Clients::connect(&nats.url(), History::default()).await);
    let working: Vec<_> =
        (0..SENDERS).map(|sender| tokio::spawn(work(clients.clone(), sender, known.clone()))).collect();
    let mut copies = Vec::new();
    for copy in 0..COPIES {
        tokio::time::sleep(Duration::from_millis(50)).await; // The work goes on for so long.
        let copy = folder.path().join(format!("copy-{copy}.jsonl"));
        copies.push((copy.clone(), known.lock().unwrap().len()));
        tokio::task::block_in_place(|| back_up(&data, &copy));
    }
    working.iter().for_each(JoinHandle::abort);
    program.kill().await;
    let known = known.lock().unwrap().clone();
    assert!(script().len() < known.len(), "it worked meanwhile");
    let mut row = Row::of("damage: a backup taken under load, restored");
    for (copy, count) in copies {
        row.add(1, &format!("the copy after {count} outcomes"), &restore(&copy, &known[..count]).await);
    }
    row.end();
}
