//! A processor that dies between two steps, and a delivery that is not acknowledged.
//!
//! To stop it at an exact point, a proxy withholds whatever would show the next step to the world, and tells when it was
//! tried; then the process gets SIGKILL. A reply that is tried has its commit on disk, for it never leaves before.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use futures::{StreamExt, stream};
use hapax::client::{Client, Prepared};
use hapax::samples::{Account, AccountCommand};
use hapax::{Aggregate, CommandId, Principal};

use crate::child::ChildProcessor;
use crate::common::nats::NatsServer;
use crate::common::proxy::Proxy;
use crate::plain::{Plain, id};
use crate::processor::{RunningProcessor, samples, settings};

const OPEN: &str = r#"{"owner":"ann"}"#;
const DEPOSIT: &str = r#"{"amount":100}"#;

const REPLIES: &str = "_INBOX.alice.";
const ACKS: &str = "$JS.ACK.";

async fn balance(alice: &Plain) -> (u64, i64) {
    let state = alice.ask("state.account.42", "").await.json();
    (state["version"].as_u64().unwrap(), state["state"]["balance"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_append_and_reply() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(nats.port()).await;
    let child = ChildProcessor::start(&proxy.url(), data.path());
    let alice = Plain::connect(&nats, "alice").await;
    alice.tell("account.42.open", &id(0), OPEN).await;
    proxy.until_passed(ACKS, 1).await;

    proxy.withhold(&[REPLIES, ACKS]);
    let deposit = alice.letter("account.42.deposit", &id(1), DEPOSIT);
    let mut inbox = alice.store_for_answer(&deposit).await;
    proxy.until_withheld(REPLIES, 1).await;
    child.kill();
    assert_eq!((proxy.passed(REPLIES), proxy.passed(ACKS)), (1, 1), "only those of the first command");
    assert!(inbox.is_empty());

    let processor = RunningProcessor::start(&nats, data.path()).await;
    // The sender again, at once; and what was not acknowledged, after the consumer's ack_wait.
    let retry = alice.send(&deposit).await;
    let redelivery = inbox.next().await;
    assert!(retry.replayed && redelivery.replayed);
    assert_eq!((retry.verdict().0, &retry.body), (200, &redelivery.body));
    assert_eq!(balance(&alice).await, (2, 100));
    alice.until_counted("decided", 0).await;
    alice.until_nothing_waits().await;
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_reply_and_ack() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(nats.port()).await;
    proxy.withhold(&[ACKS]);
    let child = ChildProcessor::start(&proxy.url(), data.path());
    let alice = Plain::connect(&nats, "alice").await;
    let mut opening = alice.store_for_answer(&alice.letter("account.42.open", &id(0), OPEN)).await;
    let mut inbox = alice.store_for_answer(&alice.letter("account.42.deposit", &id(1), DEPOSIT)).await;
    let firsts = [opening.next().await, inbox.next().await];
    assert!(firsts.iter().all(|first| !first.replayed && first.verdict().0 == 200));
    proxy.until_withheld(ACKS, 2).await;
    child.kill();
    assert_eq!(proxy.passed(ACKS), 0);

    let processor = RunningProcessor::start(&nats, data.path()).await;
    let again = [opening.next().await, inbox.next().await];
    for (first, again) in firsts.iter().zip(&again) {
        assert_eq!((again.replayed, &again.body), (true, &first.body));
    }
    assert_eq!(balance(&alice).await, (2, 100));
    alice.until_counted("decided", 0).await;
    alice.until_counted("replayed", 2).await;
    alice.until_nothing_waits().await;
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_is_delivered_again_and_answered_the_same() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(nats.port()).await;
    proxy.withhold(&[ACKS]);
    let processor = RunningProcessor::start_with(samples(), settings(proxy.url(), data.path())).await;
    let alice = Plain::connect(&nats, "alice").await;
    let mut inbox = alice.store_for_answer(&alice.letter("account.42.open", &id(0), OPEN)).await;
    let first = inbox.next().await;
    proxy.until_withheld(ACKS, 1).await;
    let mut consumer: PullConsumer =
        alice.jetstream().get_stream("COMMANDS").await.unwrap().get_consumer("processor-0").await.unwrap();
    assert_eq!(consumer.info().await.unwrap().num_ack_pending, 1);

    proxy.withhold(&[]);
    let again = inbox.next().await; // After the consumer's ack_wait.
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(first.body, again.body);
    alice.until_nothing_waits().await;
    alice.until_counted("decided", 1).await;
    processor.stop().await;
}

/// Kills at several depths of a load that the client sends through, whatever happens.
#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load() {
    const COMMANDS: u64 = 3_000;
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let deposits = (0..COMMANDS).map(|number| {
        let command = match number / 10 {
            0 => AccountCommand::Open { owner: "ann".to_owned() },
            _ => AccountCommand::Deposit { amount: 1 },
        };
        let prepared = Prepared::new(Account::at((number % 10).to_string()), command);
        prepared.id(CommandId::parse(&id(number)).unwrap())
    });
    let url = Proxy::start(nats.port()).await;
    let killing = async {
        for replies in [1, 300, 900] {
            let child = ChildProcessor::start(&url.url(), data.path());
            url.until_passed(REPLIES, replies).await;
            child.kill();
        }
        RunningProcessor::start(&nats, data.path()).await
    };
    let sending = client.send_all(stream::iter(deposits), 128).collect::<Vec<_>>();
    let (processor, settled) = tokio::join!(killing, tokio::time::timeout(Duration::from_secs(100), sending));
    let settled = settled.expect("everything is settled in time");
    assert_eq!(settled.len() as u64, COMMANDS);
    for (number, outcome) in settled {
        let outcome = outcome.unwrap_or_else(|error| panic!("command {number}: {error}"));
        // Those before the account was opened are rejected: a copy that was lost is sent again behind its successors.
        assert!(outcome.version().0 <= COMMANDS / 10);
    }
    let alice = Plain::connect(&nats, "alice").await;
    let (mut durable, mut accepted) = (0, 0);
    for key in 0..10 {
        let state = alice.ask(&format!("state.account.{key}"), "").await.json();
        let (version, balance) = (state["version"].as_u64().unwrap(), state["state"]["balance"].as_u64().unwrap());
        assert_eq!(version, balance + 1, "one event each: {state}");
        accepted += version;
    }
    for number in 0..COMMANDS {
        let known = alice.ask(&format!("outcome.account.{}.{}", number % 10, id(number)), "").await.json();
        durable = durable.max(known["position"].as_u64().unwrap());
        accepted -= u64::from(known["status"] == "accepted");
    }
    assert_eq!((durable, accepted), (COMMANDS, 0), "one commit for each command, one event for each acceptance");
    processor.stop().await;
}
