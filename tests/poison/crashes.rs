//! Commands of which the whole process dies: nothing in it can catch that, so only who is started anew can see it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hapax::samples::Account;
use hapax::serve::serve;
use hapax::{Aggregate, Context, Service};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::common::nats::NatsServer;
use crate::common::row::Row;
use crate::forms::{block, with_headers};
use crate::plain::{Plain, id};
use crate::processor::{RunningProcessor, settings};
use crate::trial::{
    NEIGHBOURS, Poison, inbox, neighbours_answered, print_table, publish_among_neighbours, quarantined, verdict,
};

const URL: &str = "HAPAX_TEST_POISON_URL";
const DATA: &str = "HAPAX_TEST_POISON_DATA";

/// An aggregate whose code ends the process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Bomb {
    ticks: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BombCommand {
    Abort,
    Overflow,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BombEvent {
    Ticked,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum BombRejection {}

impl Aggregate for Bomb {
    const TYPE: &'static str = "bomb";
    type Command = BombCommand;
    type Event = BombEvent;
    type Rejection = BombRejection;

    fn decide(&self, command: BombCommand, _: &Context<'_>) -> Result<Vec<BombEvent>, BombRejection> {
        match command {
            BombCommand::Abort => std::process::abort(),
            BombCommand::Overflow => {
                assert!(for_ever(&[1; 64]) > 0);
                Ok(vec![BombEvent::Ticked])
            }
        }
    }

    fn evolve(self, BombEvent::Ticked: &BombEvent) -> Bomb {
        Bomb { ticks: self.ticks + 1 }
    }
}

/// As deep as the stack, and then deeper.
fn for_ever(above: &[u64; 64]) -> u64 {
    let mut frame = *above;
    frame[(above[0] % 64) as usize] += 1;
    if std::hint::black_box(frame[0]) == 0 { 0 } else { for_ever(std::hint::black_box(&frame)) + frame[1] }
}

fn with_bombs() -> Service {
    Service::new().with::<Account>().with::<Bomb>()
}

/// The child's `main`. Run as a test, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child_processor() {
    let (Ok(url), Some(data)) = (std::env::var(URL), std::env::var_os(DATA)) else { return };
    serve(with_bombs(), settings(url, Path::new(&data)), CancellationToken::new(), |_| ()).await.unwrap();
}

/// What a service manager does: starts it again whenever it has died. Kills it when it is dropped.
struct Manager {
    child: Child,
    url: String,
    data: std::path::PathBuf,
    deaths: usize,
}

impl Manager {
    fn start(url: String, data: &Path) -> Manager {
        Manager { child: spawn(&url, data), url, data: data.to_owned(), deaths: 0 }
    }

    /// Watches for as long as it is polled.
    async fn watch(&mut self) {
        loop {
            if self.child.try_wait().unwrap().is_some() {
                self.deaths += 1;
                self.child = spawn(&self.url, &self.data);
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // A pause between two looks.
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(url: &str, data: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crashes::child_processor", "--exact", "--nocapture"])
        .env(URL, url)
        .env(DATA, data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn survives(name: &'static str, command: &str) {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let alice = Plain::connect(&nats, "alice").await;
    RunningProcessor::start_with(with_bombs(), settings(nats.url(), data.path())).await.stop().await;
    let subject = format!("cmd.alice.bomb.9.{command}").into_bytes();
    let poison = Poison {
        subject,
        body: Vec::new(),
        ..with_headers(name, &block(b"\r\n"), "processes have ended with it alone in hand")
    };

    let mut inbox = inbox(&alice).await;
    publish_among_neighbours(&nats, &inbox, 1, &poison);
    let mut manager = Manager::start(nats.url(), data.path());
    let answered = tokio::select! {
        answered = neighbours_answered(&mut inbox) => answered,
        () = manager.watch() => unreachable!("it watches for ever"),
    };
    let found = tokio::select! {
        found = async { quarantined(&alice, 1).await } => found,
        () = manager.watch() => unreachable!("it watches for ever"),
    };
    let reasons: Vec<_> = found.iter().map(|one| (&one.subject, &one.reason)).collect();
    assert_eq!(found.len(), 1, "{name}: {reasons:?}");
    assert!(found[0].reason.contains(poison.reason) && found[0].subject.contains("bomb"), "{name}: {reasons:?}");
    alice.until_nothing_waits().await;
    let deaths = manager.deaths;
    assert!((1..=8).contains(&deaths), "{name}: {deaths}");
    drop(manager);

    let processor = RunningProcessor::start_with(with_bombs(), settings(nats.url(), data.path())).await;
    assert_eq!(alice.tell("account.1.open", &id(1), r#"{"owner":"ann"}"#).await.verdict().0, 200, "{name}");
    alice.until_nothing_waits().await;
    processor.stop().await;
    let kept = format!("yes, after {deaths} deaths: {}", poison.reason);
    print_table(&[[name.to_owned(), format!("{answered} of {NEIGHBOURS}"), kept, "answers at once".to_owned()]]);
    Row::whole(&format!("poison: {name}"), 1, &verdict(answered, NEIGHBOURS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_aborts() {
    survives("decide aborts the process", "abort").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_overflows_the_stack() {
    survives("decide overflows the stack", "overflow").await;
}
