//! Every code that a processor gives so far, and what becomes of its neighbours.

use std::path::Path;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use hapax::Service;
use hapax::nats::quarantine;
use hapax::samples::Account;

use crate::common::nats::NatsServer;
use crate::plain::{Plain, id, site};
use crate::processor::{RunningProcessor, settings};
use crate::vessel::{BURSTS, CANNOT_FOLD, MENDED, Vessel};

const OPEN: &str = r#"{"owner":"ann"}"#;

/// Accounts, and vessels of one release.
async fn with_vessels<const RELEASE: u8>(nats: &NatsServer, data: &Path) -> RunningProcessor {
    let service = Service::new().with::<Account>().with::<Vessel<RELEASE>>();
    RunningProcessor::start_with(service, settings(nats.url(), data)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_rejected_and_refused() {
    let (_nats, _data, processor, alice) = site().await;
    let cases = [
        (200, "events", "account.42.open", OPEN),
        (409, "insufficient_funds", "account.42.withdraw", r#"{"amount":1}"#),
        (400, "malformed", "account.42.deposit", r#"{"amount":"1"}"#),
        (400, "malformed", "account.42.deposit", r#"{"amount":1,"amount":1}"#),
        (400, "malformed", "account.42.deposit", "[1]"),
        (404, "unknown_command", "account.42.burn", "{}"),
        (404, "unknown_aggregate", "acount.42.open", OPEN),
    ];
    for (number, (code, reason, to, body)) in (0..).zip(cases) {
        let answer = alice.tell(to, &id(number), body).await;
        assert_eq!(answer.verdict(), (code, reason.to_owned()), "{to} {body}");
        assert_eq!(answer.json()["id"], id(number).as_str());
    }
    let large = format!(r#"{{"owner":"{}"}}"#, "a".repeat(256 * 1024));
    assert_eq!(alice.tell("account.43.open", &id(20), &large).await.verdict(), (413, "too_large".into()));
    // Where the id cannot be read, the refusal has none.
    let unreadable = alice.tell("account.42.close", "short", "{}").await;
    assert_eq!(unreadable.verdict(), (400, "malformed".into()));
    assert_eq!(unreadable.json()["error"]["details"]["field"], "Nats-Msg-Id");
    assert!(unreadable.json().get("id").is_none());
    // A refusal is not recorded: the id is as good as new.
    assert_eq!(alice.tell("account.42.deposit", &id(2), r#"{"amount":1}"#).await.verdict().0, 200);
    alice.until_counted("decided", 3).await;
    alice.until_nothing_waits().await;
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expected_version_guards() {
    let (_nats, _data, processor, alice) = site().await;
    let expecting = |to: &str, number, body: &str, version: &str| {
        alice.letter(to, &id(number), body).header("Hapax-Expected-Version", version)
    };
    let open = expecting("account.42.open", 0, OPEN, "0");
    assert_eq!(alice.send(&open).await.verdict().0, 200);
    let stale = expecting("account.42.deposit", 1, r#"{"amount":1}"#, "0");
    let rejected = alice.send(&stale).await;
    assert_eq!(rejected.verdict(), (412, "version_mismatch".into()));
    assert_eq!(rejected.json()["error"]["details"], serde_json::json!({"expected": 0, "actual": 1}));
    assert_eq!(alice.send(&expecting("account.42.deposit", 2, r#"{"amount":1}"#, "1")).await.verdict().0, 200);
    for version in ["", "-1", "+1", "one"] {
        let answer = alice.send(&expecting("account.42.deposit", 3, r#"{"amount":1}"#, version)).await;
        assert_eq!(answer.verdict(), (400, "malformed".into()), "{version:?}");
    }
    // Both stay what they were, although by now the version is another one.
    assert_eq!(alice.send(&open).await.verdict().0, 200);
    assert_eq!(alice.send(&stale).await.body, rejected.body);
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_decide_is_quarantined_and_its_neighbours_are_served() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    with_vessels::<BURSTS>(&nats, data.path()).await.stop().await;
    let alice = Plain::connect(&nats, "alice").await;
    let burst = alice.letter("vessel.7.burst", &id(2), "");
    let letters = [
        alice.letter("vessel.7.tap", &id(1), ""),
        burst.clone(),
        alice.letter("vessel.7.tap", &id(3), ""),
        alice.letter("account.42.open", &id(4), OPEN),
    ];
    let mut inboxes = Vec::new();
    for letter in &letters {
        inboxes.push(alice.store_for_answer(letter).await);
    }
    let processor = with_vessels::<BURSTS>(&nats, data.path()).await;
    let mut verdicts = Vec::new();
    for inbox in &mut inboxes {
        verdicts.push(inbox.next().await.verdict());
    }
    let events = || (200, "events".to_owned());
    assert_eq!(verdicts, [events(), (500, "decide_panicked".into()), events(), events()]);
    alice.until_nothing_waits().await;

    let kept = quarantine::get(&alice.jetstream(), 1).await.unwrap();
    assert_eq!(kept.reason, "the aggregate's code panicked: it bursts; the command is in quarantine");
    assert_eq!(kept.subject, "cmd.alice.vessel.7.burst");
    let headers = String::from_utf8(kept.headers.to_vec()).unwrap();
    assert!(headers.contains(&format!("Nats-Msg-Id: {}\r\n", id(2))), "{headers}");
    assert!(quarantine::next(&alice.jetstream(), 2).await.unwrap().is_none());

    // Nothing is recorded for it: the next release decides it under the same id.
    processor.stop().await;
    let processor = with_vessels::<MENDED>(&nats, data.path()).await;
    let decided = alice.send(&burst).await;
    assert_eq!((decided.verdict().0, &decided.json()["version"]), (200, &3.into()));
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_that_cannot_be_loaded_is_unavailable_alone() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let alice = Plain::connect(&nats, "alice").await;
    let processor = with_vessels::<MENDED>(&nats, data.path()).await;
    let first = alice.tell("vessel.7.tap", &id(1), "").await;
    processor.stop().await;

    let processor = with_vessels::<CANNOT_FOLD>(&nats, data.path()).await;
    let unavailable = alice.tell("vessel.7.tap", &id(2), "").await;
    assert_eq!(unavailable.verdict(), (503, "unavailable".into()));
    assert_eq!(unavailable.json()["retry"], serde_json::json!({"with": "same_id", "after_ms": 250}));
    assert_eq!(alice.ask("state.vessel.7", "").await.verdict(), (503, "unavailable".into()));
    // What is recorded needs no state, and others are served.
    assert_eq!(alice.tell("vessel.7.tap", &id(1), "").await.body, first.body);
    assert_eq!(alice.tell("account.42.open", &id(3), OPEN).await.verdict().0, 200);
    // A first event that cannot be folded is never recorded: it would fail at every start.
    assert_eq!(alice.tell("vessel.8.tap", &id(4), "").await.verdict(), (500, "decide_panicked".into()));
    alice.until_counted("decided", 1).await;
    processor.stop().await;

    let processor = with_vessels::<MENDED>(&nats, data.path()).await;
    let decided = alice.tell("vessel.7.tap", &id(2), "").await;
    assert_eq!((decided.verdict().0, &decided.json()["version"]), (200, &2.into()));
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_subject_of_somebody_else_is_not_decided_and_nobody_is_told() {
    let (_nats, _data, processor, alice) = site().await;
    let foreign =
        ["_INBOX.bob.1", "_INBOX.alice", "_INBOX.alicia.1", "quarantine.0", "$JS.ACK.x", "_INBOX.alice.*", ""];
    // One ear for everything but the stream's own traffic.
    let mut bob = alice.inbox_at("_INBOX.bob.>".into()).await;
    let mut alicia = alice.inbox_at("_INBOX.alicia.>".into()).await;
    for (number, subject) in (1..).zip(foreign) {
        let letter = alice.letter("account.42.open", &id(number), OPEN).header("Hapax-Reply-To", subject);
        alice.store(&letter).await;
    }
    let own = alice.inbox().await;
    let twice = alice.letter("account.42.open", &id(20), OPEN);
    alice.store(&twice.header("Hapax-Reply-To", &own.subject).header("Hapax-Reply-To", &own.subject)).await;
    // Decided behind all of them, and the first to be decided.
    assert_eq!(alice.tell("account.42.open", &id(0), OPEN).await.verdict().0, 200);
    assert!(bob.is_empty() && alicia.is_empty());
    for number in 1..=foreign.len() as u64 {
        let known = alice.ask(&format!("outcome.account.42.{}", id(number)), "").await.json();
        assert_eq!((&known["status"], &known["as_of"]), (&"unknown".into(), &1.into()));
    }
    alice.until_counted("silent", foreign.len() as u64).await;
    alice.until_counted("decided", 1).await;
    alice.until_nothing_waits().await;
    // An address that comes twice is unreadable, not foreign: kept for somebody to look at.
    alice.until_counted("quarantined", 1).await;
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_reply_subject_it_is_decided_and_can_be_asked_for() {
    let (_nats, _data, processor, alice) = site().await;
    alice.store(&alice.letter("account.42.open", &id(0), OPEN)).await;
    let known = alice.ask(&format!("outcome.account.42.{}", id(0)), r#"{"wait_ms":30000}"#).await;
    assert_eq!(known.verdict().0, 200);
    let stream = alice.jetstream().get_stream("QUARANTINE").await.unwrap();
    let nothing = stream.get_last_raw_message_by_subject("quarantine.0").await.unwrap_err();
    assert_eq!(nothing.kind(), LastRawMessageErrorKind::NoMessageFound);
    processor.stop().await;
}
