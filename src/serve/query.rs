//! Answers questions: `qry.<principal>.…`. Everybody who serves hears all of them, and who owns the key answers.
//!
//! What is asked about now goes through the processor, so that nobody is told less than he already knows; what is asked
//! about the past is read from the store, beside it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::service::{Service, ServiceExt};
use async_nats::{Client, Message};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::health::{Health, Vitals};
use super::lookup::{LookUp, LookUpError};
use super::time::now;
use crate::index::SledIndex;
use crate::model::error::with_sources;
use crate::model::limits::WAIT_MS_MAX;
use crate::model::partition::partition_of;
use crate::model::subject::{QuerySubject, is_inbox_of};
use crate::model::{
    AggregateId, At, CommandId, CommandName, Content, Identity, Position, Principal, Refusal, Timestamp, Version,
};
use crate::nats::{ConnectOptions, connect};
use crate::processor::{Ask, Question, reply};
use crate::store::CommitReader;
use crate::store::file::FileReader;

/// Questions about the past that are answered at once; each reads a history from the disk.
const HISTORIES_MAX: usize = 4;

/// Pause before another connection is made.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How long a question about the past waits for the index to know what is already durable.
const INDEX_WAIT_MAX: Duration = Duration::from_secs(5);

/// Who can answer for one partition.
pub(super) struct Answerer {
    pub(super) questions: mpsc::Sender<Question>,
    pub(super) lookup: LookUp<SledIndex, FileReader>,
    pub(super) vitals: watch::Receiver<Vitals>,
}

/// The answerers of all partitions, filled as they start.
pub(super) type Answerers = Arc<Vec<OnceLock<Arc<Answerer>>>>;

/// Answers over a connection of its own: a question with headers that the library cannot read ends it, and takes nothing
/// down with it.
pub(super) struct Queries {
    pub(super) options: ConnectOptions,
    pub(super) health: Health,
    pub(super) answerers: Answerers,
    /// Told when questions are heard.
    pub(super) heard: Arc<Notify>,
}

/// Answers until the connection ends.
struct Answering {
    client: Client,
    health: Health,
    answerers: Answerers,
    heard: Arc<Notify>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeQuery {
    wait_ms: Option<u64>,
    command: Option<CommandName>,
    expected_version: Option<Version>,
    data: Option<Box<RawValue>>,
}

impl OutcomeQuery {
    /// What the asker has sent, if he says so.
    fn content(self) -> Result<Option<Content>, Refusal> {
        let OutcomeQuery { command, expected_version: expected, data, .. } = self;
        let Some(name) = command else {
            return match (expected, data) {
                (None, None) => Ok(None),
                _ => Err(Refusal::malformed("body", "expected_version and data say nothing without command")),
            };
        };
        let data = data.map_or(Bytes::from_static(b"{}"), |data| Bytes::from(Box::<str>::from(data).into_string()));
        Ok(Some(Content { name, expected, data }))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateQuery {
    at_version: Option<Version>,
    at_position: Option<Position>,
    at_time: Option<Timestamp>,
}

impl Queries {
    /// Answers for as long as it is polled.
    pub(super) async fn run(self) {
        loop {
            let ended = match connect(&self.options).await {
                Ok(client) => self.answer_over(client).await.map_err(async_nats::Error::from),
                Err(error) => Err(error.into()),
            };
            let why = ended.err().map_or("the connection has died".to_owned(), |error| with_sources(&*error));
            tracing::error!(why, "questions are not answered; another connection is made");
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }

    async fn answer_over(&self, client: Client) -> Result<(), async_nats::SubscribeError> {
        let _announced = announce(&client).await;
        let (health, answerers, heard) = (self.health.clone(), self.answerers.clone(), self.heard.clone());
        Answering { client, health, answerers, heard }.run().await
    }
}

async fn announce(client: &Client) -> Option<Service> {
    let builder = client.service_builder().description("event-sourced command processor");
    let started = builder.start("hapax", env!("CARGO_PKG_VERSION")).await;
    started.inspect_err(|error| tracing::warn!(%error, "the service is not announced under $SRV")).ok()
}

impl Answering {
    async fn run(self) -> Result<(), async_nats::SubscribeError> {
        let mut messages = self.client.subscribe("qry.>").await?;
        if self.client.flush().await.is_ok() {
            self.heard.notify_one();
        }
        let histories = Arc::new(Semaphore::new(HISTORIES_MAX));
        while let Some(message) = messages.next().await {
            self.answer(message, &histories).await;
        }
        Ok(())
    }

    async fn answer(&self, message: Message, histories: &Arc<Semaphore>) {
        let Some(reply_to) = message.reply.as_ref().map(ToString::to_string) else { return };
        let subject = match QuerySubject::parse(&message.subject) {
            Ok(subject) => subject,
            Err(error) => {
                // Told only where the principal is readable, and only to an inbox of his.
                let principal = message.subject.split('.').nth(1).and_then(|token| Principal::parse(token).ok());
                if principal.is_some_and(|principal| is_inbox_of(&principal, &reply_to)) {
                    self.refuse(reply_to, &Refusal::malformed("subject", error), None).await;
                }
                return;
            }
        };
        if !is_inbox_of(subject.principal(), &reply_to) {
            tracing::debug!(subject = %message.subject, reply_to, "not answered: its reply subject is no inbox of its principal");
            return;
        }
        match subject {
            QuerySubject::Health { .. } => {
                let report = serde_json::to_vec(&self.health.report()).expect("a report is numbers and strings");
                self.send(reply_to, report.into()).await;
            }
            QuerySubject::Outcome { principal, aggregate, id } => {
                let identity = Identity { principal, key: aggregate.key.clone(), id };
                self.outcome(reply_to, identity, aggregate, &message.payload).await;
            }
            QuerySubject::State { aggregate, .. } => self.state(reply_to, aggregate, &message.payload, histories).await,
        }
    }

    async fn outcome(&self, reply_to: String, identity: Identity, aggregate: AggregateId, body: &Bytes) {
        let id = identity.id.clone();
        let query: OutcomeQuery = match read(body) {
            Ok(query) => query,
            Err(refusal) => return self.refuse(reply_to, &refusal, Some(&id)).await,
        };
        let wait_ms = query.wait_ms.unwrap_or(0).min(WAIT_MS_MAX);
        let wait_until = (wait_ms > 0).then(|| now().plus(Duration::from_millis(wait_ms)));
        let content = match query.content() {
            Ok(content) => content,
            Err(refusal) => return self.refuse(reply_to, &refusal, Some(&id)).await,
        };
        let ask = Ask::Outcome { identity, aggregate: aggregate.clone(), content, wait_until };
        self.ask(&aggregate, Question { reply_to, ask }, Some(&id)).await;
    }

    async fn state(&self, reply_to: String, aggregate: AggregateId, body: &Bytes, histories: &Arc<Semaphore>) {
        let at = read(body).and_then(|query| match query {
            StateQuery { at_version: None, at_position: None, at_time: None } => Ok(At::Now),
            StateQuery { at_version: Some(version), at_position: None, at_time: None } => Ok(At::Version(version)),
            StateQuery { at_version: None, at_position: Some(position), at_time: None } => Ok(At::Position(position)),
            StateQuery { at_version: None, at_position: None, at_time: Some(time) } => Ok(At::Time(time)),
            _ => Err(Refusal::malformed("body", "ask for one point: at_version, at_position or at_time")),
        });
        match at {
            Err(refusal) => self.refuse(reply_to, &refusal, None).await,
            Ok(At::Now) => {
                let ask = Ask::State { aggregate: aggregate.clone() };
                self.ask(&aggregate, Question { reply_to, ask }, None).await;
            }
            Ok(at) => match self.answerer(&aggregate) {
                None => self.refuse(reply_to, &Refusal::unavailable("starting"), None).await,
                Some(answerer) => {
                    let (client, histories) = (self.client.clone(), histories.clone());
                    tokio::spawn(async move {
                        let body = past_state(answerer, aggregate, at, &histories).await;
                        let body = body.unwrap_or_else(|refusal| refusal.to_json(None).into());
                        // As for every reply over core NATS: who does not hear it asks again.
                        let _ = client.publish(reply_to, body).await;
                    });
                }
            },
        }
    }

    /// Hands a question to the partition that owns the key.
    async fn ask(&self, aggregate: &AggregateId, question: Question, id: Option<&CommandId>) {
        let sent = match self.answerer(aggregate) {
            Some(answerer) => answerer.questions.try_send(question).map_err(|error| error.into_inner()),
            None => Err(question),
        };
        if let Err(question) = sent {
            self.refuse(question.reply_to, &Refusal::unavailable("starting, or too many questions at once"), id).await;
        }
    }

    fn answerer(&self, aggregate: &AggregateId) -> Option<Arc<Answerer>> {
        let count = u32::try_from(self.answerers.len()).ok()?;
        let partition = usize::try_from(partition_of(&aggregate.key, count)).ok()?;
        self.answerers.get(partition)?.get().cloned()
    }

    async fn refuse(&self, reply_to: String, refusal: &Refusal, id: Option<&CommandId>) {
        self.send(reply_to, refusal.to_json(id).into()).await;
    }

    async fn send(&self, reply_to: String, body: Bytes) {
        // A reply over core NATS is at most once: who does not hear it asks again.
        let _ = self.client.publish(reply_to, body).await;
    }
}

fn read<T: Default + for<'de> Deserialize<'de>>(body: &Bytes) -> Result<T, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Refusal::malformed("body", error))
}

async fn past_state(
    answerer: Arc<Answerer>,
    aggregate: AggregateId,
    at: At,
    histories: &Semaphore,
) -> Result<Bytes, Refusal> {
    let _permit = histories.acquire().await.map_err(Refusal::unavailable)?;
    let mut vitals = answerer.vitals.clone();
    // The store's own word: vital signs are older, and who asks may already have the reply to the last commit.
    let durable = answerer.lookup.reader.last();
    let caught_up = vitals.wait_for(|vitals| vitals.indexed >= durable);
    match tokio::time::timeout(INDEX_WAIT_MAX, caught_up).await {
        Ok(Ok(_)) => {}
        _ => return Err(Refusal::unavailable("the index is behind")),
    }
    if let At::Position(position) = at
        && Some(position) > durable
    {
        return Err(Refusal::malformed("at_position", format_args!("there is no position {position} yet")));
    }
    let folding = tokio::task::spawn_blocking(move || {
        if !answerer.lookup.service.serves(&aggregate.kind) {
            let served = answerer.lookup.service.types().collect::<Vec<_>>().join(", ");
            return Err(Refusal::unknown_aggregate(&aggregate, &served));
        }
        let unavailable = |error| match error {
            LookUpError::Unavailable(why) => Refusal::unavailable(why),
            LookUpError::Fatal(fatal) => Refusal::unavailable(with_sources(&fatal)),
        };
        if let At::Version(version) = at {
            let last = answerer.lookup.version(&aggregate).map_err(unavailable)?;
            if last < version {
                let message = format_args!("there is no version {version} yet, the last is {last}");
                return Err(Refusal::malformed("at_version", message));
            }
        }
        match answerer.lookup.fold(&aggregate, at).map_err(unavailable)? {
            Ok(folded) => {
                reply::state(&aggregate, &folded).ok_or_else(|| Refusal::unavailable("the state is not JSON"))
            }
            Err(why) => Err(Refusal::unavailable(why)),
        }
    });
    folding.await.unwrap_or_else(|_| Err(Refusal::unavailable("folding the history panicked")))
}
