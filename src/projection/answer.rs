//! Answers questions: `prj.<principal>.<projection>.…`, over a connection of its own, as a processor does: a question with
//! headers that the library cannot read ends it, and takes nothing down with it.
//!
//! It is not below `qry.`, since what it shows is folded from what every principal has done: who may ask a processor about
//! aggregates may not for that reason ask here.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, jetstream};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::fold::Fold;
use crate::model::error::with_sources;
use crate::model::subject::{Asked, ProjectionName, ProjectionSubject, is_inbox_of};
use crate::model::{Position, Principal, Refusal};
use crate::nats::feed::FeedReader;
use crate::nats::{ConnectOptions, connect};

/// Pause before another connection is made.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A question, and over which connection its answer goes.
pub(super) struct Question {
    client: Client,
    message: Message,
}

/// Hears questions for as long as it is polled, and says when the broker knows that it does.
pub(super) async fn hear(
    options: ConnectOptions,
    name: ProjectionName,
    questions: mpsc::Sender<Question>,
    heard: Arc<Notify>,
) {
    let mut is_told = false;
    loop {
        let ended = match connect(&options).await {
            Ok(client) => hear_over(&options.jetstream(client), &name, &questions, &heard, &mut is_told).await,
            Err(error) => Err(error.into()),
        };
        let why = ended.err().map_or("the connection has died".to_owned(), |error| with_sources(&*error));
        tracing::error!(why, "questions are not answered; another connection is made");
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

async fn hear_over(
    context: &jetstream::Context,
    name: &ProjectionName,
    questions: &mpsc::Sender<Question>,
    heard: &Notify,
    is_told: &mut bool,
) -> Result<(), async_nats::Error> {
    let client = context.client();
    // One of those who follow the same projection answers.
    let mut messages = client.queue_subscribe(format!("prj.*.{name}.>"), format!("hapax-projection-{name}")).await?;
    if !*is_told {
        // A flush would not do: what comes over another connection may overtake what is flushed. The broker reads a
        // connection in its order, so who has an answer over this one is subscribed.
        FeedReader::open(context, 0).await?;
        heard.notify_one();
        *is_told = true;
    }
    while let Some(message) = messages.next().await {
        // Who is not heard asks again.
        let _ = questions.send(Question { client: client.clone(), message }).await;
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowQuery {
    key: Option<String>,
}

#[derive(Serialize)]
struct RowAnswer<'a> {
    projection: &'a ProjectionName,
    key: &'a str,
    /// `null`: there is none.
    row: Option<&'a RawValue>,
    /// The last commit that is in it, of each partition.
    positions: Vec<Option<Position>>,
}

#[derive(Serialize)]
struct LagAnswer<'a> {
    projection: &'a ProjectionName,
    version: u32,
    store: Uuid,
    rows: u64,
    /// Of all partitions together.
    lag: u64,
    partitions: Vec<PartitionLag>,
}

/// How far a projection is behind the feed of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct PartitionLag {
    partition: u32,
    /// The last commit that is folded.
    position: Option<Position>,
    /// The last commit of the feed, when it was asked.
    last: Option<Position>,
    lag: u64,
}

/// Answers a question. `is_caught_up`: whether the rows have come to where the feed was when this process began.
pub(super) async fn answer(fold: &Fold, feeds: &[FeedReader], is_caught_up: bool, question: Question) {
    let Question { client, message } = question;
    let Some(reply_to) = message.reply.as_ref().map(ToString::to_string) else { return };
    let subject = ProjectionSubject::parse(&message.subject);
    // Told only where the principal is readable, and only to an inbox of his.
    let principal = message.subject.split('.').nth(1).and_then(|token| Principal::parse(token).ok());
    if !principal.is_some_and(|principal| is_inbox_of(&principal, &reply_to)) {
        tracing::debug!(subject = %message.subject, reply_to, "not answered: its reply subject is no inbox of its principal");
        return;
    }
    let answer = match subject.map(|subject| subject.asked) {
        Err(error) => Err(Refusal::malformed("subject", error)),
        Ok(Asked::Lag) => lag(fold, feeds).await,
        Ok(Asked::Row(_)) if !is_caught_up => {
            Err(Refusal::unavailable("the projection is being folded; `lag` says how far it is"))
        }
        Ok(Asked::Row(Some(key))) => row(fold, key.as_str()),
        Ok(Asked::Row(None)) => key_in(&message.payload).and_then(|key| row(fold, &key)),
    };
    let answer = answer.unwrap_or_else(|refusal| refusal.to_json(None).into());
    // A reply over core NATS is at most once: who does not hear it asks again.
    let _ = client.publish(reply_to, answer).await;
}

fn key_in(body: &Bytes) -> Result<String, Refusal> {
    let query: RowQuery = serde_json::from_slice(body).map_err(|error| Refusal::malformed("body", error))?;
    query.key.ok_or_else(|| Refusal::malformed("key", "say of which row, in the subject or as {\"key\":\"…\"}"))
}

fn row(fold: &Fold, key: &str) -> Result<Bytes, Refusal> {
    let unavailable = |error: &dyn std::error::Error| Refusal::unavailable(with_sources(error));
    let row = fold.row(key).map_err(|error| unavailable(&error))?;
    let row = row.map(|row| serde_json::from_slice::<Box<RawValue>>(&row)).transpose();
    let row = row.map_err(|error| unavailable(&error))?;
    let positions = fold.mark().partitions.iter().map(|place| place.map(|place| place.position)).collect();
    Ok(json(&RowAnswer { projection: fold.projection().name(), key, row: row.as_deref(), positions }))
}

async fn lag(fold: &Fold, feeds: &[FeedReader]) -> Result<Bytes, Refusal> {
    let mark = fold.mark();
    let mut partitions = Vec::new();
    for (feed, place) in feeds.iter().zip(&mark.partitions) {
        let last = feed.last().await.map_err(|error| Refusal::unavailable(with_sources(&error)))?;
        let position = place.map(|place| place.position);
        let number = |position: Option<Position>| position.map_or(0, Position::get);
        let lag = number(last).saturating_sub(number(position));
        partitions.push(PartitionLag { partition: feed.partition(), position, last, lag });
    }
    Ok(json(&LagAnswer {
        projection: fold.projection().name(),
        version: mark.version,
        store: mark.store,
        rows: mark.rows.count,
        lag: partitions.iter().map(|partition| partition.lag).sum(),
        partitions,
    }))
}

fn json(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer).expect("every member of an answer is JSON").into()
}
