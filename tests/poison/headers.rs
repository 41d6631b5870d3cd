//! Headers and subjects that the server stores as they are. What async-nats 0.51 does with each by itself is in the table's
//! first column: its connection's task panics, or it disconnects and connects again whenever the message is delivered.

use std::time::Duration;

use hapax::nats::provision::QUARANTINE;
use hapax::serve::Settings;

use crate::common::nats::NatsServer;
use crate::common::raw::RawSocket;
use crate::common::row::{Row, Verdict};
use crate::forms::{block, with_headers};
use crate::plain::{Answer, Plain, id};
use crate::processor::{RunningProcessor, samples, settings};
use crate::trial::{
    NEIGHBOURS, NEIGHBOURS_MAX, Poison, check, inbox, neighbours_answered, publish_among_neighbours, quarantined,
    try_all, verdict,
};

const ID: &str = "Nats-Msg-Id: command-0000000000\r\n";

fn forms() -> Vec<Poison> {
    let with = |name, rest: &[u8], reason| with_headers(name, &block(rest), reason);
    let subject = |name, key: &[u8]| Poison {
        subject: [b"cmd.alice.account.", key, b".deposit"].concat(),
        ..with(name, b"\r\n", "its subject has white space or a control character in it, or is not UTF-8")
    };
    let version = "its headers do not begin with the line NATS/1.0";
    vec![
        with("lone CR in a value (panics)", b"X: a\rb\r\n\r\n", "lone carriage return"),
        with("lone LF in a value (disconnects)", b"X: a\nb\r\n\r\n", "has no colon"),
        with("value not UTF-8 (disconnects)", b"X: a\xffb\r\n\r\n", "not UTF-8"),
        with("name not UTF-8 (disconnects)", b"X\xff: a\r\n\r\n", "not UTF-8"),
        with("name not ASCII (disconnects)", "\u{dc}: a\r\n\r\n".as_bytes(), "no name may have"),
        with("line without a colon (disconnects)", b"X\r\n\r\n", "has no colon"),
        with("space in a name (disconnects)", b"X Y: a\r\n\r\n", "no name may have"),
        with("control character in a name (disconnects)", b"X\x01: a\r\n\r\n", "no name may have"),
        with_headers("another version line (disconnects)", format!("NATS/2.0\r\n{ID}\r\n").as_bytes(), version),
        with_headers("no version line (disconnects)", format!("{ID}\r\n").as_bytes(), version),
        with_headers("nothing but a line's end (disconnects)", b"\r\n", version),
        subject("subject not UTF-8 (disconnects)", b"\xff"),
        subject("no-break space in the subject (disconnects)", "4\u{a0}2".as_bytes()),
        // These the library reads, and the processor does not.
        with_headers("empty name, no id (reads)", b"NATS/1.0\r\n: a\r\n\r\n", "Nats-Msg-Id"),
        with("an id twice (reads)", format!("{ID}\r\n").as_bytes(), "comes twice"),
        Poison {
            subject: b"cmd.alice.account.4\x012.deposit".to_vec(),
            ..with("control character in the subject (reads)", b"\r\n", "subject")
        },
        with(
            "60,000 bytes in a header of ours (reads)",
            &[b"Hapax-Void: ", &[b'x'; 60_000][..], b"\r\n\r\n"].concat(),
            "headers",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_headers() {
    try_all("poison: hostile headers and subjects", forms(), samples).await;
}

/// Poison is not acknowledged until a quarantine has it, so whoever deletes that stream loses only what was in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_that_is_deleted() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let alice = Plain::connect(&nats, "alice").await;
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let context = alice.jetstream();
    context.delete_stream(QUARANTINE).await.unwrap();
    let (poison, mut heard) = (forms().swap_remove(1), inbox(&alice).await);
    publish_among_neighbours(&nats, &heard, 1, &poison);
    let answered = neighbours_answered(&mut heard).await;
    let made_again = async { while context.get_stream(QUARANTINE).await.is_err() {} };
    tokio::time::timeout(NEIGHBOURS_MAX, made_again).await.expect("it is made again");
    check(poison.name, &poison, &quarantined(&alice, 1).await, 1);
    alice.until_nothing_waits().await;
    alice.until_health(|health| health["state"] == "ready").await;
    processor.stop().await;
    Row::whole("poison: the quarantine is deleted, and made again", 1, &verdict(answered, NEIGHBOURS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_that_is_deleted_and_may_not_be_made_is_told() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    RunningProcessor::start(&nats, data.path()).await.stop().await; // That makes the streams.
    let only_check = Settings { provision: false, ..settings(nats.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), only_check).await;
    let alice = Plain::connect(&nats, "alice").await;
    alice.jetstream().delete_stream(QUARANTINE).await.unwrap();
    let health = alice.until_health(|health| health["state"] == "degraded").await;
    assert!(health["why"][0].as_str().unwrap().contains("stream QUARANTINE does not exist"), "{health}");
    processor.stop().await;
}

/// Questions are not stored: what ends their connection is gone with it, and commands do not come over it.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_questions() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let alice = Plain::connect(&nats, "alice").await;
    let mut socket = RawSocket::connect(nats.port());
    let mut row = Row::of("poison: questions with hostile headers");
    for form in forms() {
        for subject in ["qry.alice.health", "$SRV.PING"] {
            socket.publish(subject.as_bytes(), &form.headers, b"");
        }
        socket.flush();
        let letter = alice.letter("account.42.open", &id(0), r#"{"owner":"ann"}"#);
        assert_eq!(alice.send(&letter).await.verdict().0, 200, "{}", form.name);
        let asked = tokio::time::timeout(NEIGHBOURS_MAX, until_answered(&alice, "state.account.42")).await.unwrap();
        assert_eq!(asked.json()["version"], 1, "{}", form.name);
        row.add(1, form.name, &Verdict::default());
    }
    assert_eq!(until_answered(&alice, "health").await.json()["state"], "ready");
    processor.stop().await;
    row.end();
}

/// Asks until it is heard: a question is at most once.
async fn until_answered(alice: &Plain, what: &str) -> Answer {
    loop {
        let mut inbox = alice.question(what, "").await;
        match tokio::time::timeout(Duration::from_secs(1), inbox.next()).await {
            Ok(answer) if !answer.body.is_empty() => return answer, // An empty one is the server's: nobody listens.
            _ => {}
        }
    }
}
