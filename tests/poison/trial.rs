//! One kind of poison among healthy commands: waiting when the processor starts, and once more while it runs.

use std::time::Duration;

use futures::future::join_all;
use hapax::Service;
use hapax::nats::quarantine::{self, Quarantined};

use crate::common::nats::NatsServer;
use crate::common::raw::RawSocket;
use crate::common::row::{Row, Verdict};
use crate::plain::{Inbox, Plain, id};
use crate::processor::{RunningProcessor, settings};

/// How long the neighbours may wait.
pub(crate) const NEIGHBOURS_MAX: Duration = Duration::from_secs(30);

/// Commands around each poison.
pub(crate) const NEIGHBOURS: u64 = 6;

/// A message as it goes over the wire.
#[derive(Clone)]
pub(crate) struct Poison {
    pub(crate) name: &'static str,
    pub(crate) subject: Vec<u8>,
    /// The whole block; `NATS/1.0` without an id if it is not told.
    pub(crate) headers: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// A part of the reason that it must be in quarantine with.
    pub(crate) reason: &'static str,
}

impl Poison {
    /// With an id of its own for each round: the stream would take it for a copy.
    pub(crate) fn in_round(&self, round: u64) -> Poison {
        let (from, to) = (id(0).into_bytes(), id(900 + round).into_bytes());
        let mut headers = self.headers.clone();
        for start in 0..headers.len().saturating_sub(from.len()) {
            if headers[start..].starts_with(&from) {
                headers[start..start + from.len()].copy_from_slice(&to);
            }
        }
        Poison { headers, ..self.clone() }
    }
}

/// Prints what came of each, as a table.
pub(crate) fn print_table(rows: &[[String; 4]]) {
    let head = ["form", "neighbours answered", "in quarantine", "after restart"].map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].len()).max().unwrap_or(0);
    for row in [&head].into_iter().chain(rows) {
        let cells: Vec<String> =
            (0..4).map(|column| format!("{:width$}", row[column], width = width(column))).collect();
        println!("| {} |", cells.join(" | "));
    }
}

/// Tries all of them, each in a world of its own. They are one row of the table of faults.
pub(crate) async fn try_all(kind: &str, poisons: Vec<Poison>, service: fn() -> Service) {
    let names: Vec<&str> = poisons.iter().map(|poison| poison.name).collect();
    let tried = join_all(poisons.into_iter().map(|poison| try_one(poison, service))).await;
    let (mut row, mut cells) = (Row::of(kind), Vec::new());
    for (name, (of_one, answered)) in names.into_iter().zip(tried) {
        cells.push(of_one);
        row.add(1, name, &verdict(answered, 2 * NEIGHBOURS));
    }
    print_table(&cells);
    row.end();
}

/// Neighbours without an outcome are lost.
pub(crate) fn verdict(answered: u64, of: u64) -> Verdict {
    match usize::try_from(of - answered).expect("they are few") {
        0 => Verdict::default(),
        lost => Verdict { lost, ..Verdict::of(format!("{answered} of {of} neighbours have their outcome")) },
    }
}

/// An inbox that the server knows before anything comes over another connection.
pub(crate) async fn inbox(alice: &Plain) -> Inbox {
    let inbox = alice.inbox().await;
    alice.request("$JS.API.INFO").await;
    inbox
}

/// Healthy commands before and behind the poison, in one go.
pub(crate) fn publish_among_neighbours(nats: &NatsServer, inbox: &Inbox, round: u64, poison: &Poison) {
    let mut socket = RawSocket::connect(nats.port());
    let poison = poison.in_round(round);
    for number in 0..NEIGHBOURS {
        if number == NEIGHBOURS / 2 {
            socket.publish(&poison.subject, &poison.headers, &poison.body);
        }
        let number = round * 100 + number;
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\nHapax-Reply-To: {}\r\n\r\n", id(number), inbox.subject);
        let subject = format!("cmd.alice.account.{number}.open");
        socket.publish(subject.as_bytes(), headers.as_bytes(), br#"{"owner":"ann"}"#);
    }
    socket.flush();
}

/// Waits for all of their outcomes, and says of how many they came.
pub(crate) async fn neighbours_answered(inbox: &mut Inbox) -> u64 {
    let mut answered = std::collections::BTreeSet::new();
    let all = async {
        while (answered.len() as u64) < NEIGHBOURS {
            let answer = inbox.next().await;
            assert_eq!(answer.verdict().0, 200, "{:?}", answer.json());
            answered.insert(answer.json()["id"].as_str().unwrap().to_owned());
        }
    };
    let _ = tokio::time::timeout(NEIGHBOURS_MAX, all).await; // Too few are told by their number.
    answered.len() as u64
}

/// All that is in quarantine, once it is so much.
pub(crate) async fn quarantined(alice: &Plain, count: usize) -> Vec<Quarantined> {
    let context = alice.jetstream();
    let mut found = Vec::new();
    let so_many = async {
        loop {
            found.clear();
            while let Some(one) = quarantine::next(&context, found.last().map_or(1, after)).await.unwrap() {
                found.push(one);
            }
            if found.len() >= count {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(NEIGHBOURS_MAX, so_many).await;
    found
}

fn after(one: &Quarantined) -> u64 {
    one.sequence + 1
}

/// What came of it, in words, and how many neighbours have their outcomes.
async fn try_one(poison: Poison, service: fn() -> Service) -> ([String; 4], u64) {
    let name = poison.name;
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let alice = Plain::connect(&nats, "alice").await;
    let start = || RunningProcessor::start_with(service(), settings(nats.url(), data.path()));
    start().await.stop().await; // The streams are there.

    let mut heard = inbox(&alice).await;
    publish_among_neighbours(&nats, &heard, 1, &poison);
    let processor = start().await;
    let mut answered = neighbours_answered(&mut heard).await;
    check(name, &poison, &quarantined(&alice, 1).await, 1);

    let mut heard = inbox(&alice).await;
    publish_among_neighbours(&nats, &heard, 2, &poison);
    answered += neighbours_answered(&mut heard).await;
    check(name, &poison, &quarantined(&alice, 2).await, 2);
    alice.until_nothing_waits().await;
    alice.until_health(|health| health["state"] == "ready").await;
    processor.stop().await;

    let processor = start().await;
    assert_eq!(alice.tell("account.1.open", &id(1), r#"{"owner":"ann"}"#).await.verdict().0, 200, "{name}");
    alice.until_nothing_waits().await;
    alice.until_counted("quarantined", 0).await;
    check(name, &poison, &quarantined(&alice, 2).await, 2);
    processor.stop().await;
    let cells = [
        name.to_owned(),
        format!("{answered} of {}", 2 * NEIGHBOURS),
        format!("yes: {}", poison.reason),
        "answers at once".to_owned(),
    ];
    (cells, answered)
}

pub(crate) fn check(name: &str, poison: &Poison, found: &[Quarantined], count: usize) {
    let reasons: Vec<_> = found.iter().map(|one| &one.reason).collect();
    assert_eq!(found.len(), count, "{name}: {reasons:?}");
    for (round, one) in (1..).zip(found) {
        let poison = poison.in_round(round);
        assert!(one.reason.contains(poison.reason), "{name}: {reasons:?}");
        assert_eq!((&one.headers[..], &one.body[..]), (&poison.headers[..], &poison.body[..]), "{name}");
    }
}
