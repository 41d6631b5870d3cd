//! Are streams and consumers there, and as they must be? What is missing is created; what is there and differs is
//! refused, setting by setting, and never changed: its administrator may have had a reason, and some changes would lose
//! commands or send a key to another partition.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, PullConsumer, ReplayPolicy, pull};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType, SubjectTransform};
use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;
use uuid::Uuid;

use super::place::is_beyond_its_stream;
use crate::model::Timestamp;
use crate::model::limits::{COMMAND_BYTES_MAX, HEADER_BYTES_MAX, IN_FLIGHT_COMMANDS_MAX};

mod compare;
pub mod events;

pub use compare::Drift;
use compare::{consumer_drifts, refuse, stream_drifts};

/// The stream that commands wait in.
pub const COMMANDS: &str = "COMMANDS";
/// The stream of what could not be decided or even read.
pub const QUARANTINE: &str = "QUARANTINE";

/// What clients publish to. No other depth: it would be stored and fit no consumer.
const COMMAND_SUBJECTS: &str = "cmd.*.*.*.*";

/// How long a command that nobody has acknowledged waits for its redelivery, which is harmless.
pub const ACK_WAIT: Duration = Duration::from_secs(5);

/// The server's minimum. Retries must reach the processor, which answers them; the stream must not swallow them.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

/// Bytes of all commands that wait. A full stream refuses new ones, which their senders see and can try again.
const COMMANDS_BYTES_MAX: i64 = 1024 * 1024 * 1024;

/// Bytes of a message with its headers. More than a command may have, so that one that is too large gets its answer from
/// us and not a silent refusal by the stream; and enough for a batch of commands, so that those need no new stream.
const MESSAGE_BYTES_MAX: i32 = 576 * 1024;
const _: () = assert!(COMMAND_BYTES_MAX + HEADER_BYTES_MAX < MESSAGE_BYTES_MAX as usize); // A whole command fits.

/// Messages that are kept in quarantine; the oldest goes.
const QUARANTINE_MESSAGES_MAX: i64 = 10_000;
/// Bytes that are kept in quarantine; the oldest goes.
const QUARANTINE_BYTES_MAX: i64 = 256 * 1024 * 1024;

/// The member of a consumer's metadata that names the store whose processor reads it.
const STORE_METADATA: &str = "hapax_store";

/// How long pulls of another processor may still wait at the server: those of a killed one vanish with its connection.
const BUSY_GRACE: Duration = Duration::from_secs(3);
/// How often that is looked at.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// What must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How many partitions there are, fixed for ever.
    pub partitions: u32,
    /// The store that this processor writes.
    pub store: Uuid,
    /// Whether what is missing may be created.
    pub create: bool,
    /// Whether a consumer is taken from another store, or from a processor that still pulls.
    pub take_over: bool,
}

/// What is there now.
#[derive(Debug)]
pub struct Provisioned {
    /// The consumer of each partition, in order.
    pub consumers: Vec<PullConsumer>,
    /// Names of the streams and consumers that were missing until now.
    pub created: Vec<String>,
}

/// Why this processor cannot run on this broker.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Settings differ, all of them named. An administrator mends them, or removes the stream if it holds nothing.
    #[error("settings on the broker are not what they must be: {}", .0.iter().map(Drift::to_string).collect::<Vec<_>>().join("; "))]
    Drifted(Vec<Drift>),
    /// It does not exist and must not be created. Create it, or allow it.
    #[error("{0} does not exist on the broker, and nothing may be created")]
    Missing(String),
    /// The subjects of a stream belong to another one. An administrator removes or changes that.
    #[error("stream {stream} cannot be created: its subjects overlap those of another stream ({other})")]
    SubjectsTaken {
        /// The stream that we need.
        stream: String,
        /// The one in its way, as far as it can be found.
        other: String,
    },
    /// The consumer belongs to the processor of another store. Two stores for one partition would decide twice.
    #[error("consumer {consumer} belongs to the store {found}, not to {wanted}")]
    ForeignStore {
        /// The consumer.
        consumer: String,
        /// The store that it names.
        found: String,
        /// Ours.
        wanted: Uuid,
    },
    /// Another processor pulls from the consumer. Stop it first.
    #[error("consumer {consumer} is in use: another processor waits for its commands")]
    Busy {
        /// The consumer.
        consumer: String,
    },
    /// The server cannot read what it has stored of the consumer, and makes no other of that name. A power cut can do that
    /// to nats-server (seen with 2.15.1, of which `o.dat` was left with zeros): it writes that file without fsync.
    #[error(
        "the server cannot read what it has stored of consumer {consumer}, perhaps after a power cut, and makes no other: \
         stop it, remove the folder streams/{COMMANDS}/obs/{consumer} of its store, and start it again; nothing is lost by that"
    )]
    ConsumerDamaged {
        /// The consumer.
        consumer: String,
    },
    /// There was a feed, and its stream is gone. Its readers lose their place, and nothing else can tell an older copy of the
    /// store from the store: somebody has to say that it is not one.
    #[error(
        "stream {stream} held the feed of this store and does not exist any more: put it back from a copy; or, if the data \
         directory is known to be no older copy of itself, have it made anew once with --feed anew"
    )]
    FeedLost {
        /// The stream.
        stream: String,
    },
    /// The stream holds the feed of another store.
    #[error("stream {stream} holds the feed of {found}, not of the store {wanted} with {partitions} partition(s)")]
    ForeignFeed {
        /// The stream.
        stream: String,
        /// What it says of its store.
        found: String,
        /// Ours.
        wanted: Uuid,
        /// How many we have.
        partitions: u32,
    },
    /// The broker did not do what was asked. Its reason is the source.
    #[error("the broker failed: {what}")]
    Broker {
        /// What was asked.
        what: String,
        /// Why not.
        #[source]
        source: async_nats::Error,
    },
}

impl ProvisionError {
    fn broker(what: impl Into<String>, source: impl Into<async_nats::Error>) -> ProvisionError {
        ProvisionError::Broker { what: what.into(), source: source.into() }
    }
}

/// Checks the streams and consumers that a processor needs, and creates what is missing if it may. Several may do this at
/// once. Call it before pulling: one's own pulls would look like another processor's.
///
/// # Errors
/// [`ProvisionError`]. Nothing that exists has then been changed.
pub async fn check_or_create(context: &jetstream::Context, wanted: &Wanted) -> Result<Provisioned, ProvisionError> {
    let mut created = check_streams(context, wanted).await?;
    let mut consumers = Vec::new();
    for partition in 0..wanted.partitions {
        let (consumer, is_new) = check_consumer(context, wanted, partition).await?;
        created.extend(is_new.then(|| consumer_name(partition)));
        consumers.push(consumer);
    }
    Ok(Provisioned { consumers, created })
}

/// The same for one partition whose consumer went away while its neighbours may still pull.
///
/// # Errors
/// [`ProvisionError`].
pub async fn restore(
    context: &jetstream::Context,
    wanted: &Wanted,
    partition: u32,
) -> Result<PullConsumer, ProvisionError> {
    check_streams(context, wanted).await?;
    check_consumer(context, wanted, partition).await.map(|(consumer, _)| consumer)
}

/// Makes the quarantine again if somebody has deleted it, and says whether that was so. While it is missing, what belongs
/// there is not acknowledged, and comes again and again.
///
/// # Errors
/// [`ProvisionError`]; [`ProvisionError::Missing`] if it may not be made.
pub async fn restore_quarantine(context: &jetstream::Context, wanted: &Wanted) -> Result<bool, ProvisionError> {
    let (_, is_new) = find_or_create_stream(context, QUARANTINE, &quarantine_config(), wanted.create).await?;
    Ok(is_new)
}

/// Names of the streams that were missing until now.
async fn check_streams(context: &jetstream::Context, wanted: &Wanted) -> Result<Vec<String>, ProvisionError> {
    let mut created = Vec::new();
    let mut drifts = Vec::new();
    for (name, config) in [(COMMANDS, commands_config(wanted.partitions)), (QUARANTINE, quarantine_config())] {
        let (found, is_new) = find_or_create_stream(context, name, &config, wanted.create).await?;
        drifts.extend(stream_drifts(&config, &found));
        created.extend(is_new.then(|| name.to_string()));
    }
    // Consumers of a drifted stream are not created: they might not even fit it.
    refuse(drifts)?;
    Ok(created)
}

async fn check_consumer(
    context: &jetstream::Context,
    wanted: &Wanted,
    partition: u32,
) -> Result<(PullConsumer, bool), ProvisionError> {
    let config = consumer_config(partition, wanted.store);
    let (mut consumer, mut is_new) = find_or_create_consumer(context, &config, wanted.create).await?;
    refuse(consumer_drifts(&config, &consumer.cached_info().config))?;
    let is_beyond = is_beyond_its_stream(context, consumer.cached_info()).await;
    if is_beyond.map_err(|error| ProvisionError::broker(format!("reading stream {COMMANDS}"), error))?
        && wanted.create
        && is_of(&consumer, wanted.store)
    {
        let name = consumer_name(partition);
        tracing::error!(consumer = %name, "the broker has lost commands that it has delivered; their consumer is made anew");
        let deleted = context.delete_consumer_from_stream(&name, COMMANDS).await;
        deleted.map_err(|error| ProvisionError::broker(format!("deleting consumer {name}"), error))?;
        (consumer, is_new) = find_or_create_consumer(context, &config, true).await?;
    }
    claim(context, &mut consumer, partition, wanted).await?;
    Ok((consumer, is_new))
}

/// The time of the broker's clock, to compare ours with.
///
/// # Errors
/// [`ProvisionError::Broker`].
pub async fn broker_time(context: &jetstream::Context) -> Result<Timestamp, ProvisionError> {
    #[derive(Deserialize)]
    struct Dated {
        ts: Timestamp,
    }
    let asked: Result<Dated, _> = context.request(format!("STREAM.INFO.{COMMANDS}"), &serde_json::json!({})).await;
    asked.map(|dated| dated.ts).map_err(|error| ProvisionError::broker("asking for its time", error))
}

/// The durable consumer of a partition.
pub fn consumer_name(partition: u32) -> String {
    format!("processor-{partition}")
}

fn commands_config(partitions: u32) -> stream::Config {
    stream::Config {
        name: COMMANDS.into(),
        description: Some("commands that wait to be decided".into()),
        subjects: vec![COMMAND_SUBJECTS.into()],
        // The server chooses the partition, from the key, and never a client.
        subject_transform: Some(SubjectTransform {
            source: COMMAND_SUBJECTS.into(),
            destination: format!(
                "work.{{{{partition({partitions},3)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{{{{wildcard(3)}}}}\
                 .{{{{wildcard(4)}}}}"
            ),
        }),
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_bytes: COMMANDS_BYTES_MAX,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: MESSAGE_BYTES_MAX,
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        deny_purge: true,
        num_replicas: 1,
        ..stream::Config::default()
    }
}

fn quarantine_config() -> stream::Config {
    stream::Config {
        name: QUARANTINE.into(),
        description: Some("what could not be decided or even read".into()),
        subjects: vec!["quarantine.*".into()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_bytes: QUARANTINE_BYTES_MAX,
        max_messages: QUARANTINE_MESSAGES_MAX,
        max_messages_per_subject: -1,
        max_message_size: -1,
        duplicate_window: DUPLICATE_WINDOW,
        num_replicas: 1,
        ..stream::Config::default()
    }
}

fn consumer_config(partition: u32, store: Uuid) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer_name(partition)),
        description: Some("the processor of a partition".into()),
        filter_subject: format!("work.{partition}.>"),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        replay_policy: ReplayPolicy::Instant,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        // The server's own default, 1,000, is below what is in flight at full load.
        max_ack_pending: i64::try_from(IN_FLIGHT_COMMANDS_MAX).expect("the limit is small"),
        metadata: HashMap::from([(STORE_METADATA.into(), store.to_string())]),
        ..pull::Config::default()
    }
}

async fn find_or_create_stream(
    context: &jetstream::Context,
    name: &str,
    config: &stream::Config,
    may_create: bool,
) -> Result<(stream::Config, bool), ProvisionError> {
    if let Some(found) = find_stream(context, name).await? {
        return Ok((found, false));
    }
    if !may_create {
        return Err(ProvisionError::Missing(format!("stream {name}")));
    }
    match context.create_stream(config.clone()).await {
        Ok(stream) => Ok((stream.cached_info().config.clone(), true)),
        Err(error) => match error.kind() {
            // Somebody else has created it in between, with other settings: those are checked like any.
            jetstream::context::CreateStreamErrorKind::JetStream(reason)
                if reason.error_code() == ErrorCode::STREAM_NAME_EXIST =>
            {
                let found = find_stream(context, name).await?;
                found.map(|found| (found, false)).ok_or_else(|| ProvisionError::Missing(format!("stream {name}")))
            }
            jetstream::context::CreateStreamErrorKind::JetStream(reason)
                if reason.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP =>
            {
                let other = context.stream_by_subject(config.subjects[0].clone()).await;
                Err(ProvisionError::SubjectsTaken {
                    stream: name.to_owned(),
                    other: other.unwrap_or_else(|_| "its name is not shown".into()),
                })
            }
            _ => Err(ProvisionError::broker(format!("creating stream {name}"), error)),
        },
    }
}

async fn find_stream(context: &jetstream::Context, name: &str) -> Result<Option<stream::Config>, ProvisionError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
        Err(error) => match error.kind() {
            jetstream::context::GetStreamErrorKind::JetStream(reason)
                if reason.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(ProvisionError::broker(format!("reading stream {name}"), error)),
        },
    }
}

async fn find_or_create_consumer(
    context: &jetstream::Context,
    config: &pull::Config,
    may_create: bool,
) -> Result<(PullConsumer, bool), ProvisionError> {
    let name = config.durable_name.as_deref().expect("our consumers are durable");
    if let Some(found) = find_consumer(context, name).await? {
        return Ok((found, false));
    }
    if !may_create {
        return Err(ProvisionError::Missing(format!("consumer {name}")));
    }
    match context.create_consumer_strict_on_stream(config.clone(), COMMANDS).await {
        Ok(consumer) => Ok((consumer, true)),
        Err(error) if error.kind() == stream::ConsumerCreateStrictErrorKind::AlreadyExists => {
            let found = find_consumer(context, name).await?;
            found.map(|found| (found, false)).ok_or_else(|| ProvisionError::Missing(format!("consumer {name}")))
        }
        // Of this there is no code but that of anything that may go wrong.
        Err(error)
            if matches!(error.kind(), stream::ConsumerCreateStrictErrorKind::JetStream(reason)
                if reason.error_code() == ErrorCode::CONSUMER_CREATE && reason.to_string().contains("store for consumer")) =>
        {
            Err(ProvisionError::ConsumerDamaged { consumer: name.to_owned() })
        }
        Err(error) => Err(ProvisionError::broker(format!("creating consumer {name}"), error)),
    }
}

async fn find_consumer(context: &jetstream::Context, name: &str) -> Result<Option<PullConsumer>, ProvisionError> {
    let stream = context
        .get_stream_no_info(COMMANDS)
        .await
        .map_err(|error| ProvisionError::broker(format!("reading stream {COMMANDS}"), error))?;
    let info = match stream.consumer_info(name).await {
        Ok(info) => info,
        Err(error) => match error.kind() {
            jetstream::context::ConsumerInfoErrorKind::NotFound => return Ok(None),
            _ => return Err(ProvisionError::broker(format!("reading consumer {name}"), error)),
        },
    };
    let config = consumer::FromConsumer::try_from_consumer_config(info.config.clone())
        .map_err(|error| ProvisionError::broker(format!("consumer {name} is not a pull consumer"), error))?;
    Ok(Some(consumer::Consumer::new(config, info, context.clone())))
}

/// Whether a consumer names this store.
pub(super) fn is_of(consumer: &PullConsumer, store: Uuid) -> bool {
    consumer.cached_info().config.metadata.get(STORE_METADATA) == Some(&store.to_string())
}

/// Makes sure that nobody else reads this consumer.
async fn claim(
    context: &jetstream::Context,
    consumer: &mut PullConsumer,
    partition: u32,
    wanted: &Wanted,
) -> Result<(), ProvisionError> {
    let name = consumer_name(partition);
    if !is_of(consumer, wanted.store) {
        let found = consumer.cached_info().config.metadata.get(STORE_METADATA).cloned();
        if !wanted.take_over {
            let found = found.unwrap_or_else(|| "that nobody has named".into());
            return Err(ProvisionError::ForeignStore { consumer: name, found, wanted: wanted.store });
        }
        tracing::warn!(consumer = %name, was = ?found, is = %wanted.store, "taking a consumer over from another store");
        *consumer = context
            .update_consumer_on_stream(consumer_config(partition, wanted.store), COMMANDS)
            .await
            .map_err(|error| ProvisionError::broker(format!("taking over consumer {name}"), error))?;
    }
    if wanted.take_over { Ok(()) } else { wait_until_idle(consumer, &name).await }
}

async fn wait_until_idle(consumer: &PullConsumer, name: &str) -> Result<(), ProvisionError> {
    let mut waited = Duration::ZERO;
    loop {
        let info = consumer
            .get_info()
            .await
            .map_err(|error| ProvisionError::broker(format!("reading consumer {name}"), error))?;
        if info.num_waiting == 0 {
            return Ok(());
        }
        if waited >= BUSY_GRACE {
            return Err(ProvisionError::Busy { consumer: name.into() });
        }
        tokio::time::sleep(BUSY_PAUSE).await;
        waited += BUSY_PAUSE;
    }
}
