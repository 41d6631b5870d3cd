//! What a command costs, in counts: writes and fsyncs, look-ups, messages. A benchmark is slow on a slow machine; these are
//! the same everywhere.

mod common;
// Each test binary uses its part of what drives a processor.
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::ConnectOptions;
use bytes::Bytes;
use common::feed::feed_messages;
use common::nats::NatsServer;
use common::proxy::Proxy;
use common::pure::Pure;
use futures::{StreamExt, stream};
use hapax::client::{Client, Prepared, Window};
use hapax::model::header;
use hapax::samples::{Account, AccountCommand};
use hapax::serve::{Feed, Settings};
use hapax::{Aggregate, Principal, Service};
use processor::{RunningProcessor, samples, settings};
use uuid::Uuid;

/// Commands of a load.
const COMMANDS: usize = 400;

/// Accounts that they go to.
const ACCOUNTS: usize = 20;

/// Of what is made durable together: one in the segment, and the proof.
const WRITES: u64 = 2;

/// What was counted.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    writes: u64,
    syncs: u64,
    index_reads: u64,
}

struct World(Pure);

impl World {
    /// Every account is open, and the index knows it.
    fn new() -> World {
        let mut world = World(Pure::new(Service::new().with::<Account>()));
        world.cost_of((0..ACCOUNTS).map(|account| World::command("open", account, account, r#"{"owner":"ann"}"#)));
        world.0.note().unwrap();
        world
    }

    fn command(name: &str, number: usize, account: usize, body: &str) -> (String, String, String) {
        (format!("cmd.alice.account.{account}.{name}"), format!("{name}-{number:016}"), body.to_owned())
    }

    fn deposits(count: usize) -> impl Iterator<Item = (String, String, String)> {
        (0..count).map(|number| World::command("deposit", number, number % ACCOUNTS, r#"{"amount":1}"#))
    }

    /// Everything is there before the processor looks, and comes as one batch.
    fn cost_of(&mut self, commands: impl Iterator<Item = (String, String, String)>) -> Cost {
        let pure = &mut self.0;
        let before = (pure.disk.happened(), pure.index_reads());
        let (mut sent, replies) = (0, pure.replies.len());
        for (number, (subject, id, body)) in commands.enumerate() {
            let inbox = format!("_INBOX.alice.{number}");
            let headers = [(header::ID.to_owned(), id), (header::REPLY_TO.to_owned(), inbox)];
            assert!(pure.publish(number, &subject, &headers, Bytes::from(body), false));
            sent += 1;
        }
        while pure.deliver(sent).unwrap() {}
        while pure.look_up().unwrap() {}
        while pure.sync().unwrap() {}
        assert_eq!(pure.replies.len() - replies, sent, "all are answered");
        let (disk, index_reads) = (pure.disk.happened(), pure.index_reads());
        Cost {
            writes: disk.writes - before.0.writes,
            syncs: disk.syncs - before.0.syncs,
            index_reads: index_reads - before.1,
        }
    }
}

#[test]
fn what_is_taken_in_together_is_written_and_synced_once_and_looked_up_for_each_id() {
    let cost = World::new().cost_of(World::deposits(COMMANDS));
    assert_eq!(cost, Cost { writes: WRITES, syncs: 1, index_reads: COMMANDS as u64 });
}

/// As nearly all are: UUIDs of version 7, made later than all that have left memory.
#[test]
fn a_new_id_that_says_when_it_was_made_is_not_looked_up() {
    let deposits = || {
        World::deposits(COMMANDS).zip(1_u128..).map(|((subject, _, body), number)| {
            let id = Uuid::from_u128(1_800_000_000_000 << 80 | 7 << 76 | 1 << 63 | number);
            (subject, id.to_string(), body)
        })
    };
    let mut world = World::new();
    assert_eq!(world.cost_of(deposits()), Cost { writes: WRITES, syncs: 1, index_reads: 0 });
    world.0.note().unwrap();
    assert_eq!(world.cost_of(deposits()), Cost { writes: 0, syncs: 0, index_reads: COMMANDS as u64 }, "a retry is");
}

#[test]
fn an_aggregate_that_is_not_in_memory_is_looked_up_once() {
    let mut world = World::new();
    world.0.die();
    world.0.start().unwrap();
    let cost = world.cost_of(World::deposits(COMMANDS));
    // Of each account its head and its snapshot.
    assert_eq!(cost, Cost { writes: WRITES, syncs: 1, index_reads: (COMMANDS + 2 * ACCOUNTS) as u64 });
}

#[test]
fn a_retry_is_no_write_and_no_fsync() {
    let mut world = World::new();
    world.cost_of(World::deposits(COMMANDS));
    let from_memory = world.cost_of(World::deposits(COMMANDS));
    assert_eq!(from_memory, Cost { writes: 0, syncs: 0, index_reads: 0 });
    world.0.note().unwrap();
    let from_index = world.cost_of(World::deposits(COMMANDS));
    assert_eq!(from_index, Cost { writes: 0, syncs: 0, index_reads: COMMANDS as u64 });
}

#[test]
fn a_batch_is_written_and_synced_once() {
    let items = |name: &str| {
        let item = |number: usize| {
            let account = number % ACCOUNTS;
            format!(
                r#"{{"id":"{name}-{number:016}","aggregate":"account","key":"{account}","command":"deposit","data":{{"amount":1}}}}"#
            )
        };
        (0..COMMANDS).map(item).collect::<Vec<_>>().join(",")
    };
    let batch = |name: &str, atomic: bool| {
        let body = format!(r#"{{"atomic":{atomic},"commands":[{}]}}"#, items(name));
        std::iter::once(("cmd.alice._batch.0.run".to_owned(), format!("{name}-0123456789abcdef"), body))
    };
    let each_for_itself = World::new().cost_of(batch("each", false));
    assert_eq!(each_for_itself, Cost { writes: WRITES, syncs: 1, index_reads: COMMANDS as u64 });
    // It has an id of its own.
    let atomic = World::new().cost_of(batch("atomic", true));
    assert_eq!(atomic, Cost { writes: WRITES, syncs: 1, index_reads: 1 + COMMANDS as u64 });
}

async fn alice(url: String) -> Client {
    let connection = ConnectOptions::new().connect(url).await.unwrap();
    Client::new(connection, Principal::parse("alice").unwrap()).await.unwrap()
}

/// To one account after the other; all are accepted.
async fn send(client: &Client, commands: Vec<AccountCommand>) {
    let prepared = commands.into_iter().enumerate();
    let prepared =
        prepared.map(|(number, command)| Prepared::new(Account::at((number % ACCOUNTS).to_string()), command));
    let settled = client.send_all(stream::iter(prepared.collect::<Vec<_>>()), Window::from(64));
    settled.for_each(async |(_, outcome)| assert!(outcome.unwrap().is_accepted())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_one_reply_and_one_acknowledgement() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let (line, to_client) = (Proxy::start(nats.port()).await, Proxy::start(nats.port()).await);
    // The feed has messages of its own, beside the way.
    let unfed = Settings { feed: Feed::Off, ..settings(line.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), unfed).await;
    let alice = alice(to_client.url()).await;
    send(&alice, vec![AccountCommand::Open { owner: "ann".into() }; ACCOUNTS]).await;
    // The last acknowledgements follow the last reply.
    line.until_passed("$JS.ACK.", ACCOUNTS).await;
    let counts = || [line.passed("_INBOX."), line.passed("$JS.ACK."), line.passed(""), to_client.passed("")];
    let before = counts();
    send(&alice, vec![AccountCommand::Deposit { amount: 1 }; COMMANDS]).await;
    line.until_passed("$JS.ACK.", before[1] + COMMANDS).await;
    let [replies, acks, by_processor, by_client] = std::array::from_fn(|which| counts()[which] - before[which]);
    assert_eq!((replies, acks, by_client), (COMMANDS, COMMANDS, COMMANDS));
    // The rest is for more commands, for each of some hundred, and what it tells of itself in the time that it takes.
    assert!(by_processor - replies - acks <= 20, "{by_processor} messages for {COMMANDS} commands");
    tokio::time::timeout(Duration::from_secs(30), processor.stop()).await.unwrap();
}

/// For each sheaf the server makes a store of its own, and a full one costs it hardly more than a small one.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_feed_lags_behind_is_one_sheaf() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let unfed = Settings { feed: Feed::Off, ..settings(nats.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), unfed).await;
    let alice = alice(nats.url()).await;
    send(&alice, vec![AccountCommand::Open { owner: "ann".into() }; ACCOUNTS]).await;
    send(&alice, vec![AccountCommand::Deposit { amount: 1 }; COMMANDS]).await;
    processor.stop().await;
    RunningProcessor::start(&nats, data.path()).await.stop().await; // It ends when everything is fed.
    let messages = feed_messages(&nats.client().await, 0).await;
    assert_eq!(messages.len(), ACCOUNTS + COMMANDS);
    let sheaf = |message: &async_nats::jetstream::Message| {
        let name = message.headers.as_ref().and_then(|headers| headers.get("Nats-Batch-Id"));
        // What comes alone has no name.
        name.map_or_else(|| message.info().unwrap().stream_sequence.to_string(), ToString::to_string)
    };
    let sheaves: BTreeSet<String> = messages.iter().map(sheaf).collect();
    assert_eq!(sheaves.len(), 1);
}
