//! The stream as whoever feeds it sees it: where it stands, and how commits get into it.

use async_nats::header::{
    HeaderValue, NATS_BATCH_COMMIT, NATS_BATCH_ID, NATS_BATCH_SEQUENCE, NATS_EXPECTED_LAST_SEQUENCE,
};
use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind, PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::{HeaderMap, client};
use futures::FutureExt;
use futures::future::BoxFuture;
use uuid::Uuid;

use super::chain_hash;
use super::feeder::{Answer, SHEAF_COMMITS_MAX, Stand};
use crate::model::error::with_sources;
use crate::model::subject::FeedSubject;
use crate::model::{Commit, Position, header};
use crate::nats::provision::events::stream_name;
use crate::nats::stored;

/// Why a sheaf was not sent, or only a part of it.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A commit is larger than the server takes. Raise its `max_payload`.
    #[error("the commit at position {0} is larger than the server's max_payload")]
    TooLarge(Position),
    /// The connection does not take it.
    #[error("the connection to the broker takes nothing")]
    Connection(#[source] async_nats::Error),
}

/// Asks a stream where it stands.
///
/// # Errors
/// The broker's, or that it did not answer.
pub async fn stand(context: &jetstream::Context, partition: u32) -> Result<Stand, async_nats::Error> {
    let name = stream_name(partition);
    let stream = context.get_stream(&name).await?;
    let state = &stream.cached_info().state;
    let Some(last) = Position::new(state.last_sequence) else {
        return Ok(Stand { last: None, hash: None, missing: 0 });
    };
    let message = stored::get(context, &name, last.get()).await?;
    let hash = message.and_then(|message| chain_hash(&message.readable().ok()?));
    Ok(Stand { last: Some(last), hash, missing: last.get().saturating_sub(state.messages) })
}

/// Whether [`stand`] failed since there is no such stream.
pub fn is_missing(error: &async_nats::Error) -> bool {
    let kind = error.downcast_ref::<GetStreamError>().map(GetStreamError::kind);
    matches!(kind, Some(GetStreamErrorKind::JetStream(reason)) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Publishes the commits of one partition.
#[derive(Debug, Clone)]
pub struct Publisher {
    context: jetstream::Context,
    partition: u32,
}

/// What comes of a sheaf.
pub type Answering = BoxFuture<'static, Answer>;

impl Publisher {
    /// Publishes over this connection. What else goes over it does not matter.
    pub fn new(context: jetstream::Context, partition: u32) -> Publisher {
        Publisher { context, partition }
    }

    /// Sends commits that follow each other: all of them are stored, or none. Returns when they are on their way.
    ///
    /// They are one atomic publish, on the condition that the stream ends in front of the first. If each of them had that
    /// condition for itself,
    /// 1. two processors would feed from copies of one store that have gone apart, A and B, both behind position 5;
    /// 2. A's commit at 6 would be stored, and B's refused;
    /// 3. but B's commit at 7, already on its way, would find the stream at 6, and be stored.
    ///
    /// # Errors
    /// [`PublishError`].
    ///
    /// # Panics
    /// If there are none, or more than the server takes at once.
    pub async fn publish(&self, commits: &[Commit]) -> Result<Answering, PublishError> {
        assert!(commits.len() <= SHEAF_COMMITS_MAX, "a sheaf has {} commits", commits.len());
        let (last, before) = commits.split_last().expect("a sheaf has commits");
        // Never the name of another attempt, which the server may still have a part of.
        let batch = (!before.is_empty()).then(|| Uuid::now_v7().simple().to_string());
        let client = self.context.client();
        for (number, commit) in (1..).zip(before) {
            let headers = headers(commit, batch.as_deref(), number, false);
            let sent = client.publish_with_headers(self.subject(commit), headers, commit.json().clone()).await;
            sent.map_err(|error| match error.kind() {
                client::PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge(commit.position),
                _ => PublishError::Connection(error.into()),
            })?;
        }
        let headers = headers(last, batch.as_deref(), commits.len(), true);
        let message = PublishMessage::build().headers(headers).payload(last.json().clone());
        let sent = self.context.send_publish(self.subject(last), message).await;
        let acknowledged = sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge(last.position),
            _ => PublishError::Connection(error.into()),
        })?;
        Ok(answer(acknowledged, self.partition).boxed())
    }

    fn subject(&self, commit: &Commit) -> String {
        FeedSubject::of(self.partition, commit).to_string()
    }
}

async fn answer(acknowledged: PublishAckFuture, partition: u32) -> Answer {
    match acknowledged.await {
        Ok(PublishAck { sequence, duplicate, .. }) => Answer::Stored { sequence, duplicate },
        Err(error) => {
            let error = with_sources(&error);
            tracing::warn!(partition, error, "commits may not have come to the feed; it is asked what it has");
            Answer::Unknown
        }
    }
}

/// `batch`: the name of the atomic publish; `None`: the commit comes alone. `number`: which of its messages this is, from 1.
fn headers(commit: &Commit, batch: Option<&str>, number: usize, is_last: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if number == 1 {
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, HeaderValue::from(commit.position.get() - 1));
    }
    if let Some(batch) = batch {
        headers.insert(NATS_BATCH_ID, batch);
        headers.insert(NATS_BATCH_SEQUENCE, HeaderValue::from(number));
        if is_last {
            headers.insert(NATS_BATCH_COMMIT, "1");
        }
    }
    headers.insert(header::CHAIN_HASH, commit.hash.to_string());
    if let Some(traceparent) = commit.command.traceparent.as_deref().and_then(|text| text.parse::<HeaderValue>().ok()) {
        headers.insert(header::TRACEPARENT, traceparent);
    }
    headers
}
