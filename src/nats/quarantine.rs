//! Where does a command go that cannot be decided or even read? Into a stream that only administrators read, with the
//! reason and all that is needed to publish it again as it was.
//!
//! What may have made it poison, its headers, is kept as bytes in front of its body, which nobody reads on the way: there
//! it is no poison any more, and headers of any size fit.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, HeaderValue, jetstream};
use bytes::Bytes;
use serde::Deserialize;

use super::provision::{COMMANDS, QUARANTINE};
use super::stored::{self, Stored, Unreadable};
use crate::model::Timestamp;

/// Characters of a reason. It is for people; the rest is in the log.
const REASON_CHARS_MAX: usize = 512;

/// Why it is here, for people.
const REASON: &str = "Hapax-Quarantine-Reason";
/// Where it was published: `cmd.<principal>.…`.
const SUBJECT: &str = "Hapax-Quarantine-Subject";
/// How many bytes of what is kept are its headers; its body is behind them.
const HEADER_BYTES: &str = "Hapax-Quarantine-Header-Bytes";
/// Its number in the stream of commands.
const SEQUENCE: &str = "Hapax-Quarantine-Sequence";

/// How long a retry waits before it publishes again what the stream took for a copy: more than its duplicate window.
const DUPLICATE_PAUSE: Duration = Duration::from_millis(250);
/// How often it does so.
const DUPLICATE_ATTEMPTS: usize = 8;

/// Why something could not be done about the quarantine.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The broker did not do it, or did not say so. If a message was to be put away, do not acknowledge it: it will be
    /// delivered again.
    #[error("the broker failed: {what}")]
    Broker {
        /// What was asked.
        what: &'static str,
        /// Why not.
        #[source]
        source: async_nats::Error,
    },
    /// The stream of the quarantine does not exist. A processor that runs makes it.
    #[error("there is no stream {QUARANTINE} on this server")]
    Missing,
    /// There is no such message in quarantine. Look at the list.
    #[error("there is no message {0} in quarantine")]
    Unknown(u64),
    /// It is in quarantine because no client can publish it. Its sender has to mend it and send it again.
    #[error("message {sequence} cannot be published again as it was")]
    Unreadable {
        /// The message.
        sequence: u64,
        /// Why not.
        #[source]
        source: Unreadable,
    },
    /// Other copies with its id came in all the time. Try again later.
    #[error("the stream took message {0} for a copy of another one with its id")]
    Absorbed(u64),
}

fn broker(what: &'static str) -> impl FnOnce(async_nats::Error) -> QuarantineError {
    move |source| QuarantineError::Broker { what, source }
}

/// Puts the command with this number away, and returns when the quarantine has it: acknowledge it then, not before. A
/// crash between the two puts it away twice, which harms nobody. One that is not there any more is settled.
///
/// # Errors
/// [`QuarantineError::Broker`].
pub async fn put_away(
    context: &jetstream::Context,
    partition: u32,
    sequence: u64,
    reason: &str,
) -> Result<(), QuarantineError> {
    let command = stored::get(context, COMMANDS, sequence).await.map_err(broker("reading a command"))?;
    let Some(command) = command else { return Ok(()) };
    let kept = [&command.headers[..], &command.body].concat();
    let headers = about(&command, reason);
    let published = context.publish_with_headers(format!("quarantine.{partition}"), headers, kept.into()).await;
    let acknowledged = match published {
        Ok(acknowledged) => acknowledged.await,
        Err(error) => Err(error),
    };
    acknowledged.map(|_| ()).map_err(|error| broker("putting a command away")(error.into()))
}

fn about(command: &Stored, reason: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SUBJECT, value(&published_at(&command.subject)));
    headers.insert(SEQUENCE, value(&command.sequence.to_string()));
    headers.insert(REASON, value(&reason.chars().take(REASON_CHARS_MAX).collect::<String>()));
    headers.insert(HEADER_BYTES, value(&command.headers.len().to_string()));
    headers
}

/// The stream stores `cmd.<rest>` as `work.<partition>.<rest>`.
fn published_at(subject: &str) -> String {
    let rest = subject.strip_prefix("work.").and_then(|rest| rest.split_once('.'));
    rest.map_or_else(|| subject.to_owned(), |(_partition, rest)| format!("cmd.{rest}"))
}

/// The library panics on a line break in a value, so what came from outside has its control characters replaced.
fn value(text: &str) -> HeaderValue {
    let printable = text.replace(char::is_control, &char::REPLACEMENT_CHARACTER.to_string());
    printable.parse().expect("it has no line breaks any more")
}

/// A command in quarantine.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// Its number in quarantine.
    pub sequence: u64,
    /// When it was put away, by the broker's clock.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Its number in the stream of commands.
    pub command_sequence: Option<u64>,
    /// Where it was published; what no client can publish to has U+FFFD in it.
    pub subject: String,
    /// Its block of headers as it came; empty: it had none.
    pub headers: Bytes,
    /// Its body as it came.
    pub body: Bytes,
}

impl Quarantined {
    /// Whoever wrote this was the processor or an administrator, so what cannot be read is shown as far as it can.
    fn read(kept: Stored) -> Quarantined {
        let headers = kept.readable().unwrap_or_default();
        let text = |name| headers.get(name).map(ToString::to_string).unwrap_or_default();
        let header_bytes = text(HEADER_BYTES).parse().unwrap_or(0).min(kept.body.len());
        Quarantined {
            sequence: kept.sequence,
            at: kept.stored_at,
            reason: text(REASON),
            command_sequence: text(SEQUENCE).parse().ok(),
            subject: text(SUBJECT),
            headers: kept.body.slice(..header_bytes),
            body: kept.body.slice(header_bytes..),
        }
    }

    /// Who sent it, as far as that can be told.
    pub fn principal(&self) -> &str {
        self.subject.split('.').nth(1).unwrap_or_default()
    }

    /// What a client publishes to send this once more.
    fn as_it_was(&self) -> Result<(String, HeaderMap), Unreadable> {
        let (subject, headers) = (self.subject.clone(), self.headers.clone());
        let command = Stored { subject, sequence: 0, stored_at: self.at, headers, body: Bytes::new() };
        command.readable().map(|headers| (command.subject, headers))
    }
}

/// The first command in quarantine with this number or a later one.
///
/// # Errors
/// [`QuarantineError`].
pub async fn next(context: &jetstream::Context, from: u64) -> Result<Option<Quarantined>, QuarantineError> {
    let kept = stored::next(context, QUARANTINE, "quarantine.*", from).await;
    Ok(kept.map_err(reading)?.map(Quarantined::read))
}

fn reading(error: async_nats::Error) -> QuarantineError {
    match error.downcast_ref::<jetstream::Error>() {
        Some(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => QuarantineError::Missing,
        _ => broker("reading the quarantine")(error),
    }
}

/// The command with this number in quarantine.
///
/// # Errors
/// [`QuarantineError`].
pub async fn get(context: &jetstream::Context, sequence: u64) -> Result<Quarantined, QuarantineError> {
    let kept = stored::get(context, QUARANTINE, sequence).await.map_err(reading)?;
    kept.map(Quarantined::read).ok_or(QuarantineError::Unknown(sequence))
}

/// Publishes a command again as it was, and removes it from the quarantine when the stream has it. A crash between the
/// two leaves it in the list: once more is a retry like any, and is decided once.
///
/// # Errors
/// [`QuarantineError`]; it is then still in the list.
pub async fn retry(context: &jetstream::Context, command: &Quarantined) -> Result<(), QuarantineError> {
    let sequence = command.sequence;
    let (subject, headers) = command.as_it_was().map_err(|source| QuarantineError::Unreadable { sequence, source })?;
    for attempt in 0..DUPLICATE_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(DUPLICATE_PAUSE).await;
        }
        let published = context.publish_with_headers(subject.clone(), headers.clone(), command.body.clone()).await;
        let acknowledged = match published {
            Ok(acknowledged) => acknowledged.await,
            Err(error) => Err(error),
        };
        let acknowledged = acknowledged.map_err(|error| broker("publishing it again")(error.into()))?;
        if !acknowledged.duplicate {
            return remove(context, sequence).await;
        }
    }
    Err(QuarantineError::Absorbed(sequence))
}

/// Removes a command from the quarantine for good.
///
/// # Errors
/// [`QuarantineError`].
pub async fn remove(context: &jetstream::Context, sequence: u64) -> Result<(), QuarantineError> {
    // The server answers what is not there in several ways.
    get(context, sequence).await?;
    let what = "removing a message from quarantine";
    let request = serde_json::json!({ "seq": sequence });
    let answer = context.request(format!("STREAM.MSG.DELETE.{QUARANTINE}"), &request).await;
    match answer.map_err(|error| broker(what)(error.into()))? {
        Response::Ok(Removed { success: true }) => Ok(()),
        Response::Ok(Removed { success: false }) => Err(broker(what)("it did not".into())),
        Response::Err { error } => Err(broker(what)(error.into())),
    }
}

/// The server's answer to a deletion.
#[derive(Deserialize)]
struct Removed {
    success: bool,
}
