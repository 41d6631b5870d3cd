//! A lost disk.

use std::path::Path;

use hapax::serve::restore::{Restore, RestoreError};
use hapax::serve::{DataDir, DataDirError, Settings};

use crate::common::feed::{feed_is_store, read_feed};
use crate::common::nats::NatsServer;
use crate::plain::{PATIENCE, Plain, id};
use crate::processor::{RunningProcessor, samples, settings};
use crate::stream::{OPEN, SOME, fed, rewrite_feed};

/// Two partitions in which something has happened, and nobody who goes on with them.
async fn stopped() -> (NatsServer, tempfile::TempDir, Plain) {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let settings = Settings { partitions: Some(2), ..settings(nats.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), settings).await;
    let alice = Plain::connect(&nats, "alice").await;
    for number in 100..120 {
        alice.tell(&format!("account.{number}.open"), &id(number), OPEN).await;
    }
    processor.stop().await;
    (nats, data, alice)
}

async fn restore(alice: &Plain, data: &Path) -> Result<u64, RestoreError> {
    let (find, mut commits) = (Restore::find(&alice.jetstream()).await?, 0);
    find.run(data, |more| commits += more, |_, _| {}).await.map(|()| commits)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_data_directory_is_restored_and_every_id_is_answered_as_it_was() {
    let (nats, lost, alice) = stopped().await;
    let first = async |number: u64| alice.tell(&format!("account.{number}.open"), &id(number), OPEN).await.body;
    let processor = RunningProcessor::start(&nats, lost.path()).await;
    let mut before = Vec::new();
    for number in 100..120 {
        before.push(first(number).await);
    }
    processor.stop().await;
    let store = DataDir::open(lost.path()).unwrap().store();
    drop(lost);

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert_eq!(restore(&alice, &data).await.unwrap(), 20);
    let dir = DataDir::open(&data).unwrap();
    assert_eq!((dir.store(), dir.partitions()), (store, 2));
    let processor = RunningProcessor::start(&nats, &data).await;
    for (number, before) in (100..120).zip(before) {
        assert_eq!(first(number).await, before);
    }
    assert_eq!(alice.tell("account.100.deposit", &id(1), r#"{"amount":1}"#).await.verdict().0, 200);
    processor.stop().await;
    let client = nats.client().await;
    assert_eq!(feed_is_store(&client, &data, 0).await + feed_is_store(&client, &data, 1).await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn atomic_batches_are_restored_whole() {
    let (nats, _lost, alice, _) = fed().await;
    let restored = tempfile::tempdir().unwrap();
    assert_eq!(restore(&alice, restored.path()).await.unwrap(), SOME);
    RunningProcessor::start(&nats, restored.path()).await.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, restored.path(), 0).await as u64, SOME);
}

/// What a power cut of the broker may leave: a stream that ends inside an atomic batch. Nobody waits for the rest of it.
#[tokio::test(flavor = "multi_thread")]
async fn half_of_an_atomic_batch_is_refused() {
    let (_nats, _lost, alice, fed) = fed().await;
    let batch = fed.iter().position(|fed| fed.subject.contains("._batch.")).unwrap();
    rewrite_feed(&alice, &fed[..batch + 2]).await;
    let folder = tempfile::tempdir().unwrap();
    let refused = tokio::time::timeout(PATIENCE, restore(&alice, folder.path())).await.expect("it ends");
    assert!(matches!(refused, Err(RestoreError::HalfOfABatch { partition: 0, .. })), "{refused:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_empty_directory_is_restored_into() {
    let (_nats, data, alice) = stopped().await;
    let refused = restore(&alice, data.path()).await;
    assert!(matches!(refused, Err(RestoreError::DataDir(DataDirError::NotEmpty { .. }))), "{refused:?}");
}

/// What somebody else has written to the stream is no commit; and what was restored up to there is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_not_what_was_written_is_not_restored() {
    let (nats, data, alice) = stopped().await;
    let last = read_feed(&nats.client().await, 1).await.pop().unwrap();
    alice.jetstream().publish(last.subject, last.body).await.unwrap().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = restore(&alice, folder.path()).await;
    assert!(matches!(refused, Err(RestoreError::Feed(_))), "{refused:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left");
    drop(data);
}

/// The program: it says what is lost, and does nothing until that is accepted.
#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn the_loss_is_said_out_loud() {
    let (nats, lost, _alice) = stopped().await;
    drop(lost);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let run = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hapax"));
        command.args(["restore", "--from-feed", "--no-context", "--server", &nats.url(), "--data"]).arg(&data);
        let output = command.args(more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, warned) = run(&[]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(warned.contains("is LOST") && warned.contains("--accept-loss"), "{warned}");
    assert!(!data.exists());
    let (code, said, warned) = run(&["--accept-loss"]);
    assert_eq!((code, said), (Some(0), format!("restored: 20 commits in {}\n", data.display())), "{warned}");
    RunningProcessor::start(&nats, &data).await.stop().await;
}
