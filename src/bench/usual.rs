//! The usual way: the state in memory, the events in a JetStream stream, and a reply once the stream has them. What is
//! decided twice is kept out by the stream's duplicate window, for two minutes.
//!
//! It promises less than the processor: a stream of one server acknowledges from the page cache, and who comes after the
//! window is decided again.

use std::collections::HashMap;

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::stream;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use serde::Serialize;

use super::answering::{AnswerError, Answering, header_of, settle};
use super::entry::{Entries, EntriesEvent, read_command};
use crate::aggregate::{Aggregate, Context};
use crate::model::subject::CommandSubject;
use crate::model::{CommandId, header};
use crate::nats::ConnectOptions;
use crate::nats::message::Message;

/// The stream of events: one replica, in files, synced when the server sees fit.
pub const USUAL_EVENTS: &str = "BENCH_EVENTS";

/// The outcome, in the processor's form.
#[derive(Serialize)]
struct Outcome<'a> {
    id: &'a CommandId,
    status: &'static str,
    code: u16,
    aggregate: &'static str,
    key: &'a str,
    version: u64,
    events: &'a [EntriesEvent],
}

/// A command on its way into the stream, and its reply.
type Publishing = FuturesOrdered<BoxFuture<'static, Result<(Message, Bytes), AnswerError>>>;

/// Answers the commands of one partition until the connection ends. Each is answered once the stream has its event, and
/// so many may be on their way there; 1: one after the other.
///
/// # Errors
/// [`AnswerError`].
pub async fn usual(options: ConnectOptions, in_flight: usize, ready: impl FnOnce()) -> Result<(), AnswerError> {
    let Answering { mut deliveries, sender, context } = Answering::open(options).await?;
    let config = stream::Config {
        name: USUAL_EVENTS.into(),
        subjects: vec!["bench.events.>".into()],
        storage: stream::StorageType::File,
        ..stream::Config::default()
    };
    context.create_stream(config).await.map_err(|error| AnswerError::Event(error.into()))?;
    let mut states = HashMap::new();
    let mut publishing = Publishing::new();
    ready();
    loop {
        tokio::select! {
            biased;
            Some(published) = publishing.next(), if !publishing.is_empty() => {
                let (message, reply) = published?;
                settle(&sender, message, reply).await?;
            }
            messages = deliveries.pull(), if publishing.len() < in_flight => {
                for message in messages? {
                    while in_flight <= publishing.len() {
                        let published = publishing.next().await.expect("it is not empty");
                        let (message, reply) = published?;
                        settle(&sender, message, reply).await?;
                    }
                    let (subject, headers, event, reply) = decide(&message, &mut states)?;
                    let published = context.publish_with_headers(subject, headers, event).await;
                    let published = published.map_err(|error| AnswerError::Event(error.into()))?;
                    publishing.push_back(Box::pin(in_stream(published, message, reply)));
                }
            }
        }
    }
}

async fn in_stream(
    published: PublishAckFuture,
    message: Message,
    reply: Bytes,
) -> Result<(Message, Bytes), AnswerError> {
    published.await.map_err(|error| AnswerError::Event(error.into()))?;
    Ok((message, reply))
}

/// What is published where, and what is replied when the stream has it.
fn decide(
    message: &Message,
    states: &mut HashMap<String, (Entries, u64)>,
) -> Result<(String, HeaderMap, Bytes, Bytes), AnswerError> {
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>| AnswerError::Unreadable(error);
    let CommandSubject { principal, aggregate, .. } =
        CommandSubject::parse_stored(&message.subject).map_err(|error| unreadable(error.into()))?;
    let id = header_of(message, header::ID).unwrap_or_default();
    let id = CommandId::parse(&id).map_err(|error| unreadable(error.into()))?;
    let command = read_command(&message.body).map_err(|error| unreadable(error.into()))?;
    let key = aggregate.key.as_str();
    let (state, version) = states.entry(key.to_owned()).or_default();
    let context = Context { time: message.stored_at, principal: &principal, id: &id };
    let events = state.decide(command, &context).map_err(|error| unreadable(error.into()))?;
    *state = events.iter().fold(std::mem::take(state), Entries::evolve);
    *version += events.len() as u64;
    let event = serde_json::to_vec(&events).map_err(|error| unreadable(error.into()))?;
    let outcome = Outcome {
        id: &id,
        status: "accepted",
        code: 200,
        aggregate: Entries::TYPE,
        key,
        version: *version,
        events: &events,
    };
    let reply = serde_json::to_vec(&outcome).map_err(|error| unreadable(error.into()))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::ID, id.as_str());
    Ok((format!("bench.events.{key}"), headers, event.into(), reply.into()))
}
