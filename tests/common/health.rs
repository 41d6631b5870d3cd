//! What a processor says of itself, asked in the contract's own words.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;

/// An answer that does not come so soon is asked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Its health, asked until there is an answer.
pub async fn health(nats: &Client) -> Value {
    let inbox = format!("_INBOX.alice.health.{}", uuid::Uuid::now_v7().simple());
    let mut answers = nats.subscribe(inbox.clone()).await.unwrap();
    loop {
        nats.publish_with_reply("qry.alice.health", inbox.clone(), Bytes::new()).await.unwrap();
        if let Ok(Some(answer)) = tokio::time::timeout(AGAIN_AFTER, answers.next()).await
            && answer.status.is_none()
        {
            return serde_json::from_slice(&answer.payload).expect("every answer is JSON");
        }
    }
}

/// Waits until it says that it is well, and that the feed, if there is one, has everything. A stop waits five seconds for
/// that, which is not enough through a bad line, or where many share a machine.
pub async fn until_well(nats: &Client) {
    loop {
        let health = health(nats).await;
        let unfed = &health["partitions"][0]["unfed"];
        if health["state"] == "ready" && (unfed.is_null() || *unfed == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
