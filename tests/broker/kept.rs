//! nats-server notes an acknowledgement at the consumer, and then removes the message. Stopped in between, it has a message
//! in the stream that its consumer counts as done, and nobody gets it any more.

use std::fs;
use std::path::Path;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;

use crate::common::folder::{copy_folder, copy_of};
use crate::common::health::{health, until_well};
use crate::common::nats::NatsServer;
use crate::common::row::{Row, Verdict};
use crate::faults::runs;
use crate::processor::RunningProcessor;
use crate::world::{HEALTHY_AGAIN_MAX, commits};

/// How many messages the stream of commands holds.
async fn messages(nats: &NatsServer) -> u64 {
    let context = jetstream::new(nats.client().await);
    context.get_stream("COMMANDS").await.unwrap().cached_info().state.messages
}

/// How many of them its consumer knows of.
async fn waiting(nats: &NatsServer) -> u64 {
    let context = jetstream::new(nats.client().await);
    let consumer = context.get_stream("COMMANDS").await.unwrap().consumer_info("processor-0").await.unwrap();
    consumer.num_pending + consumer.num_ack_pending as u64
}

/// Stores a command and waits for no outcome.
async fn store_command(nats: &NatsServer, number: usize) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("open-account-{number:04}"));
    let context = jetstream::new(nats.client().await);
    let subject = format!("cmd.alice.account.{number}.open");
    context.publish_with_headers(subject, headers, r#"{"owner":"ann"}"#.into()).await.unwrap().await.unwrap();
}

async fn until_empty(nats: &NatsServer) {
    while messages(nats).await > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_command_that_the_stream_has_kept_is_delivered_again() {
    let mut nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let folder = nats.streams().join("COMMANDS/msgs");
    RunningProcessor::start(&nats, data.path()).await.stop().await;
    let (mut verdict, runs) = (Verdict::default(), runs());
    for run in 0..runs {
        store_command(&nats, run).await;
        nats.stop();
        let kept = copy_of(&folder);
        nats.start_again();
        let processor = RunningProcessor::start(&nats, data.path()).await;
        tokio::time::timeout(HEALTHY_AGAIN_MAX, until_empty(&nats)).await.expect("it is decided and acknowledged");
        processor.stop().await;
        nats.stop();
        put_in_place(kept.path(), &folder);
        nats.start_again();
        assert_eq!((messages(&nats).await, waiting(&nats).await), (1, 0), "the server does not see it by itself");

        let processor = RunningProcessor::start(&nats, data.path()).await;
        let client = nats.client().await;
        let again = async {
            until_empty(&nats).await;
            until_well(&client).await;
        };
        if tokio::time::timeout(HEALTHY_AGAIN_MAX, again).await.is_err() {
            verdict.complaints.push(format!("run {run}: not well again: {}", health(&client).await));
        }
        processor.stop().await;
    }
    verdict.lost += runs - commits(data.path()).unwrap().len();
    Row::whole("broker: stopped between an acknowledgement and its removal", runs, &verdict);
}

fn put_in_place(kept: &Path, folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    copy_folder(kept, folder);
}
