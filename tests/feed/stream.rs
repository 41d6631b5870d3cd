//! What is in the stream.

use std::time::Duration;

use hapax::Position;
use hapax::model::limits::COMMAND_BYTES_MAX;
use hapax::nats::feed::FeedReader;
use hapax::serve::{Feed, Settings};

use futures::StreamExt;

use crate::common::feed::{Fed, feed_is_store, read_feed};
use crate::common::nats::NatsServer;
use crate::common::proxy::{Line, Proxy};
use crate::plain::{PATIENCE, Plain, id, site};
use crate::processor::{RunningProcessor, samples, settings};

pub(crate) const OPEN: &str = r#"{"owner":"ann"}"#;
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Waits until the feed has everything that is decided.
pub(crate) async fn until_fed(alice: &Plain, durable: u64) {
    alice
        .until_health(|health| {
            let partition = &health["partitions"][0];
            partition["unfed"] == 0 && partition["durable"] == durable
        })
        .await;
}

fn item(number: u64, key: &str, command: &str, data: &str) -> String {
    let id = id(number);
    format!(r#"{{"id":"{id}","aggregate":"account","key":"{key}","command":"{command}","data":{data}}}"#)
}

/// An acceptance, a rejection, a copy, an atomic batch that is accepted and one that is not.
pub(crate) async fn some_of_everything(alice: &Plain) {
    alice.send(&alice.letter("account.42.open", &id(0), OPEN).header("traceparent", TRACE)).await;
    alice.tell("account.42.withdraw", &id(1), r#"{"amount":500}"#).await;
    alice.tell("account.42.open", &id(0), OPEN).await;
    let batch = async |number: u64, amount: u64| {
        let items = [
            item(number + 1, "43", "open", OPEN),
            item(number + 2, "42", "deposit", &format!(r#"{{"amount":{amount}}}"#)),
        ];
        let body = format!(r#"{{"atomic":true,"commands":[{}]}}"#, items.join(","));
        alice.tell("_batch.42.run", &id(number), &body).await
    };
    batch(10, 7).await;
    batch(20, 8).await; // The account is open already.
}

/// The feed of some of everything, with which nobody goes on.
pub(crate) async fn fed() -> (NatsServer, tempfile::TempDir, Plain, Vec<Fed>) {
    let (nats, data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    until_fed(&alice, SOME).await;
    processor.stop().await;
    let fed = read_feed(&nats.client().await, 0).await;
    (nats, data, alice, fed)
}

/// Makes the stream anew, with other messages.
pub(crate) async fn rewrite_feed(alice: &Plain, messages: &[Fed]) {
    let jetstream = alice.jetstream();
    let config = jetstream.get_stream("EVENTS_0").await.unwrap().cached_info().config.clone();
    jetstream.delete_stream("EVENTS_0").await.unwrap();
    jetstream.create_stream(config).await.unwrap();
    for Fed { subject, chain_hash, body, .. } in messages {
        let mut headers = async_nats::HeaderMap::new();
        if !chain_hash.is_empty() {
            headers.insert("Hapax-Chain-Hash", chain_hash.as_str());
        }
        let published = jetstream.publish_with_headers(subject.clone(), headers, body.clone()).await;
        published.unwrap().await.unwrap();
    }
}

/// How many commits that are.
pub(crate) const SOME: u64 = 2 + 3 + 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_the_store() {
    let (nats, data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    until_fed(&alice, SOME).await;
    let client = nats.client().await;
    assert_eq!(feed_is_store(&client, data.path(), 0).await, 8);
    let fed = read_feed(&client, 0).await;
    let subjects: Vec<_> = fed.iter().map(|fed| fed.subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "evt.0.account.42",
            "rej.0.account.42",
            "evt.0._batch.42",
            "evt.0.account.43",
            "evt.0.account.42",
            "rej.0._batch.42",
            "rej.0.account.43",
            "rej.0.account.42",
        ]
    );
    assert_eq!(fed[0].traceparent.as_deref(), Some(TRACE));
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_its_feed() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let settings = Settings { partitions: Some(3), ..settings(nats.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), settings).await;
    let alice = Plain::connect(&nats, "alice").await;
    for number in 0..30 {
        alice.tell(&format!("account.{number}.open"), &id(number), OPEN).await;
    }
    processor.stop().await; // Everything is fed before it ends.
    let client = nats.client().await;
    let mut commits = 0;
    for partition in 0..3 {
        commits += feed_is_store(&client, data.path(), partition).await;
    }
    assert_eq!(commits, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_feed_has_none() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let off = || Settings { feed: Feed::Off, ..settings(nats.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), off()).await;
    let alice = Plain::connect(&nats, "alice").await;
    some_of_everything(&alice).await;
    let health = alice.until_health(|health| health["partitions"][0]["durable"] == SOME).await;
    assert!(health["partitions"][0].get("unfed").is_none(), "{health}");
    processor.stop().await;
    assert!(alice.jetstream().get_stream("EVENTS_0").await.is_err());
    // Who wants one later has all of it; and who then does without has it where it was.
    RunningProcessor::start(&nats, data.path()).await.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await, 8);
    let processor = RunningProcessor::start_with(samples(), off()).await;
    alice.tell("account.42.close", &id(99), "").await;
    processor.stop().await;
    assert_eq!(read_feed(&nats.client().await, 0).await.len(), 8);
    RunningProcessor::start(&nats, data.path()).await.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await, 9);
}

/// What `hapax health` shows beside `unfed`.
#[cfg(feature = "cli")]
fn unfed_as_people_see_it(nats: &NatsServer) -> String {
    let output = crate::program::run(&["health", "--server", &nats.url()]);
    let row = crate::program::stdout(&output).lines().find_map(|line| line.trim().strip_prefix("unfed"));
    row.unwrap_or_else(|| panic!("{output:?}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_the_feed_is_behind_is_told_and_nobody_waits_for_it() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(nats.port()).await;
    proxy.withhold(&["evt.", "rej."]);
    let processor = RunningProcessor::start_with(samples(), settings(proxy.url(), data.path())).await;
    let alice = Plain::connect(&nats, "alice").await;
    some_of_everything(&alice).await;
    alice.until_health(|health| health["partitions"][0]["unfed"] == SOME).await;
    alice.tell("account.42.deposit", &id(30), r#"{"amount":1}"#).await;
    alice.until_health(|health| health["partitions"][0]["unfed"] == SOME + 1).await;
    #[cfg(feature = "cli")]
    assert_eq!(unfed_as_people_see_it(&nats), "9");
    // It says so when that does not change.
    let health = alice.until_health(|health| health["state"] == "degraded").await;
    assert!(health["why"][0].as_str().unwrap().contains("9 commits behind"), "{health}");
    proxy.withhold(&[]);
    until_fed(&alice, SOME + 1).await;
    alice.until_health(|health| health["state"] == "ready").await;
    #[cfg(feature = "cli")]
    assert_eq!(unfed_as_people_see_it(&nats), "0");
    processor.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await, 9);
}

/// Only the processor may publish there. If somebody does all the same, nothing is made worse, and it is said.
#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_has_written_ends_the_feed_and_not_the_processor() {
    let (nats, _data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    until_fed(&alice, SOME).await;
    alice.jetstream().publish("evt.0.account.42", "{}".into()).await.unwrap().await.unwrap();
    assert_eq!(alice.tell("account.42.deposit", &id(50), r#"{"amount":1}"#).await.verdict().0, 200);
    let health = alice.until_health(|health| health["state"] == "degraded").await;
    assert_eq!(
        health["why"],
        serde_json::json!([
            "partition 0: the feed has ended: the message at position 9 of the feed is not what the store has there"
        ])
    );
    assert_eq!(alice.tell("account.42.deposit", &id(51), r#"{"amount":1}"#).await.verdict().0, 200);
    assert_eq!(read_feed(&nats.client().await, 0).await.len(), 9);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_follows_the_chain_and_stops_where_it_is_broken() {
    let (_nats, _data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    until_fed(&alice, SOME).await;
    let feed = FeedReader::open(&alice.jetstream(), 0).await.unwrap();
    assert_eq!((feed.partitions(), feed.last().await.unwrap()), (1, Position::new(SOME)));
    let read = async |from: u64, count: usize| {
        let commits = feed.commits(Position::new(from).unwrap(), None).await.unwrap().take(count).collect::<Vec<_>>();
        tokio::time::timeout(PATIENCE, commits).await.expect("it has them")
    };
    let positions: Vec<u64> = read(1, 8).await.into_iter().map(|commit| commit.unwrap().position.get()).collect();
    assert_eq!(positions, (1..=8).collect::<Vec<_>>());
    assert_eq!(read(5, 1).await[0].as_ref().unwrap().position.get(), 5);
    // Live, too.
    let mut live = Box::pin(feed.commits(Position::new(9).unwrap(), None).await.unwrap());
    alice.tell("account.42.deposit", &id(50), r#"{"amount":1}"#).await;
    let next = tokio::time::timeout(PATIENCE, live.next()).await.expect("it comes").unwrap().unwrap();
    assert_eq!((next.position.get(), next.command.name.as_str()), (9, "deposit"));
    processor.stop().await;
    alice.jetstream().publish("evt.0.account.42", next.json().clone()).await.unwrap().await.unwrap();
    let broken = tokio::time::timeout(PATIENCE, live.next()).await.expect("it comes").unwrap().unwrap_err();
    assert_eq!(
        broken.to_string(),
        "message 10 of EVENTS_0 is not the commit that belongs there: it names no chain hash. Only the processor may publish \
         there: `verify --feed` compares it with the store, which alone says what is right"
    );
    assert!(live.next().await.is_none(), "nothing comes behind that");
}

/// The server cuts a client off to which more than 64 MiB are on their way. A reader of large commits that took its time was,
/// and then stood still for ever.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_large_commits_slowly_gets_them_all() {
    const COMMITS: usize = 200;
    let (nats, _data, processor, alice) = site().await;
    let open = format!(r#"{{"owner":"{}"}}"#, "x".repeat(COMMAND_BYTES_MAX - 100));
    for number in 0..COMMITS {
        alice.tell(&format!("account.{number}.open"), &id(number as u64), &open).await;
    }
    until_fed(&alice, COMMITS as u64).await;
    // On a thread of its own, so that nobody reads its socket either while it sleeps.
    let url = nats.url();
    let reading = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = async_nats::connect(url).await.unwrap();
            let feed = FeedReader::open(&async_nats::jetstream::new(client), 0).await.unwrap();
            let upto = Position::new(COMMITS as u64);
            let mut commits = std::pin::pin!(feed.commits(Position::FIRST, upto).await.unwrap());
            let mut count = 0;
            while let Some(commit) = tokio::time::timeout(PATIENCE, commits.next()).await.expect("it goes on") {
                commit.unwrap();
                count += 1;
                if count == 1 {
                    std::thread::sleep(Duration::from_secs(3));
                }
            }
            count
        })
    });
    let count = reading.await.unwrap();
    assert_eq!(count, COMMITS);
    processor.stop().await;
}

/// The server takes what it has written to a connection for delivered. If that was the end of the feed, nothing that comes
/// later shows that something is missing.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_gets_the_end_that_was_lost_with_its_connection() {
    const COMMITS: u64 = 40;
    let (nats, _data, processor, alice) = site().await;
    let open = format!(r#"{{"owner":"{}"}}"#, "x".repeat(100_000));
    for number in 0..COMMITS {
        alice.tell(&format!("account.{number}.open"), &id(number), &open).await;
    }
    until_fed(&alice, COMMITS).await;
    let proxy = Proxy::start(nats.port()).await;
    let client = async_nats::connect(proxy.url()).await.unwrap();
    let feed = FeedReader::open(&async_nats::jetstream::new(client), 0).await.unwrap();
    proxy.become_line(Line::CutAfter(6_000_000)); // Of 8 MB; what is behind that lies in the sockets' buffers.
    let mut commits = std::pin::pin!(feed.commits(Position::FIRST, Position::new(COMMITS)).await.unwrap());
    let mut count = 0;
    while let Some(commit) = tokio::time::timeout(PATIENCE, commits.next()).await.expect("it goes on") {
        commit.unwrap();
        count += 1;
        if 0 < proxy.harmed() {
            proxy.become_line(Line::Good);
        }
    }
    assert_eq!(count, COMMITS);
    assert_eq!(proxy.harmed(), 1, "the line was cut");
    processor.stop().await;
}

/// Its consumer is gone with the server, and what was on its way.
#[tokio::test(flavor = "multi_thread")]
async fn who_reads_goes_on_where_it_was_when_the_broker_was_killed() {
    let (mut nats, _data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    until_fed(&alice, SOME).await;
    let feed = FeedReader::open(&async_nats::jetstream::new(nats.client().await), 0).await.unwrap();
    let mut commits = std::pin::pin!(feed.commits(Position::FIRST, None).await.unwrap());
    for position in 1..=SOME {
        assert_eq!(commits.next().await.unwrap().unwrap().position.get(), position);
    }
    tokio::task::block_in_place(|| {
        nats.kill();
        nats.start_again();
    });
    alice.tell("account.42.deposit", &id(60), r#"{"amount":1}"#).await;
    let next = tokio::time::timeout(PATIENCE, commits.next()).await.expect("it goes on");
    assert_eq!(next.unwrap().unwrap().position.get(), SOME + 1);
    processor.stop().await;
}
