//! What does this delivery ask for? Limits before grammar, grammar before JSON.
//!
//! Only what makes principal, key or id unreadable is refused here. Everything else that is wrong with a delivery is
//! kept as its fault and said only if the id turns out to be new: a retry gets its first outcome even then.

use bytes::Bytes;

use super::batch::BatchIntent;
use crate::model::batch::Batch;
use crate::model::limits::{COMMAND_BYTES_MAX, HEADER_BYTES_MAX, REPLY_SUBJECT_BYTES_MAX, TRACEPARENT_BYTES_MAX};
use crate::model::subject::{CommandName, CommandSubject, is_inbox_of};
use crate::model::{Command, CommandId, Identity, Principal, Refusal, Timestamp, Version, header, json};

/// One message, as the broker delivered it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The subject it is stored under: `work.<partition>.<principal>.<aggregate>.<key>.<command>`.
    pub subject: String,
    /// The headers that are ours, in their order, a repeated one repeated.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// When the stream stored it.
    pub stored_at: Timestamp,
    /// What acknowledges it.
    pub ticket: Ticket,
}

/// What acknowledges a delivery. Opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket(pub String);

/// What a readable delivery asks for.
#[derive(Debug)]
pub(super) struct Intent {
    /// The command, or the void of one. Where [`Intent::fault`] is set, what could not be read of it is left out.
    pub(super) command: Command,
    /// What is wrong with it besides.
    pub(super) fault: Option<Fault>,
    /// Where the outcome goes; `None`: nobody waits, it can be asked for.
    pub(super) reply_to: Option<String>,
    /// As it came, for quarantine and ack.
    pub(super) delivery: Delivery,
}

/// What is wrong with a delivery whose identity is readable.
#[derive(Debug)]
pub(super) struct Fault {
    /// What its sender is told if the id is new.
    pub(super) refusal: Refusal,
    /// Whether the content itself is unreadable. It then differs from every recorded content.
    pub(super) in_content: bool,
}

/// What became of a delivery at the door.
#[derive(Debug)]
pub(super) enum Intake {
    /// It goes on to the dedupe log.
    Ask(Box<Intent>),
    /// So does a batch.
    AskAll(Box<BatchIntent>),
    /// Principal, key or id cannot be read.
    Refused { refusal: Refusal, reply_to: Option<String>, delivery: Delivery },
    /// Its reply address is not its principal's, so nobody may be told.
    Silent { reply_to: String, delivery: Delivery },
}

/// Reads a delivery.
pub(super) fn intake(delivery: Delivery) -> Intake {
    let subject = match CommandSubject::parse_stored(&delivery.subject) {
        Ok(subject) => subject,
        Err(error) => {
            let reply_to = principals_inbox(&delivery);
            return Intake::Refused { refusal: Refusal::malformed("subject", error), reply_to, delivery };
        }
    };
    let reply_to = match value_of(&delivery, header::REPLY_TO) {
        Ok(Some(inbox)) if is_inbox_of(&subject.principal, inbox) => Some(inbox.to_owned()),
        Ok(Some(other)) => {
            let reply_to = other.chars().take(REPLY_SUBJECT_BYTES_MAX).collect(); // It is for the log.
            return Intake::Silent { reply_to, delivery };
        }
        Ok(None) => None,
        Err(refusal) => return Intake::Refused { refusal, reply_to: None, delivery },
    };
    if subject.aggregate.kind.is_batch() && !subject.name.is_void() {
        return batch(delivery, subject, reply_to);
    }
    match identified(&delivery, subject) {
        Ok((command, fault)) => Intake::Ask(Box::new(Intent { command, fault, reply_to, delivery })),
        Err(refusal) => Intake::Refused { refusal, reply_to, delivery },
    }
}

/// Reads a batch. One that cannot be read at all goes on as a command of which nothing is known but its id: it is refused,
/// unless the id is.
fn batch(delivery: Delivery, subject: CommandSubject, reply_to: Option<String>) -> Intake {
    let CommandSubject { principal, aggregate, name } = subject;
    let id = match checked_headers(&delivery).and_then(|()| required_id(&delivery, header::ID)) {
        Ok(id) => id,
        Err(refusal) => return Intake::Refused { refusal, reply_to, delivery },
    };
    let identity = Identity { principal, key: aggregate.key.clone(), id };
    let data = Bytes::from_static(b"{}");
    let mut command = Command { identity, aggregate, name, data, expected: None, not_after: None, traceparent: None };
    let read = if command.is_batch() {
        Batch::from_json(&delivery.body)
    } else {
        Err(Refusal::unknown_command(&command.aggregate, command.name.as_str(), &[CommandName::RUN]))
    };
    let batch = match read {
        Ok(batch) => batch,
        Err(refusal) => {
            let fault = Some(Fault { refusal, in_content: true });
            return Intake::Ask(Box::new(Intent { command, fault, reply_to, delivery }));
        }
    };
    let fault = read_batch_headers(&delivery, &mut command).err();
    let Command { identity, aggregate, not_after, traceparent, .. } = command;
    Intake::AskAll(Box::new(BatchIntent {
        identity,
        aggregate,
        batch,
        not_after,
        traceparent,
        fault,
        reply_to,
        delivery,
    }))
}

fn read_batch_headers(delivery: &Delivery, command: &mut Command) -> Result<(), Refusal> {
    for header in [header::EXPECTED_VERSION, header::VOID] {
        if value_of(delivery, header)?.is_some() {
            return Err(Refusal::malformed(header, "not for a batch; its items have an expected_version each"));
        }
    }
    command.not_after = read_not_after(delivery)?;
    command.traceparent = read_traceparent(delivery)?;
    no_unknown_header(delivery)
}

/// Who may be told that a subject cannot be read: its principal, if that much of it can be.
fn principals_inbox(delivery: &Delivery) -> Option<String> {
    let principal = Principal::parse(delivery.subject.split('.').nth(2)?).ok()?;
    let inbox = value_of(delivery, header::REPLY_TO).ok()??;
    is_inbox_of(&principal, inbox).then(|| inbox.to_owned())
}

/// The command under its identity, and what else is wrong with it.
fn identified(delivery: &Delivery, subject: CommandSubject) -> Result<(Command, Option<Fault>), Refusal> {
    checked_headers(delivery)?;
    let CommandSubject { principal, aggregate, name } = subject;
    let id = match void_of(delivery, &name)? {
        Some(voided) => voided,
        None => required_id(delivery, header::ID)?,
    };
    let identity = Identity { principal, key: aggregate.key.clone(), id };
    let data = Bytes::from_static(b"{}");
    let mut command = Command { identity, aggregate, name, data, expected: None, not_after: None, traceparent: None };
    let fault = read_rest(delivery, &mut command).err();
    Ok((command, fault))
}

fn checked_headers(delivery: &Delivery) -> Result<(), Refusal> {
    let bytes: usize = delivery.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > HEADER_BYTES_MAX { Err(Refusal::too_large("headers", bytes, HEADER_BYTES_MAX)) } else { Ok(()) }
}

/// The id that a `_void` settles; `None` for every other command.
fn void_of(delivery: &Delivery, name: &CommandName) -> Result<Option<CommandId>, Refusal> {
    if !name.is_void() {
        return Ok(None);
    }
    let own = required_id(delivery, header::ID)?;
    let voided = required_id(delivery, header::VOID)?;
    if own == voided {
        // The stream's duplicate window would swallow the void as a copy of what it voids.
        return Err(Refusal::malformed(header::ID, "a void needs an id of its own, not the one that it voids"));
    }
    Ok(Some(voided))
}

/// Content first, then what is about this one sending.
fn read_rest(delivery: &Delivery, command: &mut Command) -> Result<(), Fault> {
    let content = |refusal| Fault { refusal, in_content: true };
    let sending = |refusal| Fault { refusal, in_content: false };
    if !command.name.is_void() {
        command.data = read_body(&delivery.body).map_err(content)?;
        command.expected = read_expected(delivery).map_err(content)?;
        if value_of(delivery, header::VOID).map_err(sending)?.is_some() {
            let message = format!("only for the command {:?}; leave it out", CommandName::VOID);
            return Err(sending(Refusal::malformed(header::VOID, message)));
        }
        command.not_after = read_not_after(delivery).map_err(sending)?;
    }
    command.traceparent = read_traceparent(delivery).map_err(sending)?;
    no_unknown_header(delivery).map_err(sending)
}

fn no_unknown_header(delivery: &Delivery) -> Result<(), Refusal> {
    match delivery.headers.iter().find(|(of, _)| *of == header::UNKNOWN) {
        Some((_, name)) => {
            let message = "no header of this name is known (names are case-sensitive); mend the name or leave it out";
            Err(Refusal::malformed(name.clone(), message))
        }
        None => Ok(()),
    }
}

fn read_body(body: &Bytes) -> Result<Bytes, Refusal> {
    if body.len() > COMMAND_BYTES_MAX {
        return Err(Refusal::too_large("body", body.len(), COMMAND_BYTES_MAX));
    }
    json::compact_object(body).map_err(|error| {
        Refusal::malformed("body", format_args!("{error}; send one JSON object of the command's fields"))
    })
}

fn read_expected(delivery: &Delivery) -> Result<Option<Version>, Refusal> {
    let Some(text) = value_of(delivery, header::EXPECTED_VERSION)? else { return Ok(None) };
    // Digits only: `u64::from_str` would take "+1" too.
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let message = "send the number of events the aggregate must have had, 0 for none";
    number.map(|number| Some(Version(number))).ok_or_else(|| Refusal::malformed(header::EXPECTED_VERSION, message))
}

fn read_not_after(delivery: &Delivery) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = value_of(delivery, header::NOT_AFTER)? else { return Ok(None) };
    let message = "send an RFC 3339 time, like 2026-11-24T20:15:01Z";
    Timestamp::parse(text).map(Some).ok_or_else(|| Refusal::malformed(header::NOT_AFTER, message))
}

fn read_traceparent(delivery: &Delivery) -> Result<Option<String>, Refusal> {
    let Some(text) = value_of(delivery, header::TRACEPARENT)? else { return Ok(None) };
    if text.len() > TRACEPARENT_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!("send W3C Trace Context of at most {TRACEPARENT_BYTES_MAX} bytes, or leave it out");
        return Err(Refusal::malformed(header::TRACEPARENT, message));
    }
    Ok(Some(text.to_owned()))
}

fn required_id(delivery: &Delivery, name: &'static str) -> Result<CommandId, Refusal> {
    let text = value_of(delivery, name)?.ok_or_else(|| {
        Refusal::malformed(name, "missing (header names are case-sensitive); send the command's id in it")
    })?;
    CommandId::parse(text).map_err(|error| Refusal::malformed(name, error))
}

/// The one value of a header of ours.
fn value_of<'a>(delivery: &'a Delivery, name: &'static str) -> Result<Option<&'a str>, Refusal> {
    let mut values = delivery.headers.iter().filter(|(of, _)| *of == name).map(|(_, value)| value.as_str());
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::malformed(name, "comes twice; send it once")),
        (value, None) => Ok(value),
    }
}
