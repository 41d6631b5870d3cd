//! How long a start takes, with the index as it was left and without it, on the real binary with a store that is already
//! there. What fails here is a start that rebuilds without need or does not tell of it, or an index that is wrong; how long
//! it takes is a figure, and only of a million commits and more a bar.
//!
//! `HAPAX_REBUILD_COMMITS` says how many commits the store has: `HAPAX_REBUILD_COMMITS=1000000 cargo nextest run --release
//! --test rebuild --no-capture`.

mod common;
// Each test binary uses its part of what drives a processor.
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::nats::NatsServer;
use common::row::{Row, Verdict};
use hapax::client::{Client, Known};
use hapax::model::{
    AggregateId, Command as Sent, CommandId, CommandName, Commit, Decision, Identity, Outcome, Principal,
    RecordedEvent, Timestamp, Version,
};
use hapax::serve::DataDir;
use hapax::store::file::FileStore;
use hapax::store::{EventStore, Tip};
use processor::RunningProcessor;
use uuid::Uuid;

const AGGREGATES: u64 = 10_000;
const COMMITS_DEFAULT: u64 = 20_000;

/// From so many commits on, a start must not take longer than these. Fewer say nothing about that.
const COMMITS_BARRED: u64 = 1_000_000;
const REBUILD_MAX: Duration = Duration::from_secs(30);
const START_MAX: Duration = Duration::from_secs(1);

fn aggregate(number: u64) -> AggregateId {
    format!("account/{}", number % AGGREGATES).parse().unwrap()
}

/// An id as version 7 makes them: in the order of time.
fn id(number: u64) -> CommandId {
    Uuid::from_u128((0x0198_0000_0000_7000_8000 << 48) | u128::from(number)).into()
}

/// Deposits, in turn to every account.
fn commit(number: u64, tip: Tip) -> Commit {
    let (aggregate, id) = (aggregate(number), id(number));
    let deposited =
        RecordedEvent { kind: "deposited".into(), schema: 1, data: serde_json::from_str(r#"{"amount":100}"#).unwrap() };
    let position = hapax::Position::new(number + 1).unwrap();
    let outcome = Outcome {
        id: id.clone(),
        aggregate: aggregate.clone(),
        version: Version(number / AGGREGATES + 1),
        position,
        decided_at: Timestamp::EPOCH.plus(Duration::from_micros(number)),
        decision: Decision::Accepted(vec![deposited]),
    };
    let identity = Identity { principal: Principal::parse("alice").unwrap(), key: aggregate.key.clone(), id };
    let sent = Sent {
        identity,
        aggregate,
        name: CommandName::parse("deposit").unwrap(),
        data: bytes::Bytes::from_static(br#"{"amount":100}"#),
        expected: None,
        not_after: None,
        traceparent: None,
    };
    let previous = number.checked_sub(AGGREGATES).and_then(|before| hapax::Position::new(before + 1));
    Commit::record(sent, &outcome, previous, &tip.hash)
}

fn fill(data: &Path, commits: u64) {
    let dir = DataDir::open_or_create(data, None).unwrap();
    let (mut store, mut tip) = FileStore::open(&dir.journal_dir(0), dir.store_id(0), None).unwrap();
    let mut numbers = 0..commits;
    loop {
        let chunk: Vec<Commit> = numbers
            .by_ref()
            .take(1_000)
            .map(|number| {
                let commit = commit(number, tip);
                tip = Tip::of(&commit);
                commit
            })
            .collect();
        if chunk.is_empty() {
            break;
        }
        store.append(chunk);
    }
    drop(store); // Waits until everything is durable.
}

struct Processor {
    process: Child,
    took: Duration,
    rebuilt: bool,
}

impl Processor {
    fn start(nats: &NatsServer, data: &Path) -> Processor {
        let began = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hapax"))
            .args(["serve", "--feed", "off", "--server", &nats.url(), "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.starts_with("ready")), "it ended before it was ready");
        Processor { process, took: began.elapsed(), rebuilt: false }
    }

    fn stop(mut self) -> Processor {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
        let complaints = BufReader::new(self.process.stderr.take().unwrap()).lines().map_while(Result::ok);
        self.rebuilt = complaints.fold(false, |rebuilt, line| rebuilt | line.contains("is built anew"));
        assert!(self.process.wait().unwrap().success());
        self
    }
}

/// Whether the last and the first command are known, from a processor that runs.
async fn assert_known(nats: &NatsServer, commits: u64) {
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    for number in [0, commits - 1] {
        let known = client.outcome(&aggregate(number), &id(number), Duration::ZERO).await.unwrap();
        assert!(matches!(&known, Known::Decided(outcome) if outcome.outcome.position.get() == number + 1), "{known:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_and_without_the_index() {
    let commits = std::env::var("HAPAX_REBUILD_COMMITS").map_or(COMMITS_DEFAULT, |number| number.parse().unwrap());
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    fill(data.path(), commits);
    let sled = data.path().join("p0/sled");
    let mut row = Row::of(format!("rebuild: starts with {commits} commits, index there or not"));
    println!("{:<28} {:>9} {:>9}", "start", "commits", "seconds");
    for (name, is_there) in
        [("index absent", false), ("index intact", true), ("index wiped", false), ("intact again", true)]
    {
        if !is_there && sled.exists() {
            std::fs::remove_dir_all(&sled).unwrap();
        }
        let processor = Processor::start(&nats, data.path());
        assert_known(&nats, commits).await;
        let processor = processor.stop();
        println!("{name:<28} {commits:>9} {:>9.2}", processor.took.as_secs_f64());
        assert_eq!(processor.rebuilt, name == "index wiped", "{name}");
        let longest = if is_there { START_MAX } else { REBUILD_MAX };
        assert!(commits < COMMITS_BARRED || processor.took < longest, "{name}: it took {:?}", processor.took);
        row.add(1, name, &Verdict::default());
    }
    // The program shows how far it is on a terminal only: here it is told what the program is told.
    for is_there in [true, false] {
        if !is_there {
            std::fs::remove_dir_all(&sled).unwrap();
        }
        let processor = RunningProcessor::start(&nats, data.path()).await;
        assert_eq!(processor.commits_rebuilt(), if is_there { 0 } else { commits }, "index there: {is_there}");
        processor.stop().await;
        row.add(1, "told of", &Verdict::default());
    }
    row.end();
}
