//! The same command again: in one batch, later, after restarts, without an index, and from many senders at once. One
//! decision, and the same bytes for everybody.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, stream};
use hapax::client::{Client, Outcome, Prepared, RawCommand, SendError};
use hapax::samples::{Account, AccountCommand, AccountEvent};
use hapax::{Aggregate, CommandId, CommandName, Principal};

use crate::common::nats::NatsServer;
use crate::plain::{Answer, Plain, id, site};
use crate::processor::RunningProcessor;

const OPEN: &str = r#"{"owner":"ann"}"#;
const DEPOSIT: &str = r#"{"amount":100}"#;

/// Streams and consumer are there afterwards, so that commands can wait while no processor runs.
async fn provisioned(nats: &NatsServer, data: &Path) {
    RunningProcessor::start(nats, data).await.stop().await;
}

async fn state(alice: &Plain, key: &str) -> (u64, i64) {
    let state = alice.ask(&format!("state.account.{key}"), "").await.json();
    (state["version"].as_u64().unwrap(), state["state"]["balance"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_in_one_batch() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    provisioned(&nats, data.path()).await;
    let alice = Plain::connect(&nats, "alice").await;
    alice.store(&alice.letter("account.42.open", &id(0), OPEN)).await;
    let letters: Vec<_> = (1..=50).map(|number| alice.letter("account.42.deposit", &id(number), DEPOSIT)).collect();
    let mut inboxes = Vec::new();
    for letter in letters.iter().chain(&letters) {
        inboxes.push(alice.store_for_answer(letter).await);
    }
    // What waits is taken in together.
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let answers: Vec<Answer> = join_all(inboxes.iter_mut().map(|inbox| inbox.next())).await;
    let (first, second) = answers.split_at(50);
    for (number, (first, second)) in (2..).zip(first.iter().zip(second)) {
        assert_eq!((first.replayed, second.replayed), (false, true));
        assert_eq!(first.body, second.body);
        assert_eq!(first.json()["version"], number);
    }
    assert_eq!(state(&alice, "42").await, (51, 5_000));
    alice.until_counted("decided", 51).await;
    alice.until_counted("replayed", 50).await;
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_in_later_batches_and_after_a_restart() {
    let (nats, data, processor, alice) = site().await;
    alice.tell("account.42.open", &id(0), OPEN).await;
    let accepted = alice.letter("account.42.deposit", &id(1), DEPOSIT);
    let rejected = alice.letter("account.42.withdraw", &id(2), r#"{"amount":500}"#);
    let firsts = [alice.send(&accepted).await, alice.send(&rejected).await];
    // More money would change the rejection, were it decided again.
    alice.tell("account.42.deposit", &id(3), r#"{"amount":1000}"#).await;
    let replays = [alice.send(&accepted).await, alice.send(&rejected).await];
    processor.stop().await;
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let after_restart = [alice.send(&accepted).await, alice.send(&rejected).await];
    for (first, replays) in firsts.iter().zip(replays.iter().zip(&after_restart)) {
        assert!(!first.replayed && replays.0.replayed && replays.1.replayed);
        assert_eq!((&first.body, &first.body), (&replays.0.body, &replays.1.body));
    }
    assert_eq!(state(&alice, "42").await, (3, 1_100));
    alice.until_counted("decided", 0).await;
    processor.stop().await;
}

/// The index may be lost in whole or in part. What was sent stays sent.
async fn copies_without(files: &[&str], is_doubted: bool) {
    let (nats, data, processor, alice) = site().await;
    alice.tell("account.42.open", &id(0), OPEN).await;
    let deposit = alice.letter("account.42.deposit", &id(1), DEPOSIT);
    let first = alice.send(&deposit).await;
    processor.stop().await;
    for file in files {
        let path = data.path().join("p0").join(file);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    let processor = RunningProcessor::start(&nats, data.path()).await;
    assert_eq!(processor.doubt().is_some(), is_doubted, "{:?}", processor.notices());
    assert_eq!(processor.commits_rebuilt(), 2);
    let replay = alice.send(&deposit).await;
    assert_eq!((replay.replayed, replay.body), (true, first.body));
    assert_eq!(alice.tell("account.42.open", &id(2), OPEN).await.verdict(), (409, "already_open".into()));
    assert_eq!(state(&alice, "42").await, (2, 100));
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_after_the_index_is_wiped() {
    copies_without(&["sled"], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_after_the_checkpoint_is_wiped() {
    copies_without(&["checkpoint.json"], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_after_index_and_checkpoint_are_wiped() {
    copies_without(&["sled", "checkpoint.json"], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_senders_of_one_command_at_once() {
    let (nats, _data, processor, alice) = site().await;
    alice.tell("account.42.open", &id(0), OPEN).await;
    let deposit = RawCommand {
        id: CommandId::parse(&id(1)).unwrap(),
        aggregate: "account/42".parse().unwrap(),
        name: CommandName::parse("deposit").unwrap(),
        data: Bytes::from(DEPOSIT),
        expected: None,
        not_after: None,
    };
    let clients = join_all(
        (0..8).map(|_| async { Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap() }),
    );
    let clients = clients.await;
    // The stream swallows most of the copies, and their senders attach to the outcome.
    let sends = clients.iter().map(|client| client.send_raw(deposit.clone(), Duration::from_secs(30)));
    let outcomes: Vec<_> = join_all(sends).await.into_iter().map(|outcome| outcome.unwrap()).collect();
    assert!(outcomes.iter().all(|outcome| outcome.json == outcomes[0].json), "{outcomes:?}");
    assert_eq!(outcomes[0].outcome.version.0, 2);
    assert_eq!(state(&alice, "42").await, (2, 100));
    alice.until_counted("decided", 2).await;
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_with_other_content_changes_nothing() {
    let (_nats, _data, processor, alice) = site().await;
    alice.tell("account.42.open", &id(0), OPEN).await;
    let deposit = alice.letter("account.42.deposit", &id(1), DEPOSIT);
    let first = alice.send(&deposit).await;
    let others = [
        alice.letter("account.42.deposit", &id(1), r#"{"amount":101}"#),
        alice.letter("account.42.deposit", &id(1), r#"{"amount":100.0}"#),
        alice.letter("account.42.deposit", &id(1), "{"),
        alice.letter("account.42.withdraw", &id(1), DEPOSIT),
        alice.letter("order.42.deposit", &id(1), DEPOSIT),
        deposit.clone().header("Hapax-Expected-Version", "1"),
    ];
    for other in &others {
        let answer = alice.send(other).await;
        assert_eq!(answer.verdict(), (422, "id_reused".into()));
        assert_eq!(answer.json()["retry"]["with"], "new_id");
    }
    assert_eq!(alice.send(&deposit).await.body, first.body);
    assert_eq!(state(&alice, "42").await, (2, 100));
    alice.until_counted("decided", 2).await;
    processor.stop().await;
}

/// The stream absorbs a copy by its id alone, so a command with an id of another one vanishes without a word. Its sender
/// attached to the id, and took the other's outcome for his own: a deposit of 5,000 was reported as accepted, and 5 had
/// been deposited. So who attaches says what he has sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_stream_absorbed_is_not_reported_as_decided() {
    let (nats, _data, processor, _alice) = site().await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    client.send(Account::at("42"), AccountCommand::Open { owner: "ann".to_owned() }).await.unwrap();
    let reused = CommandId::parse(&id(7)).unwrap();
    let amounts = [5, 5, 5_000, 50_000];
    let deposits =
        amounts.map(|amount| Prepared::new(Account::at("42"), AccountCommand::Deposit { amount }).id(reused.clone()));
    let mut settled: Vec<_> = client.send_all(stream::iter(deposits), 4).collect().await;
    settled.sort_by_key(|(number, _)| *number);
    for ((_, outcome), amount) in settled.into_iter().zip(amounts) {
        match outcome {
            Ok(Outcome::Accepted { events, .. }) => assert_eq!(events, [AccountEvent::Deposited { amount }]),
            Err(SendError::Refused { refusal, .. }) => assert_eq!((refusal.code, amount > 5), (422, true)),
            other => panic!("{amount}: {other:?}"),
        }
    }
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_belongs_to_its_principal_and_key() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let (alice, bob) = (Plain::connect(&nats, "alice").await, Plain::connect(&nats, "bob").await);
    let first = alice.tell("account.1.open", &id(0), OPEN).await;
    assert_eq!(first.verdict().0, 200);
    assert_eq!(alice.tell("account.2.open", &id(0), OPEN).await.verdict().0, 200);
    // The same key is another command from another principal: decided for itself, and no look at alice's outcome.
    assert_eq!(bob.ask(&format!("outcome.account.1.{}", id(0)), "").await.json()["status"], "unknown");
    assert_eq!(bob.tell("account.1.open", &id(0), OPEN).await.verdict(), (409, "already_open".into()));
    assert_eq!(alice.tell("account.1.open", &id(0), OPEN).await.body, first.body);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_json_in_another_spelling_is_a_retry() {
    let (_nats, _data, processor, alice) = site().await;
    let place = r#"{"lines":[{"sku":"tea","quantity":2,"price":350}]}"#;
    let first = alice.tell("order.7.place", &id(0), place).await;
    assert_eq!(first.verdict().0, 200, "{first:?}");
    let spellings = [
        "{ \"lines\" : [\n {\"sku\":\"tea\", \"quantity\":2,\t\"price\":350} ] }",
        r#"{"lines":[{"price":350,"quantity":2,"sku":"tea"}]}"#,
        r#"{"lines":[{"price":350,"sku":"t\u0065a","quantity":2}]}"#,
    ];
    for spelling in spellings {
        let replay = alice.tell("order.7.place", &id(0), spelling).await;
        assert_eq!((replay.replayed, &replay.body), (true, &first.body), "{spelling}");
    }
    processor.stop().await;
}
