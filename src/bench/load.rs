//! The client that is the same for the floor and for the product: publishes commands, keeps a window of them in flight,
//! and waits for each reply. No PubAck is asked for: the reply is what counts.

use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Subscriber};
use futures::{FutureExt, StreamExt};
use uuid::Uuid;

use super::entry::body;
use crate::model::header;

/// A workload.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Commands in flight.
    pub window: usize,
    /// How long it lasts.
    pub time: Duration,
    /// Aggregates that the commands go to, in turn.
    pub aggregates: u64,
    /// Bytes of a body.
    pub body_bytes: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Replies a second.
    pub per_second: f64,
    /// Half of the commands were answered within this time.
    pub p50: Duration,
    /// 99 of 100 commands were answered within this time.
    pub p99: Duration,
}

/// Why a load ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The connection cannot be used.
    #[error("the connection cannot be used")]
    Nats(#[source] async_nats::Error),
    /// A reply did not come.
    #[error("a reply did not come within {} s", REPLY_MAX.as_secs())]
    NoReply,
}

/// A reply that takes longer is lost.
const REPLY_MAX: Duration = Duration::from_secs(20);

fn nats(error: impl Into<async_nats::Error>) -> LoadError {
    LoadError::Nats(error.into())
}

/// Sends commands for as long as the load says.
///
/// # Errors
/// [`LoadError`].
pub async fn load(client: &Client, load: Load) -> Result<Measured, LoadError> {
    let prefix = format!("_INBOX.bench.{}", Uuid::now_v7().simple());
    let mut replies = client.subscribe(format!("{prefix}.*")).await.map_err(nats)?;
    client.flush().await.map_err(nats)?;
    let payload = bytes::Bytes::from(body(load.body_bytes));
    let started = Instant::now();
    let mut sent = Vec::<Instant>::new();
    let mut latencies = Vec::<Duration>::new();
    let mut in_flight = 0;
    while started.elapsed() < load.time || in_flight > 0 {
        while in_flight < load.window && started.elapsed() < load.time {
            let number = sent.len() as u64;
            let mut headers = HeaderMap::new();
            headers.insert(header::ID, Uuid::now_v7().to_string());
            headers.insert(header::REPLY_TO, format!("{prefix}.{number}"));
            let subject = format!("cmd.bench.entries.{}.enter", number % load.aggregates);
            client.publish_with_headers(subject, headers, payload.clone()).await.map_err(nats)?;
            sent.push(Instant::now());
            in_flight += 1;
        }
        in_flight -= receive(&mut replies, &sent, &mut latencies).await?;
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or_default();
    Ok(Measured { per_second: latencies.len() as f64 / elapsed.as_secs_f64(), p50: at(0.5), p99: at(0.99) })
}

/// Takes the replies that are there, at least one.
async fn receive(
    replies: &mut Subscriber,
    sent: &[Instant],
    latencies: &mut Vec<Duration>,
) -> Result<usize, LoadError> {
    let mut reply = tokio::time::timeout(REPLY_MAX, replies.next()).await.map_err(|_| LoadError::NoReply)?;
    let mut received = 0;
    while let Some(message) = reply {
        let number = message.subject.rsplit('.').next().and_then(|token| token.parse::<usize>().ok());
        latencies.extend(number.and_then(|number| sent.get(number)).map(Instant::elapsed));
        received += 1;
        reply = tokio::task::unconstrained(replies.next()).now_or_never().flatten();
    }
    if received == 0 { Err(LoadError::NoReply) } else { Ok(received) }
}
