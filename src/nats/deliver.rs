//! How do commands come in? [`Deliveries`] pulls what waits at a consumer.
//!
//! A pull waits for one message and then takes what else is there, so that a batch is as large as the load and nobody
//! waits for it to fill. Whatever goes wrong with the connection ends in the same way: the pull is opened anew, and the
//! consumer is asked whether it is still the one we know. Only work that was done counts as health: the library says that
//! it is connected also when its connection's task has died.
//!
//! Two kinds of poison are kept from standing in the way of all others:
//! * Headers that the library cannot read end the connection that they come over. So commands come over one of their own,
//!   made anew when it has died, and `sweep.rs` removes what ended it.
//! * A command of which the whole process dies comes again at every start. So whoever has been delivered often, and never
//!   to this process, comes alone; and when several processes have ended with it alone in hand ([`Suspects`]), it goes into
//!   quarantine unseen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, FromConsumer, PullConsumer, pull};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::{self};
use async_nats::{Client, Event, Subject};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connect::{ConnectOptions, connect_listening, tell};
use super::message::Message;
use super::place::is_beyond_its_stream;
use super::provision::ACK_WAIT;
use super::suspects::Suspects;
use super::sweep::Sweep;
use crate::model::error::with_sources;
use crate::model::limits::{
    DELIVERIES_TOGETHER_MAX, ENDED_WITH_MAX, IN_FLIGHT_COMMANDS_MAX, PULL_BYTES_MAX, PULL_MESSAGES_MAX, TURN_BYTES_MAX,
};

/// How often an idle server says that it is there. After twice that without a word the pull is opened anew.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Pause before a pull is opened again, so that a broken broker is not asked in a circle.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// How long the server may take to say that no command waits.
const ONE_MAX: Duration = Duration::from_secs(4);

/// Pause before a connection is made again that the server did not let us make.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Why there is nothing more to pull.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The consumer or its stream is gone, or another one has its name, or the stream has lost what it has delivered.
    /// Provision again, and pull from the new one.
    #[error("the consumer {0} has been deleted, or its stream")]
    ConsumerGone(String),
    /// The task of the connection that everything but the commands goes over has ended. Connect anew.
    #[error("the connection to the broker has ended for good")]
    ClientGone,
}

/// What waits at one consumer.
pub struct Deliveries {
    origin: Origin,
    /// The connection that commands come over; `None`: there is none yet.
    client: Option<Client>,
    source: Source,
    sweep: Sweep,
    put_away_before: u64,
    /// Whether one command is pulled at a time: at the start, and after one that may be crash poison.
    careful: bool,
    /// Acknowledgement subjects of what came with others and is to come alone.
    put_back: Vec<Subject>,
    /// Their numbers, until they have come, or until when they should have: up to then nothing comes with others.
    awaited: BTreeSet<u64>,
    awaited_until: Instant,
    /// Numbers of commands that came again although this process had them: it does not die of them.
    survived: BTreeSet<u64>,
    suspects: Suspects,
    silent_since: Option<Instant>,
    faults: u64,
}

/// Where commands come from.
#[derive(Clone)]
struct Origin {
    options: ConnectOptions,
    context: jetstream::Context,
    consumer: PullConsumer,
    partition: u32,
}

/// The future is kept, since whoever pulls may drop its own at any time: opening then goes on where it was.
enum Source {
    Opening(BoxFuture<'static, Result<(Client, Pull), DeliverError>>),
    Open(Pull),
}

/// How the next pull is opened.
struct Next {
    careful: bool,
    put_back: Vec<Subject>,
    pause: Duration,
}

/// What was asked of the server.
enum Pull {
    /// All there is, for as long as it goes.
    Stream(Box<pull::Stream>),
    /// One command, if one waits, and until when the server may say so.
    One(Box<pull::Batch>, Instant),
}

impl Pull {
    async fn next(&mut self) -> Option<Result<jetstream::Message, async_nats::Error>> {
        match self {
            Pull::Stream(stream) => stream.next().await.map(|item| item.map_err(async_nats::Error::from)),
            Pull::One(batch, deadline) => {
                let answer = tokio::time::timeout_at(*deadline, batch.next()).await;
                answer.unwrap_or_else(|_| Some(Err("the server does not answer".into())))
            }
        }
    }
}

/// When a consumer was made, in words of its own.
fn made(consumer: &PullConsumer) -> String {
    consumer.cached_info().created.to_string()
}

impl Deliveries {
    /// Pulls over a connection of its own that is made with these options. `context` is for everything else, and must be
    /// over another one.
    pub fn new(
        options: ConnectOptions,
        context: jetstream::Context,
        consumer: PullConsumer,
        partition: u32,
        mut suspects: Suspects,
    ) -> Deliveries {
        suspects.begin(made(&consumer));
        let options = ConnectOptions { name: Some(format!("hapax commands {partition}")), ..options };
        let sweep = Sweep::start(context.clone(), consumer.clone(), partition);
        let origin = Origin { options, context, consumer, partition };
        let next = Next { careful: true, put_back: Vec::new(), pause: Duration::ZERO };
        let opening = open(origin.clone(), None, sweep.waker(), next).boxed();
        Deliveries {
            origin,
            client: None,
            source: Source::Opening(opening),
            sweep,
            put_away_before: 0,
            careful: true,
            put_back: Vec::new(),
            awaited: BTreeSet::new(),
            awaited_until: Instant::now(),
            survived: BTreeSet::new(),
            suspects,
            silent_since: Some(Instant::now()),
            faults: 0,
        }
    }

    /// Pulls from a consumer that was made in the place of the one that is gone.
    pub fn go_on_with(&mut self, consumer: PullConsumer) {
        let Origin { context, partition, .. } = &self.origin;
        self.put_away_before += self.sweep.put_away();
        self.sweep = Sweep::start(context.clone(), consumer.clone(), *partition);
        self.suspects.begin(made(&consumer));
        self.origin.consumer = consumer;
        self.survived.clear(); // Another stream counts from 1.
        self.awaited.clear();
        self.reopen(REOPEN_PAUSE);
    }

    /// Waits for a message, and takes with it what else is there, up to [`PULL_MESSAGES_MAX`] and [`TURN_BYTES_MAX`], in the stream's order.
    /// Cancel-safe: a future that is dropped has taken nothing. Whoever pulls has settled what was careful before
    /// ([`Deliveries::is_careful`]).
    ///
    /// # Errors
    /// [`DeliverError`]. Everything else that can go wrong is logged and mended here.
    pub async fn pull(&mut self) -> Result<Vec<Message>, DeliverError> {
        self.suspects.settled();
        loop {
            match &mut self.source {
                Source::Opening(opening) => {
                    self.silent_since.get_or_insert_with(Instant::now); // Until it answers.
                    match opening.await {
                        Ok((client, pull)) => {
                            self.client = Some(client);
                            self.source = Source::Open(pull);
                            self.silent_since = None; // The server has just answered.
                        }
                        Err(error) => {
                            self.reopen(REOPEN_PAUSE); // For a caller who pulls again; the finished future cannot be.
                            return Err(error);
                        }
                    }
                }
                Source::Open(pull) => {
                    let alone = matches!(pull, Pull::One(..));
                    let first = pull.next().await;
                    let batch = self.take_with(first);
                    let batch = self.sift(batch, alone);
                    if !batch.is_empty() {
                        return Ok(batch);
                    }
                }
            }
        }
    }

    /// Whether what was pulled last may be crash poison: it must be settled before anything else is pulled.
    pub fn is_careful(&self) -> bool {
        self.careful
    }

    /// Since when the server has not been heard: no message, no heartbeat, no answer. `None`: it is heard.
    pub fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// How often the pull had to be opened again.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// How many commands went into quarantine without having been handed out.
    pub fn put_away(&self) -> u64 {
        self.put_away_before + self.sweep.put_away()
    }

    /// The first item and all that can be had without waiting. No await in here, so nothing taken can be dropped.
    fn take_with(&mut self, first: Option<Result<jetstream::Message, async_nats::Error>>) -> Vec<Message> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
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
                None if matches!(self.source, Source::Open(Pull::One(..))) => {
                    self.careful = self.awaits_some();
                    self.reopen(if self.careful { REOPEN_PAUSE } else { Duration::ZERO });
                    return batch;
                }
                None => {
                    self.fault("the subscription has ended");
                    return batch;
                }
            }
            let Source::Open(Pull::Stream(stream)) = &mut self.source else {
                for message in &batch {
                    self.awaited.remove(&message.stream_sequence);
                }
                self.careful = batch.iter().any(|message| self.may_be_crash_poison(message)) || self.awaits_some();
                self.reopen(Duration::ZERO);
                return batch;
            };
            bytes += batch.last().map_or(0, |message| message.body.len());
            if batch.len() == PULL_MESSAGES_MAX || bytes >= TURN_BYTES_MAX {
                return batch;
            }
            // Unconstrained: tokio's budget would cut every batch at some sixty messages.
            match tokio::task::unconstrained(stream.next()).now_or_never() {
                Some(next) => item = next.map(|item| item.map_err(async_nats::Error::from)),
                None => return batch,
            }
        }
    }

    /// Leaves out what is not to be handed out with others, or not at all.
    fn sift(&mut self, batch: Vec<Message>, alone: bool) -> Vec<Message> {
        if batch.iter().all(|message| message.deliveries == 1) {
            return batch;
        }
        let mut sifted = Vec::with_capacity(batch.len());
        for message in batch {
            if self.may_be_crash_poison(&message) {
                let ended = self.suspects.ended_with(message.stream_sequence);
                if ENDED_WITH_MAX <= ended {
                    let why = format!("{ended} processes have ended with it alone in hand");
                    self.sweep.condemn(message.stream_sequence, why);
                    continue;
                }
                if !alone {
                    self.awaited.insert(message.stream_sequence);
                    self.put_back.push(message.ack);
                    continue;
                }
                self.suspects.hand_out(message.stream_sequence);
            }
            if message.deliveries > 1 {
                self.survived.insert(message.stream_sequence);
            }
            sifted.push(message);
        }
        // Those that have come again are at most what may be in flight; older numbers are settled.
        while self.survived.len() > 2 * IN_FLIGHT_COMMANDS_MAX {
            self.survived.pop_first();
        }
        if !self.put_back.is_empty() {
            self.careful = true;
            self.awaited_until = Instant::now() + 2 * ACK_WAIT;
            self.reopen(Duration::ZERO);
        }
        sifted
    }

    /// Whether something that was put back has not come again. What does not come is settled.
    fn awaits_some(&mut self) -> bool {
        if self.awaited_until < Instant::now() {
            self.awaited.clear();
        }
        !self.awaited.is_empty()
    }

    /// Delivered often, and never to this process: others may have died of it.
    fn may_be_crash_poison(&self, message: &Message) -> bool {
        message.deliveries > DELIVERIES_TOGETHER_MAX && !self.survived.contains(&message.stream_sequence)
    }

    fn fault(&mut self, what: &str) {
        self.faults += 1;
        self.silent_since.get_or_insert_with(Instant::now);
        tracing::warn!(consumer = %self.origin.consumer.cached_info().name, what, "the pull of commands is opened again");
        self.sweep.wake();
        self.careful = true;
        self.reopen(REOPEN_PAUSE);
    }

    fn reopen(&mut self, pause: Duration) {
        let next = Next { careful: self.careful, put_back: std::mem::take(&mut self.put_back), pause };
        self.source = Source::Opening(open(self.origin.clone(), self.client.clone(), self.sweep.waker(), next).boxed());
    }

    /// Ends the connection, and with it what is asked of the server: as long as it is open our last pull waits, and the
    /// next processor with it. What was handed out is settled.
    pub async fn close(&mut self) {
        self.suspects.settled();
        if let Some(client) = self.client.take() {
            let _ = client.drain().await; // If it has died, it is closed.
        }
    }
}

/// Opens a pull, however long it takes, unless there is nothing to pull from any more.
async fn open(
    origin: Origin,
    mut client: Option<Client>,
    sweep: Arc<Notify>,
    next: Next,
) -> Result<(Client, Pull), DeliverError> {
    tokio::time::sleep(next.pause).await;
    loop {
        // While a connection is down this waits; it fails only if there is no connection task to wait for.
        origin.context.client().flush().await.map_err(|_| DeliverError::ClientGone)?;
        let commands = match client.take() {
            Some(commands) if commands.flush().await.is_ok() => commands,
            dead => {
                if dead.is_some() {
                    tracing::error!("the connection that commands come over has died; another one is made");
                    sweep.notify_one();
                }
                connect_for_commands(&origin.options, &sweep).await
            }
        };
        match ask_and_pull(&origin, &commands, &next).await? {
            Ok(pull) => return Ok((commands, pull)),
            Err(error) => tracing::warn!(%error, "the pull of commands cannot be opened yet"),
        }
        client = Some(commands);
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

/// Connects, however long it takes. Whenever the connection breaks, a command may have done it.
async fn connect_for_commands(options: &ConnectOptions, sweep: &Arc<Notify>) -> Client {
    let options = ConnectOptions { wait_for_server: true, ..options.clone() };
    loop {
        let sweep = sweep.clone();
        let listener = move |event| {
            tell(&event);
            tracing::debug!(%event, "nats, commands");
            if let Event::Disconnected = event {
                sweep.notify_one();
            }
        };
        match connect_listening(&options, listener).await {
            Ok(client) => return client,
            Err(error) => tracing::error!(error = with_sources(&error), "no connection for commands"),
        }
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

/// The inner error is worth another attempt, the outer one is not.
async fn ask_and_pull(
    origin: &Origin,
    client: &Client,
    next: &Next,
) -> Result<Result<Pull, async_nats::Error>, DeliverError> {
    let known = origin.consumer.cached_info();
    let info = match origin.consumer.get_info().await {
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
    match is_beyond_its_stream(&origin.context, &info).await {
        Ok(false) => Ok(pull(origin, client, info, next).await),
        Ok(true) => Err(DeliverError::ConsumerGone(known.name.clone())),
        Err(error) => Ok(Err(error)),
    }
}

async fn pull(origin: &Origin, client: &Client, info: consumer::Info, next: &Next) -> Result<Pull, async_nats::Error> {
    let config = pull::Config::try_from_consumer_config(info.config.clone())?;
    let consumer = PullConsumer::new(config, info, origin.options.jetstream(client.clone()));
    // Only now: the last pull has ended, and would have got them.
    // The server has to have taken them back before it is asked for one. What it does not take back comes later.
    let put_back = next.put_back.iter().map(|ack| client.request(ack.clone(), Bytes::from_static(b"-NAK")));
    futures::future::join_all(put_back).await;
    if next.careful {
        let one = consumer.fetch().max_messages(1).messages().await?;
        return Ok(Pull::One(Box::new(one), Instant::now() + ONE_MAX));
    }
    let stream = consumer
        .stream()
        .max_messages_per_batch(PULL_MESSAGES_MAX)
        .max_bytes_per_batch(PULL_BYTES_MAX)
        .heartbeat(HEARTBEAT);
    Ok(Pull::Stream(Box::new(stream.messages().await?)))
}
