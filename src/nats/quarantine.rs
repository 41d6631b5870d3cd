//! Where does a command go that cannot be decided or even read? Into a stream that only administrators read, with the
//! reason and all that is needed to publish it again as it was.

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderValue, jetstream};
use bytes::Bytes;

use crate::model::header;

/// Characters of a reason. It is for people; the rest is in the log.
const REASON_CHARS_MAX: usize = 512;

/// What is put away.
#[derive(Debug, Clone)]
pub struct Quarantined {
    /// The subject that it was stored under.
    pub subject: String,
    /// Our headers as they came.
    pub headers: Vec<(&'static str, String)>,
    /// The body as it came.
    pub body: Bytes,
    /// Why it could not be decided.
    pub reason: String,
}

/// It may not have been put away. Do not acknowledge it: it will be delivered again.
#[derive(Debug, thiserror::Error)]
#[error("the broker did not take a message into quarantine")]
pub struct QuarantineError(#[source] async_nats::Error);

/// Puts a message away, and returns when the broker has it. A crash before its acknowledgement puts it away twice, which
/// harms nobody.
///
/// # Errors
/// [`QuarantineError`].
pub async fn publish(
    context: &jetstream::Context,
    partition: u32,
    quarantined: Quarantined,
) -> Result<(), QuarantineError> {
    let headers = headers(&quarantined);
    let acknowledged = context
        .publish_with_headers(format!("quarantine.{partition}"), headers, quarantined.body)
        .await
        .map_err(|error| QuarantineError(error.into()))?;
    acknowledged.await.map(|_| ()).map_err(|error| QuarantineError(error.into()))
}

fn headers(quarantined: &Quarantined) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text) in &quarantined.headers {
        // The id is not this stream's to dedupe by: one bad message could keep another with the same id out.
        let name = if *name == header::ID { "Hapax-Quarantine-Msg-Id" } else { name };
        headers.append(name, value(text));
    }
    headers.insert("Hapax-Quarantine-Subject", value(&quarantined.subject));
    let reason: String = quarantined.reason.chars().take(REASON_CHARS_MAX).collect();
    headers.insert("Hapax-Quarantine-Reason", value(&reason));
    headers
}

/// The library panics on a line break in a value, so what came from outside has its control characters replaced.
fn value(text: &str) -> HeaderValue {
    let printable = text.replace(char::is_control, "?");
    HeaderValue::from_str(&printable).expect("it has no line breaks any more")
}
