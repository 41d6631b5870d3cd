//! Starting, going on and stopping: with whom a processor shares its broker and its data, and what a stop leaves.

#[cfg(feature = "cli")]
use std::io::{BufRead, BufReader};
#[cfg(feature = "cli")]
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use futures::{StreamExt, stream};
use hapax::client::{Client, Prepared, SendError};
use hapax::nats::provision::ProvisionError;
use hapax::nats::{ConnectOptions, Credentials};
use hapax::samples::{Account, AccountCommand};
use hapax::serve::{Fatal, Feed, Notice, ServeError, Settings};
use hapax::store::file::OpenError;
use hapax::{Aggregate, Context, Principal, Service};
use serde::{Deserialize, Serialize};

use crate::common::nats::NatsServer;
use crate::common::raw::RawSocket;
use crate::plain::{PATIENCE, Plain, id, site};
use crate::processor::{RunningProcessor, refused_start, samples, settings};

const OPEN: &str = r#"{"owner":"ann"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deleted_is_made_again() {
    let (_nats, _data, processor, alice) = site().await;
    let first = alice.tell("account.42.open", &id(0), OPEN).await;
    let stream = alice.jetstream().get_stream("COMMANDS").await.unwrap();
    assert!(stream.delete_consumer("processor-0").await.unwrap().success);
    assert_eq!(alice.tell("account.42.deposit", &id(1), r#"{"amount":1}"#).await.verdict().0, 200);
    assert_eq!(alice.tell("account.42.open", &id(0), OPEN).await.body, first.body);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_deleted_is_made_again() {
    let (nats, _data, processor, alice) = site().await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    alice.tell("account.42.open", &id(0), OPEN).await;
    alice.jetstream().delete_stream("COMMANDS").await.unwrap();
    // What it held is the client's to send again, and it does.
    let deposit = AccountCommand::Deposit { amount: 1 };
    let outcome = client.send(Account::at("42"), deposit).deadline(PATIENCE).await.unwrap();
    assert!(outcome.is_accepted());
    processor.stop().await;
}

/// They would fill the stream up, and everything would look well.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_consumer_gets_is_told() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    RunningProcessor::start(&nats, data.path()).await.stop().await;
    let mut raw = RawSocket::connect(nats.port());
    raw.publish(b"cmd.alice.account.k\x7f.open", b"NATS/1.0\r\n\r\n", b"{}");
    raw.flush();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let alice = Plain::connect(&nats, "alice").await;
    let health = alice.until_health(|health| health["state"] == "degraded").await;
    assert_eq!(
        health["why"],
        serde_json::json!(["1 messages in the stream COMMANDS reach no consumer and fill it up"])
    );
    assert_eq!(alice.tell("account.42.open", &id(0), OPEN).await.verdict().0, 200);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_taken_in_and_the_next_start_rebuilds_nothing() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let opens = (0_u64..)
        .map(|number| Prepared::new(Account::at(number.to_string()), AccountCommand::Open { owner: "ann".to_owned() }));
    let settled = client.send_all(stream::iter(opens).take(5_000), 256);
    let mut settled = std::pin::pin!(settled);
    let mut decided = 0;
    while decided < 1_000 {
        let (_, outcome) = settled.next().await.unwrap();
        assert!(outcome.unwrap().is_accepted());
        decided += 1;
    }
    // In the middle of the load.
    let accepted = settled.map(|(_, outcome)| outcome.unwrap().is_accepted());
    let (rest, processor) = tokio::join!(accepted.collect::<Vec<_>>(), async {
        processor.stop().await;
        let processor = RunningProcessor::start(&nats, data.path()).await;
        assert!(processor.doubt().is_none(), "{:?}", processor.notices());
        assert_eq!(processor.commits_rebuilt(), 0);
        processor
    });
    assert_eq!(rest, vec![true; 4_000]);
    let alice = Plain::connect(&nats, "alice").await;
    let health = alice.until_health(|health| health["partitions"][0]["durable"] == 5_000).await;
    assert_eq!(health["state"], "ready");
    // What lay with the first one and was not taken in comes again after the consumer's ack_wait.
    alice.until_nothing_waits().await;
    processor.stop().await;
}

/// The program, told by its service manager. It stops by the same way as above, and says so by its exit code.
#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_leaves_nothing_to_rebuild() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_hapax"))
        .args(["serve", "--server", &nats.url(), "--data"])
        .arg(data.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.starts_with("ready")), "it ended before it was ready");
    let alice = Plain::connect(&nats, "alice").await;
    let first = alice.tell("account.42.open", &id(0), OPEN).await;
    let told = Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap();
    assert!(told.success() && program.wait().unwrap().success());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    assert_eq!((processor.doubt(), processor.commits_rebuilt()), (None, 0));
    assert_eq!(alice.tell("account.42.open", &id(0), OPEN).await.body, first.body);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_processor_on_the_same_data_is_refused() {
    let (nats, data, processor, alice) = site().await;
    let first = alice.tell("account.42.open", &id(0), OPEN).await;
    // By the broker, which sees that somebody pulls.
    let error = refused_start(settings(nats.url(), data.path())).await;
    assert!(matches!(error, ServeError::Fatal(Fatal::Provision(ProvisionError::Busy { .. }))), "{error:?}");
    assert_eq!(error.to_string(), "the streams cannot be used");
    // By the data itself, whatever the broker says: told to take over, and on another broker.
    let other = NatsServer::start();
    let take_over = Settings { take_over: true, ..settings(nats.url(), data.path()) };
    let unfed = Settings { feed: Feed::Off, ..settings(other.url(), data.path()) };
    for settings in [take_over, unfed] {
        let error = refused_start(settings).await;
        assert!(matches!(error, ServeError::Fatal(Fatal::Open(OpenError::Locked { .. }))), "{error:?}");
    }
    // The first one has noticed nothing.
    assert_eq!(alice.tell("account.42.open", &id(0), OPEN).await.body, first.body);
    assert_eq!(alice.tell("account.42.close", &id(1), "").await.verdict().0, 200);
    processor.stop().await;
    let processor = RunningProcessor::start(&nats, data.path()).await;
    assert!(processor.doubt().is_none());
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_store_on_the_same_broker_is_refused() {
    let nats = NatsServer::start();
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    RunningProcessor::start(&nats, data.path()).await.stop().await;
    let error = refused_start(settings(nats.url(), other.path())).await;
    assert!(matches!(error, ServeError::Fatal(Fatal::Provision(ProvisionError::ForeignStore { .. }))), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_authenticate_is_said_loudly() {
    let open = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&open, data.path()).await;
    assert!(matches!(processor.notices()[..], [Notice::NoAuthentication, ..]), "{:?}", processor.notices());
    processor.stop().await;

    let closed = NatsServer::start_with(&["--user", "hapax", "--pass", "secret"]);
    let data = tempfile::tempdir().unwrap();
    let credentials = Credentials::User { name: "hapax".to_owned(), password: "secret".to_owned() };
    let nats = ConnectOptions { credentials: Some(credentials), ..settings(closed.url(), data.path()).nats };
    let settings = Settings { nats, ..settings(closed.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), settings).await;
    assert!(!processor.notices().iter().any(|notice| matches!(notice, Notice::NoAuthentication)));
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_processor_the_client_does_not_know() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    RunningProcessor::start(&nats, data.path()).await.stop().await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let open = AccountCommand::Open { owner: "ann".to_owned() };
    let sent = client.send(Account::at("42"), open).deadline(Duration::from_millis(500)).await;
    let Err(SendError::Unknown { id, .. }) = sent else { panic!("{sent:?}") };
    // The stream has it, so it is decided as soon as somebody decides.
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let known = client.outcome(&"account/42".parse().unwrap(), &id, Duration::from_secs(30)).await.unwrap();
    assert!(matches!(known, hapax::client::Known::Decided(_)), "{known:?}");
    processor.stop().await;
}

/// Whoever holds this keeps the next decision of a [`Sleeper`] from returning.
static BED: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Sleeper;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SleeperCommand {
    Sleep,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SleeperEvent {
    Slept,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum SleeperRejection {}

impl Aggregate for Sleeper {
    const TYPE: &'static str = "sleeper";
    type Command = SleeperCommand;
    type Event = SleeperEvent;
    type Rejection = SleeperRejection;

    fn decide(&self, _: SleeperCommand, _: &Context<'_>) -> Result<Vec<SleeperEvent>, SleeperRejection> {
        drop(BED.lock());
        Ok(vec![SleeperEvent::Slept])
    }

    fn evolve(self, _: &SleeperEvent) -> Sleeper {
        Sleeper
    }
}

/// It keeps its own partition from everything, and nobody else: each has a thread of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_does_not_return_is_told() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let service = Service::new().with::<Sleeper>();
    let processor = RunningProcessor::start_with(service, settings(nats.url(), data.path())).await;
    let alice = Plain::connect(&nats, "alice").await;
    let (go, gone) = std::sync::mpsc::channel();
    let (lies, lain) = tokio::sync::oneshot::channel();
    let keeper = std::thread::spawn(move || {
        let bed = BED.lock().unwrap();
        lies.send(()).unwrap();
        gone.recv().unwrap();
        drop(bed);
    });
    lain.await.unwrap();
    let mut answer = alice.store_for_answer(&alice.letter("sleeper.1.sleep", &id(0), "{}")).await;
    let health = alice.until_health(|health| health["state"] == "degraded").await;
    let why = health["why"][0].as_str().unwrap();
    assert!(why.contains("an aggregate's code does not return"), "{why}");
    go.send(()).unwrap();
    keeper.join().unwrap();
    assert_eq!(answer.next().await.verdict().0, 200);
    alice.until_health(|health| health["state"] == "ready").await;
    processor.stop().await;
}
