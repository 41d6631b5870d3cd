//! The backup that the README describes: taken while the processor works, and put in the place of a store that is lost.
//! What had its outcome before the copy was begun is in it, and is answered as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::clients::{Clients, Told};
use crate::common::history::History;
use crate::common::nats::NatsServer;
use crate::common::row::{Row, Verdict};
use crate::program::{Feeds, Serve, verify};
use crate::stores::{id, script};

/// `hapax.json`, and then the segments in the order of their names.
fn back_up(data: &Path, copy: &Path) {
    let journal = Path::new("p0/journal");
    fs::create_dir_all(copy.join(journal)).unwrap();
    fs::copy(data.join("hapax.json"), copy.join("hapax.json")).unwrap();
    let names = fs::read_dir(data.join(journal)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut segments: Vec<_> = names.filter(|name| name.to_str().is_some_and(|name| name.ends_with(".log"))).collect();
    segments.sort();
    for name in segments {
        fs::copy(data.join(journal).join(&name), copy.join(journal).join(&name)).unwrap();
    }
}

fn serve(nats: &NatsServer, data: PathBuf) -> Serve {
    let log = data.with_extension("log");
    Serve { under: Vec::new(), url: nats.url(), data, feed: Feeds::Anew, log }
}

/// Settles one command after the other for ever, and notes the outcomes.
async fn work(clients: Clients, known: Arc<Mutex<Vec<(Told, Bytes)>>>) {
    let more =
        (1_000..).map(|number| Told::new(&format!("carol.account.c{number}.open"), &id(number), r#"{"owner":"eve"}"#));
    for told in script().into_iter().chain(more) {
        let outcome = clients.settle(&told).await;
        known.lock().unwrap().push((told, outcome));
    }
}

/// What does not hold of a copy: everything that was known is answered as it was.
async fn restore(data: PathBuf, known: &[(Told, Bytes)]) -> Verdict {
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
    let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    let program = serve(&nats, data.clone()).start_well().await;
    let known = Arc::new(Mutex::new(Vec::new()));
    let clients = Clients::connect(&nats.url(), History::default()).await;
    let working = tokio::spawn(work(clients, known.clone()));
    let mut copies = Vec::new();
    for copy in 0..COPIES {
        tokio::time::sleep(Duration::from_millis(50)).await; // The work goes on for so long.
        let copy = folder.path().join(format!("copy-{copy}"));
        copies.push((copy.clone(), known.lock().unwrap().len()));
        tokio::task::block_in_place(|| back_up(&data, &copy));
    }
    working.abort();
    program.kill().await;
    let known = known.lock().unwrap().clone();
    assert!(script().len() < known.len(), "it worked meanwhile");
    let mut row = Row::of("damage: a backup taken under load, restored");
    for (copy, count) in copies {
        row.add(1, &format!("the copy after {count} outcomes"), &restore(copy, &known[..count]).await);
    }
    row.end();
}
