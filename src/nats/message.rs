//! What does the broker say about a command that it delivers?

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;

use crate::model::{Timestamp, header};

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
    pub(super) fn read(message: async_nats::Message) -> Option<Message> {
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
        ours.extend(values.iter().filter_map(|value| header::read(name.as_ref(), value.as_str())));
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

/// The number in the stream of what an acknowledgement subject is about.
pub fn acknowledges(ack: &str) -> Option<u64> {
    Delivery::parse(ack).map(|delivery| delivery.stream_sequence)
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
        headers.append("X-Other", "not ours");
        let ours = our_headers(&headers);
        assert_eq!(ours, [("Hapax-Void", "one".to_string()), ("Hapax-Void", "two".to_string())]);
    }
}
