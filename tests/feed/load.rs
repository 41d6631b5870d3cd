//! Under load, while processes and brokers die.

use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use hapax::client::{Client, Prepared};
use hapax::nats::feed::FeedReader;
use hapax::samples::{Account, AccountCommand};
use hapax::{Aggregate, CommandId, Position, Principal};

use crate::child::ChildProcessor;
use crate::common::feed::{feed_is_store, read_feed};
use crate::common::nats::NatsServer;
use crate::common::proxy::Proxy;
use crate::plain::{PATIENCE, id};
use crate::processor::{RunningProcessor, samples, settings};

const COMMANDS: u64 = 3_000;
const ACCOUNTS: u64 = 10;

/// A load that ends when every command has its outcome.
async fn load(nats: &NatsServer) {
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let commands = (0..COMMANDS).map(|number| {
        let command = match number / ACCOUNTS {
            0 => AccountCommand::Open { owner: "ann".to_owned() },
            _ => AccountCommand::Deposit { amount: 1 },
        };
        let prepared = Prepared::new(Account::at((number % ACCOUNTS).to_string()), command);
        prepared.id(CommandId::parse(&id(number)).unwrap())
    });
    let settled = client.send_all(stream::iter(commands), 128).collect::<Vec<_>>();
    let settled = tokio::time::timeout(2 * PATIENCE, settled).await.expect("everything is settled in time");
    settled.into_iter().for_each(|(number, outcome)| {
        outcome.unwrap_or_else(|error| panic!("command {number}: {error}"));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_processor_goes_on_where_the_stream_stands() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(nats.port()).await;
    let killing = async {
        for messages in [1, 300, 1_200] {
            let child = ChildProcessor::start(&proxy.url(), data.path());
            proxy.until_passed("evt.", messages).await;
            child.kill();
        }
        RunningProcessor::start(&nats, data.path()).await
    };
    let (processor, ()) = tokio::join!(killing, load(&nats));
    processor.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await as u64, COMMANDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_is_fed_on() {
    let (mut nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(nats.port()).await;
    let processor = RunningProcessor::start_with(samples(), settings(proxy.url(), data.path())).await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let loading = tokio::spawn(async move {
        let opens = (0..COMMANDS)
            .map(|number| Prepared::new(Account::at(number.to_string()), AccountCommand::Open { owner: "ann".into() }));
        let settled = client.send_all(stream::iter(opens), 128).collect::<Vec<_>>();
        tokio::time::timeout(2 * PATIENCE, settled).await.expect("everything is settled in time").len() as u64
    });
    for messages in [100, 500, 1_000] {
        proxy.until_passed("evt.", messages).await;
        tokio::task::block_in_place(|| nats.restart());
    }
    assert_eq!(loading.await.unwrap(), COMMANDS);
    // A stop waits for the feed for a while only, and an answer that the broker owes it is given up later.
    let jetstream = async_nats::jetstream::new(nats.client().await);
    let fed = async {
        while jetstream.get_stream("EVENTS_0").await.unwrap().cached_info().state.last_sequence < COMMANDS {
            tokio::time::sleep(Duration::from_millis(10)).await; // A pause between two looks.
        }
    };
    tokio::time::timeout(PATIENCE, fed).await.expect("the feed goes on where the broker stands");
    processor.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await as u64, COMMANDS);
}

/// The server stores all commits of an atomic batch or none; but while it does, they can be seen one by one.
#[tokio::test(flavor = "multi_thread")]
async fn no_reader_gets_half_of_an_atomic_batch() {
    const BATCHES: u64 = 40;
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let feed = FeedReader::open(&async_nats::jetstream::new(nats.client().await), 0).await.unwrap();
    let mut commits = Box::pin(feed.commits(Position::FIRST, None).await.unwrap());
    let reading = tokio::spawn(async move {
        for _ in 0..BATCHES {
            let head = tokio::time::timeout(PATIENCE, commits.next()).await.expect("it comes").unwrap().unwrap();
            assert!(head.followers > 0, "at {}", head.position);
            for _ in 0..head.followers {
                let follower = commits.next().now_or_never().expect("it is there with the first");
                assert_eq!(follower.unwrap().unwrap().command.name.as_str(), "open");
            }
        }
    });
    for number in 0..BATCHES {
        let mut batch = client.batch();
        for item in 0..=number * 25 % 999 {
            let account = Account::at(format!("{number}-{item}"));
            batch = batch.command(Prepared::new(account, AccountCommand::Open { owner: "ann".to_owned() }));
        }
        batch.run().await.unwrap();
    }
    reading.await.unwrap();
    processor.stop().await;
    feed_is_store(&nats.client().await, data.path(), 0).await;
}

/// Wherever the processor dies, the stream has all of an atomic batch or nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn no_half_of_an_atomic_batch_stays_behind() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(nats.port()).await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let sending = tokio::spawn(async move {
        for number in 0..30 {
            let mut batch = client.batch();
            for item in 0..50 {
                let account = Account::at(format!("{number}-{item}"));
                batch = batch.command(Prepared::new(account, AccountCommand::Open { owner: "ann".to_owned() }));
            }
            batch.run().await.unwrap();
        }
    });
    for messages in [10, 170, 600] {
        let child = ChildProcessor::start(&proxy.url(), data.path());
        proxy.until_passed("evt.", messages).await;
        child.kill();
        // What has come to the server whole is shown one by one while it is stored; and then there is no half.
        let client = nats.client().await;
        let whole = async { while !read_feed(&client, 0).await.len().is_multiple_of(51) {} };
        tokio::time::timeout(PATIENCE, whole).await.expect("a batch of 50 is 51 commits");
    }
    let processor = RunningProcessor::start(&nats, data.path()).await;
    sending.await.unwrap();
    processor.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await, 30 * 51);
}
