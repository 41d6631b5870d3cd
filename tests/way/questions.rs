//! Questions about states, now and in the past, and about the processor's health.

use crate::plain::{id, site};

#[tokio::test(flavor = "multi_thread")]
async fn the_state_at_a_version_a_position_and_a_time() {
    let (_nats, _data, processor, alice) = site().await;
    let tell = |number, to: &'static str, body: &'static str| {
        let alice = &alice;
        async move { alice.tell(to, &id(number), body).await.json() }
    };
    tell(0, "account.42.open", r#"{"owner":"ann"}"#).await;
    tell(1, "account.43.open", r#"{"owner":"bob"}"#).await;
    let deposited = tell(2, "account.42.deposit", r#"{"amount":70}"#).await;
    tell(3, "account.42.withdraw", r#"{"amount":1000}"#).await; // Rejected: position 4 is no version.
    tell(4, "account.42.withdraw", r#"{"amount":20}"#).await;
    let before = r#"{"at_time":"2000-01-01T00:00:00Z"}"#.to_owned();
    let at_time = format!(r#"{{"at_time":{}}}"#, deposited["decided_at"]);
    let cases = [
        // Asked, version, position, balance.
        ("", 3, Some(5), 50),
        (r#"{"at_version":0}"#, 0, None, 0),
        (r#"{"at_version":1}"#, 1, Some(1), 0),
        (r#"{"at_version":2}"#, 2, Some(3), 70),
        (r#"{"at_version":3}"#, 3, Some(5), 50),
        (r#"{"at_position":1}"#, 1, Some(1), 0),
        (r#"{"at_position":2}"#, 1, Some(1), 0),
        (r#"{"at_position":4}"#, 2, Some(3), 70),
        (r#"{"at_position":5}"#, 3, Some(5), 50),
        (&at_time, 2, Some(3), 70),
        (&before, 0, None, 0),
    ];
    for (asked, version, position, balance) in cases {
        let state = alice.ask("state.account.42", asked).await.json();
        let found = (state["version"].as_u64(), state["position"].as_u64(), state["state"]["balance"].as_i64());
        assert_eq!(found, (Some(version), position, Some(balance)), "{asked}: {state}");
        assert_eq!((&state["aggregate"], &state["key"]), (&"account".into(), &"42".into()));
    }
    let refused = [
        ("state.account.42", r#"{"at_position":6}"#, 400),
        ("state.account.42", r#"{"at_version":4}"#, 400),
        ("state.account.44", r#"{"at_version":1}"#, 400),
        ("state.account.42", r#"{"at_position":0}"#, 400),
        ("state.account.42", r#"{"at_version":1,"at_position":1}"#, 400),
        ("state.account.42", r#"{"version":1}"#, 400),
        ("state.acount.42", "", 404),
        ("state.acount.42", r#"{"at_version":1}"#, 404),
        ("state.account", "", 400),
        ("outcome.account.42.short", "", 400),
    ];
    for (what, body, code) in refused {
        let answer = alice.ask(what, body).await;
        assert_eq!(answer.verdict().0, code, "{what} {body}");
    }
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_to_its_askers_inbox_only() {
    let (nats, _data, processor, alice) = site().await;
    alice.tell("account.42.open", &id(0), r#"{"owner":"ann"}"#).await;
    let mut elsewhere = alice.inbox_at("_INBOX.bob.1".into()).await;
    let nats = nats.client().await;
    for what in ["health", "state.account.42", "nonsense"] {
        nats.publish_with_reply(format!("qry.alice.{what}"), "_INBOX.bob.1", "".into()).await.unwrap();
    }
    nats.flush().await.unwrap();
    // Questions are taken in order: behind this answer there is none to come.
    alice.ask("state.account.42", "").await;
    assert!(elsewhere.is_empty());
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_what_was_done() {
    let (_nats, _data, processor, alice) = site().await;
    let open = alice.letter("account.42.open", &id(0), r#"{"owner":"ann"}"#);
    alice.send(&open).await;
    alice.send(&open).await;
    alice.tell("account.42.burn", &id(1), "").await;
    let health = alice
        .until_health(|health| {
            let partition = &health["partitions"][0];
            partition["refused"] == 1 && partition["unindexed"] == 0 && partition["unfed"] == 0
        })
        .await;
    let partition = serde_json::json!({
        "partition": 0, "stage": "running", "durable": 1, "unindexed": 0, "unfed": 0,
        "decided": 1, "replayed": 1, "refused": 1, "silent": 0, "quarantined": 0,
        "syncs": health["partitions"][0]["syncs"],
    });
    let expected = serde_json::json!({
        "state": "ready", "version": env!("CARGO_PKG_VERSION"), "partitions": [partition],
    });
    assert_eq!(health, expected);
    assert_eq!(alice.request("$SRV.PING.hapax").await["name"], "hapax");
    processor.stop().await;
}
