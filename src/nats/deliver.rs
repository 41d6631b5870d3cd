//! How do commands come in, and answers go out? [`Deliveries`] pulls what waits at a consumer, [`Sender`] publishes
//! replies and acknowledgements.
//!
//! A pull waits for one message and then takes what else is there, so that a batch is as large as the load and nobody
//! waits for it to fill. Whatever goes wrong with the connection ends in the same way: the pull is opened anew, and the
//! consumer is asked whether it is still the one we know. Only work that was done counts as health: the library says that
//! it is connected also when its connection's task has died.

use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::{self};
use async_nats::{Client, HeaderMap, Subject, client::PublishErrorKind};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::place::is_beyond_its_stream;
use crate::model::limits::BATCH_COMMANDS_MAX;
use crate::model::{Timestamp, header};

/// Bytes that one pull may bring, so that what is buffered is bounded also if all commands are large. The server cuts a
/// client off to which more than 64 MiB are on their way, and two pulls may be.
const PULL_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often an idle server says that it is there. After twice that without a word the pull is opened anew.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Pause before a pull is opened again, so that a broken broker is not asked in a circle.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// A command as the broker delivers it, not looked at yet.
#[derive(Debug, Clone)]
pub struct Message {
    /// The subject that it is stored under: `work.<partition>.<principal>.<aggregate>.<key>.<command>`.
    pub subject: Subject,
    /// Our headers, each as often as it came. Names are case-sensitive.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// When the broker stored it, by the broker's clock.
    pub stored_at: Timestamp,
    /// Its number in the stream.
    pub stream_sequence: u64,
    /// How often it has been delivered, this time included.
    pub deliveries: u64,
    /// Where its acknowledgement goes.
    pub ack: Subject,
}

impl Message {
    /// `None`: the server gave it no acknowledgement subject that can be read.
    fn read(message: async_nats::Message) -> Option<Message> {
        let ack = message.reply?;
        let delivery = Delivery::parse(&ack)?;
        Some(Message {
            subject: message.subject,
            headers: message.headers.as_ref().map(our_headers).unwrap_or_default(),
            body: message.payload,
            stored_at: delivery.stored_at,
            stream_sequence: delivery.stream_sequence,
            deliveries: delivery.deliveries,
            ack,
        })
    }
}

fn our_headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let mut ours = Vec::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        if let Some(name) = header::OURS.into_iter().find(|our| *our == name) {
            ours.extend(values.iter().map(|value| (name, value.as_str().to_string())));
        }
    }
    ours
}

/// What an acknowledgement subject says.
#[derive(Debug, PartialEq, Eq)]
struct Delivery {
    deliveries: u64,
    stream_sequence: u64,
    stored_at: Timestamp,
}

impl Delivery {
    /// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<nanoseconds>.<pending>`, or the
    /// longer form with domain and account in front of the stream. By hand: the library's reader makes a date of it.
    fn parse(subject: &str) -> Option<Delivery> {
        let tokens = subject.strip_prefix("$JS.ACK.")?.split('.');
        let in_front = match tokens.clone().count() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut numbers = tokens.skip(in_front).map(str::parse::<u64>);
        let mut number = || numbers.next()?.ok();
        let (deliveries, stream_sequence, _consumer_sequence, nanos) = (number()?, number()?, number()?, number()?);
        let stored_at = Timestamp::from_unix_micros(i64::try_from(nanos / 1_000).ok()?)?;
        Some(Delivery { deliveries, stream_sequence, stored_at })
    }
}

/// Why there is nothing more to pull.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The consumer or its stream is gone, or another one has its name, or the stream has lost what it has delivered.
    /// Provision again, and pull from the new one.
    #[error("the consumer {0} has been deleted, or its stream")]
    ConsumerGone(String),
    /// The client's connection task has ended, and nothing brings it back (a header that it cannot read does that).
    /// Connect anew.
    #[error("the connection to the broker has ended for good")]
    ClientGone,
}

/// What waits at one consumer.
pub struct Deliveries {
    context: jetstream::Context,
    consumer: PullConsumer,
    source: Source,
    silent_since: Option<Instant>,
    faults: u64,
}

/// The future is kept, since whoever pulls may drop its own at any time: opening then goes on where it was.
enum Source {
    Opening(BoxFuture<'static, Result<pull::Stream, DeliverError>>),
    Open(Box<pull::Stream>),
}

impl Deliveries {
    /// Starts with the first pull.
    pub fn new(context: jetstream::Context, consumer: PullConsumer) -> Deliveries {
        let source = Source::Opening(open(context.clone(), consumer.clone(), Duration::ZERO).boxed());
        Deliveries { context, consumer, source, silent_since: Some(Instant::now()), faults: 0 }
    }

    /// Waits for a message, and takes with it what else is there, up to [`BATCH_COMMANDS_MAX`], in the stream's order.
    /// Cancel-safe: a future that is dropped has taken nothing.
    ///
    /// # Errors
    /// [`DeliverError`]. Everything else that can go wrong is logged and mended here.
    pub async fn pull(&mut self) -> Result<Vec<Message>, DeliverError> {
        loop {
            match &mut self.source {
                Source::Opening(opening) => match opening.await {
                    Ok(stream) => {
                        self.source = Source::Open(Box::new(stream));
                        self.silent_since = None; // The server has just answered.
                    }
                    Err(error) => {
                        self.reopen(); // For a caller who pulls again; the finished future cannot be.
                        return Err(error);
                    }
                },
                Source::Open(stream) => {
                    let first = stream.next().await;
                    let batch = self.take_with(first);
                    if !batch.is_empty() {
                        return Ok(batch);
                    }
                }
            }
        }
    }

    /// Since when the server has not been heard: no message, no heartbeat, no answer. `None`: it is heard.
    pub fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// How often the pull had to be opened again.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// The first item and all that can be had without waiting. No await in here, so nothing taken can be dropped.
    fn take_with(&mut self, first: Option<Result<jetstream::Message, pull::MessagesError>>) -> Vec<Message> {
        let mut batch = Vec::new();
        let mut item = first;
        loop {
            match item {
                Some(Ok(message)) => match Message::read(message.message) {
                    Some(message) => batch.push(message),
                    None => tracing::error!("a message without a readable acknowledgement subject was left out"),
                },
                Some(Err(error)) => {
                    self.fault(&error.to_string());
                    return batch;
                }
                None => {
                    self.fault("the subscription has ended");
                    return batch;
                }
            }
            let Source::Open(stream) = &mut self.source else { return batch };
            if batch.len() == BATCH_COMMANDS_MAX {
                return batch;
            }
            // Unconstrained: tokio's budget would cut every batch at some sixty messages.
            match tokio::task::unconstrained(stream.next()).now_or_never() {
                Some(next) => item = next,
                None => return batch,
            }
        }
    }

    fn fault(&mut self, what: &str) {
        self.faults += 1;
        self.silent_since.get_or_insert_with(Instant::now);
        tracing::warn!(consumer = %self.consumer.cached_info().name, what, "the pull of commands is opened again");
        self.reopen();
    }

    fn reopen(&mut self) {
        self.source = Source::Opening(open(self.context.clone(), self.consumer.clone(), REOPEN_PAUSE).boxed());
    }
}

/// Opens a pull, however long it takes, unless there is nothing to pull from any more.
async fn open(
    context: jetstream::Context,
    consumer: PullConsumer,
    pause: Duration,
) -> Result<pull::Stream, DeliverError> {
    tokio::time::sleep(pause).await;
    loop {
        // While the connection is down this waits; it fails only if there is no connection task to wait for.
        context.client().flush().await.map_err(|_| DeliverError::ClientGone)?;
        match ask_and_pull(&context, &consumer).await? {
            Ok(stream) => return Ok(stream),
            Err(error) => tracing::warn!(%error, "the pull of commands cannot be opened yet"),
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

/// The inner error is worth another attempt, the outer one is not.
async fn ask_and_pull(
    context: &jetstream::Context,
    consumer: &PullConsumer,
) -> Result<Result<pull::Stream, async_nats::Error>, DeliverError> {
    let known = consumer.cached_info();
    let info = match consumer.get_info().await {
        // One of the same name that was made since may have any settings and belong to anybody.
        Ok(info) if info.created != known.created => return Err(DeliverError::ConsumerGone(known.name.clone())),
        Ok(info) => info,
        Err(error) => match error.kind() {
            ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound => {
                return Err(DeliverError::ConsumerGone(known.name.clone()));
            }
            _ => return Ok(Err(error.into())),
        },
    };
    match is_beyond_its_stream(context, &info).await {
        Ok(false) => {}
        Ok(true) => return Err(DeliverError::ConsumerGone(known.name.clone())),
        Err(error) => return Ok(Err(error)),
    }
    let pull = consumer
        .stream()
        .max_messages_per_batch(BATCH_COMMANDS_MAX)
        .max_bytes_per_batch(PULL_BYTES_MAX)
        .heartbeat(HEARTBEAT);
    Ok(pull.messages().await.map_err(async_nats::Error::from))
}

/// Why something could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Larger than the server takes. The outcome can still be asked for.
    #[error("larger than the server's max_payload")]
    TooLarge,
    /// Not a subject. Nobody can be told.
    #[error("not a subject that can be published to")]
    Subject,
    /// The client's connection task has ended. Connect anew.
    #[error("the connection to the broker has ended for good")]
    ClientGone,
}

/// Where replies and acknowledgements go out. Everything is only queued: a reply over core NATS is at most once anyhow,
/// and an acknowledgement that is lost means a redelivery, which is harmless. While the connection is down the queue
/// fills, and then these calls wait.
#[derive(Debug, Clone)]
pub struct Sender {
    client: Client,
}

impl Sender {
    /// Sends over this connection.
    pub fn new(client: Client) -> Sender {
        Sender { client }
    }

    /// Answers a sender. `replayed`: an earlier delivery has decided what this says.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn reply(&self, subject: String, payload: Bytes, replayed: bool) -> Result<(), SendError> {
        let sent = if replayed {
            let mut headers = HeaderMap::new();
            headers.insert(header::REPLAYED, header::TRUE);
            self.client.publish_with_headers(subject, headers, payload).await
        } else {
            self.client.publish(subject, payload).await
        };
        sent.map_err(send_error)
    }

    /// Tells the broker that a command is done with, and need not be delivered again.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn ack(&self, ack: Subject) -> Result<(), SendError> {
        self.client.publish(ack, Bytes::from_static(b"+ACK")).await.map_err(send_error)
    }
}

fn send_error(error: async_nats::PublishError) -> SendError {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => SendError::TooLarge,
        PublishErrorKind::InvalidSubject => SendError::Subject,
        PublishErrorKind::Send => SendError::ClientGone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_subject_is_read_in_both_forms() {
        let stored_at = Timestamp::parse("2026-11-24T20:15:01.123456Z").unwrap();
        let read = Some(Delivery { deliveries: 3, stream_sequence: 17, stored_at });
        assert_eq!(Delivery::parse("$JS.ACK.COMMANDS.processor-0.3.17.20.1795551301123456789.5"), read);
        assert_eq!(Delivery::parse("$JS.ACK.hub.ABC.COMMANDS.processor-0.3.17.20.1795551301123456789.5.tok"), read);
        assert_eq!(Delivery::parse("$JS.ACK.COMMANDS.processor-0.3.x.20.1795551301123456789.5"), None);
        assert_eq!(Delivery::parse("_INBOX.abc"), None);
    }

    #[test]
    fn our_headers_come_as_often_as_they_were_sent() {
        let mut headers = HeaderMap::new();
        headers.append("Hapax-Void", "one");
        headers.append("Hapax-Void", "two");
        headers.append("hapax-void", "another name");
        headers.append("X-Other", "not ours");
        let ours = our_headers(&headers);
        assert_eq!(ours, [("Hapax-Void", "one".to_string()), ("Hapax-Void", "two".to_string())]);
    }
}
