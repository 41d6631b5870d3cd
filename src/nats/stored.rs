//! How does a message look as its stream holds it, and can the NATS library read it? The server stores and delivers a
//! block of headers verbatim, whatever it is, and one that the library cannot read ends its connection: at once and for
//! good (a lone carriage return), or again and again with every delivery (most others).
//!
//! So a message can be read beside its delivery, by a plain request. The answer is JSON, with all that came from outside
//! in base64, and nothing in it can break the connection that asks.

use std::str::FromStr;

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// A message in a stream.
#[derive(Debug, Clone, Deserialize)]
pub struct Stored {
    /// The subject that it is stored under. What is not UTF-8 in it comes as U+FFFD.
    pub subject: String,
    /// Its number in the stream.
    #[serde(rename = "seq")]
    pub sequence: u64,
    /// When it was stored, by the broker's clock.
    #[serde(rename = "time")]
    pub stored_at: Timestamp,
    /// Its headers as they came, version line and all; empty: it has none.
    #[serde(rename = "hdrs", default, deserialize_with = "base64")]
    pub headers: Bytes,
    /// Its body.
    #[serde(rename = "data", default, deserialize_with = "base64")]
    pub body: Bytes,
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
}

/// Which message.
#[derive(Debug, Serialize)]
struct Wanted<'a> {
    seq: u64,
    #[serde(rename = "next_by_subj", skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
}

/// The message with this number; `None`: there is none (any more).
///
/// # Errors
/// The broker's, or that it did not answer.
pub async fn get(
    context: &jetstream::Context,
    stream: &str,
    sequence: u64,
) -> Result<Option<Stored>, async_nats::Error> {
    ask(context, stream, &Wanted { seq: sequence, subject: None }).await
}

/// The first message with this number or a later one whose subject matches; `None`: there is none.
///
/// # Errors
/// As [`get`].
pub async fn next(
    context: &jetstream::Context,
    stream: &str,
    subject: &str,
    from: u64,
) -> Result<Option<Stored>, async_nats::Error> {
    ask(context, stream, &Wanted { seq: from, subject: Some(subject) }).await
}

async fn ask(
    context: &jetstream::Context,
    stream: &str,
    wanted: &Wanted<'_>,
) -> Result<Option<Stored>, async_nats::Error> {
    #[derive(Deserialize)]
    struct Answer {
        message: Stored,
    }
    match context.request(format!("STREAM.MSG.GET.{stream}"), wanted).await? {
        Response::Ok(Answer { message }) => Ok(Some(message)),
        Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
        Response::Err { error } => Err(error.into()),
    }
}

/// Why the library cannot read a message. `Display` says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The subject breaks the line that the message is delivered with.
    #[error("its subject has white space or a control character in it, or is not UTF-8")]
    Subject,
    /// Not text.
    #[error("its headers are not UTF-8")]
    Text,
    /// Something else in front of the headers.
    #[error("its headers do not begin with the line NATS/1.0")]
    VersionLine,
    /// A line that is no header.
    #[error("a line of its headers has no colon")]
    NoColon,
    /// A name with a space, a control character, or something that is not ASCII.
    #[error("the header name {0:?} has a character that no name may have")]
    Name(String),
    /// A line break in a value that does not end its line.
    #[error("the value of the header {0:?} has a lone carriage return in it")]
    Value(String),
}

impl Stored {
    /// The headers as the library reads them. Line by line as its parser (async-nats 0.51, `connection.rs`) does, by its
    /// own rules for names and values, with an error wherever it disconnects or panics.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn readable(&self) -> Result<HeaderMap, Unreadable> {
        let breaks_the_line = |letter: char| letter.is_whitespace() || letter == char::REPLACEMENT_CHARACTER;
        if self.subject.contains(breaks_the_line) {
            return Err(Unreadable::Subject);
        }
        read_headers(&self.headers)
    }
}

fn read_headers(block: &[u8]) -> Result<HeaderMap, Unreadable> {
    let mut headers = HeaderMap::new();
    if block.is_empty() {
        return Ok(headers);
    }
    let mut lines = std::str::from_utf8(block).map_err(|_| Unreadable::Text)?.lines().peekable();
    // The server has taken a status, which the library would take for its own, out of this line.
    if lines.next().is_none_or(|line| line.trim_end() != "NATS/1.0") {
        return Err(Unreadable::VersionLine);
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(Unreadable::NoColon)?;
        let name = HeaderName::from_str(name).map_err(|_| Unreadable::Name(name.to_owned()))?;
        let mut value = value.trim_start().to_owned();
        while let Some(continued) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(continued);
        }
        value.truncate(value.trim_end().len());
        let value = HeaderValue::from_str(&value).map_err(|_| Unreadable::Value(name.to_string()))?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(subject: &str, headers: &[u8]) -> Stored {
        let headers = Bytes::copy_from_slice(headers);
        let stored_at = Timestamp::EPOCH;
        Stored { subject: subject.into(), sequence: 1, stored_at, headers, body: Bytes::new() }
    }

    #[test]
    fn what_the_library_reads_is_read_the_same() {
        let block = b"NATS/1.0\r\nA: one\r\nA:two \r\nB: folded\r\n  twice\r\n:\r\n\r\n";
        let headers = stored("work.0.a.b.c.d", block).readable().unwrap();
        let values = |name: &str| headers.get_all(name).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            (values("A"), values("B"), values("")),
            (vec!["one".to_owned(), "two".to_owned()], vec!["folded  twice".to_owned()], vec![String::new()],)
        );
        assert!(stored("work.0.a.b.c.d", b"").readable().unwrap().is_empty());
    }

    #[test]
    fn what_ends_the_connection_is_named() {
        let unreadable = |block: &[u8]| stored("work.0.a.b.c.d", block).readable().unwrap_err();
        assert_eq!(unreadable(b"NATS/1.0\r\nA: b\rc\r\n\r\n"), Unreadable::Value("A".into()));
        assert_eq!(unreadable(b"NATS/1.0\r\nA: b\xffc\r\n\r\n"), Unreadable::Text);
        assert_eq!(unreadable(b"NATS/1.0\r\nA\r\n\r\n"), Unreadable::NoColon);
        assert_eq!(unreadable(b"NATS/1.0\r\nA: b\nc\r\n\r\n"), Unreadable::NoColon);
        assert_eq!(unreadable(b"NATS/1.0\r\nA B: c\r\n\r\n"), Unreadable::Name("A B".into()));
        assert_eq!(unreadable(b"NATS/2.0\r\nA: b\r\n\r\n"), Unreadable::VersionLine);
        assert_eq!(unreadable(b"\r\n"), Unreadable::VersionLine);
        for subject in ["work.0.a.b.\u{fffd}.d", "work.0.a.b.4\u{a0}2.d"] {
            assert_eq!(stored(subject, b"").readable().unwrap_err(), Unreadable::Subject);
        }
    }
}
