//! What a sender can do who has heard nothing: attach, set a time limit, void. One answer stands for an id in the end.

use std::time::{Duration, Instant, SystemTime};

use hapax::Timestamp;

use crate::common::nats::NatsServer;
use crate::plain::{Plain, id, site};
use crate::processor::RunningProcessor;

const OPEN: &str = r#"{"owner":"ann"}"#;
const DEPOSIT: &str = r#"{"amount":100}"#;

fn now() -> Timestamp {
    Timestamp::from_date(SystemTime::now().into()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_attaches_is_answered_when_it_is_decided() {
    let (_nats, _data, processor, alice) = site().await;
    let outcome = format!("outcome.account.42.{}", id(0));
    let mut attached = alice.question(&outcome, r#"{"wait_ms":30000}"#).await;
    let mut elsewhere = alice.question(&format!("outcome.order.42.{}", id(0)), r#"{"wait_ms":30000}"#).await;
    // Questions are answered in their order, so the ones before are attached by now.
    let unknown = alice.ask(&outcome, "").await.json();
    assert_eq!(unknown, serde_json::json!({"status": "unknown", "as_of": null, "after_ms": 250}));
    assert!(attached.is_empty() && elsewhere.is_empty());
    let answer = alice.tell("account.42.open", &id(0), OPEN).await;
    let heard = attached.next().await;
    assert_eq!((heard.replayed, &heard.body), (true, &answer.body));
    // The right to ask is bound to the aggregate, so under another one nothing is shown.
    assert_eq!(elsewhere.next().await.verdict(), (422, "id_reused".into()));
    assert_eq!(alice.ask(&outcome, "").await.body, answer.body);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_attaches_in_vain_is_told_so_in_time() {
    let (_nats, _data, processor, alice) = site().await;
    let asked_at = Instant::now();
    let unknown = alice.ask(&format!("outcome.account.42.{}", id(0)), r#"{"wait_ms":300}"#).await.json();
    assert_eq!(unknown["status"], "unknown");
    let waited = asked_at.elapsed();
    assert!(Duration::from_millis(300) <= waited && waited < Duration::from_secs(10), "{waited:?}");
    for body in ["x", r#"{"wait":1}"#, r#"{"wait_ms":-1}"#] {
        let answer = alice.ask(&format!("outcome.account.42.{}", id(0)), body).await;
        assert_eq!(answer.verdict(), (400, "malformed".into()), "{body}");
    }
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_settles_an_id_for_ever() {
    let (nats, data, processor, alice) = site().await;
    let void = |own, voided| alice.letter("account.42._void", &id(own), "").header("Hapax-Void", &id(voided));
    let open = alice.letter("account.42.open", &id(0), OPEN);
    let opened = alice.send(&open).await;
    // Too late: it was decided, and stays so.
    let replay = alice.send(&void(100, 0)).await;
    assert_eq!((replay.replayed, &replay.body), (true, &opened.body));
    // In time: whatever comes under this id later gets the rejection.
    let voided = alice.send(&void(101, 1)).await;
    assert_eq!(voided.verdict(), (410, "voided".into()));
    assert_eq!((&voided.json()["id"], &voided.json()["version"]), (&id(1).as_str().into(), &1.into()));
    let deposit = alice.letter("account.42.deposit", &id(1), DEPOSIT);
    processor.stop().await;
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let late = [deposit.clone(), alice.letter("account.42.withdraw", &id(1), "{"), void(102, 1)];
    for letter in &late {
        let answer = alice.send(letter).await;
        assert_eq!((answer.replayed, &answer.body), (true, &voided.body));
    }
    // A void of an id that a void has: that id is nobody's command, so it can be voided like any.
    assert_eq!(alice.send(&void(1, 102)).await.verdict(), (410, "voided".into()));
    assert_eq!(alice.send(&void(103, 103)).await.verdict(), (400, "malformed".into()));
    assert_eq!(alice.send(&deposit.header("Hapax-Void", &id(0))).await.body, voided.body);
    assert_eq!(alice.ask("state.account.42", "").await.json()["version"], 1);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_has_waited_too_long_expires() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    RunningProcessor::start(&nats, data.path()).await.stop().await;
    let alice = Plain::connect(&nats, "alice").await;
    let limit = now().plus(Duration::from_millis(200));
    let letter = alice.letter("account.42.open", &id(0), OPEN);
    let mut inbox = alice.store_for_answer(&letter.clone().header("Hapax-Not-After", &limit.to_string())).await;
    // The stream keeps it, and nobody decides it. Copies with a later limit wait too, and are retries.
    while now() <= limit {
        alice.store(&letter.clone().header("Hapax-Not-After", "2999-01-01T00:00:00Z")).await;
    }
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let expired = inbox.next().await;
    assert_eq!(expired.verdict(), (410, "expired".into()));
    assert_eq!(expired.json()["error"]["details"]["not_after"], limit.to_string());
    assert_eq!(alice.send(&letter).await.body, expired.body);
    let in_time = alice.letter("account.42.open", &id(1), OPEN).header("Hapax-Not-After", "2999-01-01T00:00:00Z");
    assert_eq!(alice.send(&in_time).await.verdict().0, 200);
    let unreadable = alice.letter("account.42.close", &id(2), "").header("Hapax-Not-After", "tomorrow");
    assert_eq!(alice.send(&unreadable).await.verdict(), (400, "malformed".into()));
    // A retry gets its first outcome, also with a limit that has passed.
    let late_retry = alice.letter("account.42.open", &id(1), OPEN).header("Hapax-Not-After", "2000-01-01T00:00:00Z");
    assert_eq!(alice.send(&late_retry).await.verdict().0, 200);
    processor.stop().await;
}
