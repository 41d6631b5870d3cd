//! What comes back: an outcome (decided, recorded, final) or a refusal (not decided, nothing recorded), and their one
//! JSON form.

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::batch_reply::BatchReply;
use super::command::{AggregateId, CommandId};
use super::commit::{Position, RecordedEvent, Version};
use super::json;
use super::limits::RETRY_AFTER_MS;
use super::subject::{AggregateType, Key};
use super::time::Timestamp;

const BATCH_ABORTED: &str = "batch_aborted";

/// What was decided for a command. Recorded once; every copy of the command gets these bytes.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command's id.
    pub id: CommandId,
    /// The aggregate that decided.
    pub aggregate: AggregateId,
    /// How many events the aggregate has had, after this command.
    pub version: Version,
    /// The commit that records it.
    pub position: Position,
    /// The time that the decision was given as its input. It never changes, so it also tells a replay.
    pub decided_at: Timestamp,
    /// Accepted or rejected.
    pub decision: Decision,
}

impl Outcome {
    /// Whether it was accepted.
    pub fn is_accepted(&self) -> bool {
        matches!(self.decision, Decision::Accepted(_))
    }

    /// How many events were decided; none for a rejection (I8).
    pub fn event_count(&self) -> u64 {
        match &self.decision {
            Decision::Accepted(events) => events.len() as u64,
            Decision::Rejected(_) => 0,
        }
    }
}

/// Yes with events, or no with a reason. Both are final.
#[derive(Debug, Clone)]
pub enum Decision {
    /// These events happened. None: it was already so.
    Accepted(Vec<RecordedEvent>),
    /// The aggregate's own rule, or the expected version, said no.
    Rejected(Rejection),
}

/// Why a command was rejected.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// 409 the aggregate's own rule, 412 `version_mismatch`, 410 `expired` and `voided`, 424 `batch_aborted`.
    pub code: u16,
    /// The serde name of the rejection's variant, or one of the protocol's own.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The variant's fields, as JSON.
    pub details: Option<Box<RawValue>>,
    /// How to go on.
    pub retry: Option<Retry>,
}

impl Rejection {
    /// Reasons that the protocol gives itself. An aggregate's own reasons must have other names.
    pub const RESERVED: [&'static str; 5] =
        ["version_mismatch", "expired", "voided", "outcome_too_large", BATCH_ABORTED];

    /// An aggregate's own rule.
    pub fn by_rule(reason: String, message: String, details: Option<Box<RawValue>>) -> Rejection {
        Rejection { code: 409, reason, message, details, retry: Some(Retry::NEW_ID) }
    }

    /// The sender expected another version.
    pub fn version_mismatch(expected: Version, actual: Version) -> Rejection {
        Rejection {
            code: 412,
            reason: "version_mismatch".into(),
            message: format!(
                "expected version {expected}, it is {actual}; read again and take a new id (the old one with another \
                 version is refused)"
            ),
            details: raw(format!(r#"{{"expected":{expected},"actual":{actual}}}"#)),
            retry: Some(Retry::NEW_ID),
        }
    }

    /// It was decided after the time that its sender set.
    pub fn expired(not_after: Timestamp, decided_at: Timestamp) -> Rejection {
        Rejection {
            code: 410,
            reason: "expired".into(),
            message: format!("to be decided not after {not_after}, it was {decided_at}"),
            details: raw(format!(r#"{{"not_after":"{not_after}"}}"#)),
            retry: Some(Retry::NEW_ID),
        }
    }

    /// Its sender gave the id up before it was decided.
    pub fn voided() -> Rejection {
        Rejection {
            code: 410,
            reason: "voided".into(),
            message: "its sender gave this id up before it was decided".into(),
            details: None,
            retry: Some(Retry::NEW_ID),
        }
    }

    /// Another item of its batch was rejected.
    pub fn batch_aborted() -> Rejection {
        Rejection {
            code: 424,
            reason: BATCH_ABORTED.into(),
            message: "its own part was fine, another item of its atomic batch was rejected".into(),
            details: None,
            retry: Some(Retry::NEW_ID),
        }
    }

    /// Whether it has no reason of its own: another item of its batch has one.
    pub fn is_batch_aborted(&self) -> bool {
        self.reason == BATCH_ABORTED
    }

    /// The decision would not fit a message.
    pub fn outcome_too_large(bytes: usize, bytes_max: usize) -> Rejection {
        Rejection {
            code: 409,
            reason: "outcome_too_large".into(),
            message: format!(
                "the decision has {bytes} bytes as JSON, at most {bytes_max} are recorded; ask for less at once"
            ),
            details: raw(format!(r#"{{"bytes":{bytes},"bytes_max":{bytes_max}}}"#)),
            retry: Some(Retry::NEW_ID),
        }
    }
}

fn raw(json: String) -> Option<Box<RawValue>> {
    Some(RawValue::from_string(json).expect("numbers and times make valid JSON"))
}

/// The processor would not decide. Nothing is recorded; another copy may be decided later.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// As HTTP has them: 400, 403, 404, 413, 421, 422, 429, 500, 503.
    pub code: u16,
    /// `malformed`, `unknown_command`, `id_reused`, …
    pub reason: Cow<'static, str>,
    /// For people: what is wrong and what mends it.
    pub message: String,
    /// The header, subject token or member that is meant, if it is one.
    pub field: Option<Cow<'static, str>>,
    /// How to go on; `None`: do not send it again.
    pub retry: Option<Retry>,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, retry: Option<Retry>) -> Refusal {
        Refusal { code, reason: reason.into(), message: message.into(), field: None, retry }
    }

    /// Which field cannot be read, and what would be right.
    pub fn malformed(field: impl Into<Cow<'static, str>>, message: impl fmt::Display) -> Refusal {
        let field = field.into();
        let message = format!("{field}: {message}");
        Refusal { field: Some(field), ..Refusal::new(400, "malformed", message, Some(Retry::SAME_ID)) }
    }

    /// No aggregate of this type is served here.
    pub fn unknown_aggregate(aggregate: &AggregateId, served: &str) -> Refusal {
        Refusal::new(
            404,
            "unknown_aggregate",
            format!("no aggregate {:?} here; served: {served}", aggregate.kind.as_str()),
            None,
        )
    }

    /// The aggregate has no such command.
    pub fn unknown_command(aggregate: &AggregateId, name: &str, known: &[&str]) -> Refusal {
        let message = format!("{} has no command {name:?}; it has: {}", aggregate.kind, known.join(", "));
        Refusal::new(404, "unknown_command", message, None)
    }

    /// Larger than the contract allows.
    pub fn too_large(what: &'static str, bytes: usize, bytes_max: usize) -> Refusal {
        let message = format!("{what}: {bytes} bytes, at most {bytes_max} are allowed");
        Refusal { field: Some(what.into()), ..Refusal::new(413, "too_large", message, None) }
    }

    /// The same, of an item of a batch.
    #[must_use]
    pub fn of_item(mut self, index: usize) -> Refusal {
        let member = self.field.map_or_else(String::new, |field| format!(".{field}"));
        self.message = format!("commands[{index}]: {}", self.message);
        self.field = Some(format!("commands[{index}]{member}").into());
        self
    }

    /// An item of a batch lives in another partition than the batch came to.
    pub fn other_partition(key: &Key) -> Refusal {
        let message = format!(
            "the key {key} lives in another partition than the key of the batch's subject; send it in a batch of its own"
        );
        Refusal::new(421, "other_partition", message, None)
    }

    /// The id is known with another content; the first outcome stands.
    pub fn id_reused(difference: impl fmt::Display) -> Refusal {
        let message = format!("this id was used for another command ({difference}); its outcome stands, take a new id");
        Refusal::new(422, "id_reused", message, Some(Retry::NEW_ID))
    }

    /// The aggregate's code panicked.
    pub fn decide_panicked(panic: &str) -> Refusal {
        let message = format!("the aggregate's code panicked: {panic}; the command is in quarantine");
        Refusal::new(500, "decide_panicked", message, Some(Retry::SAME_ID))
    }

    /// The processor cannot decide now.
    pub fn unavailable(why: impl fmt::Display) -> Refusal {
        Refusal::new(503, "unavailable", why.to_string(), Some(Retry::same_id_after(RETRY_AFTER_MS)))
    }
}

/// How to go on after a "no". Absent: do not send it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// With which id.
    pub with: RetryWith,
    /// Not earlier than that, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// With which id a command may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryWith {
    /// The same: nothing was recorded for it.
    SameId,
    /// A new one: the old one is settled.
    NewId,
}

impl Retry {
    /// With a new id, after something changed.
    pub const NEW_ID: Retry = Retry { with: RetryWith::NewId, after_ms: None };
    /// With the same id, once mended.
    pub const SAME_ID: Retry = Retry { with: RetryWith::SameId, after_ms: None };

    fn same_id_after(after_ms: u64) -> Retry {
        Retry { with: RetryWith::SameId, after_ms: Some(after_ms) }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ErrorForm<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    details: Option<Cow<'a, RawValue>>,
}

impl<'a> ErrorForm<'a> {
    pub(super) fn of(Rejection { reason, message, details, .. }: &'a Rejection) -> ErrorForm<'a> {
        let details = details.as_deref().map(Cow::Borrowed);
        ErrorForm { reason: reason.into(), message: message.into(), details }
    }
}

/// Characters of a rejection's message that remain where outcomes are told in brief.
const BRIEF_MESSAGE_CHARS: usize = 200;

impl Outcome {
    /// As one of many in a reply that would otherwise be too large: without events and details, and with the beginning of
    /// a long message.
    pub fn to_json_in_brief(mut self) -> Vec<u8> {
        if let Decision::Rejected(rejection) = &mut self.decision {
            rejection.details = None;
            rejection.message = rejection.message.chars().take(BRIEF_MESSAGE_CHARS).collect();
        }
        let mut json = Vec::new();
        self.serialize_with(&mut serde_json::Serializer::new(&mut json), false).expect("every member of it is JSON");
        json
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize_with(serializer, true)
    }
}

impl Outcome {
    fn serialize_with<S: Serializer>(&self, serializer: S, events_too: bool) -> Result<S::Ok, S::Error> {
        let (status, code, retry) = match &self.decision {
            Decision::Accepted(_) => ("accepted", 200, None),
            Decision::Rejected(rejection) => ("rejected", rejection.code, rejection.retry),
        };
        let mut form = serializer.serialize_struct("Outcome", 10)?;
        form.serialize_field("id", &self.id)?;
        form.serialize_field("status", status)?;
        form.serialize_field("code", &code)?;
        form.serialize_field("aggregate", &self.aggregate.kind)?;
        form.serialize_field("key", &self.aggregate.key)?;
        form.serialize_field("version", &self.version)?;
        form.serialize_field("position", &self.position)?;
        form.serialize_field("decided_at", &self.decided_at)?;
        if let Some(retry) = retry {
            form.serialize_field("retry", &retry)?;
        }
        match &self.decision {
            Decision::Accepted(events) if events_too => form.serialize_field("events", events)?,
            Decision::Accepted(_) => {}
            Decision::Rejected(rejection) => form.serialize_field("error", &ErrorForm::of(rejection))?,
        }
        form.end()
    }
}

#[derive(Serialize)]
struct RefusalForm<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a CommandId>,
    status: &'static str,
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
    error: ErrorForm<'a>,
}

#[derive(Serialize, Deserialize)]
struct FieldForm<'a> {
    #[serde(borrow)]
    field: Cow<'a, str>,
}

impl Refusal {
    /// As it is sent; without the id where that could not be read.
    pub fn to_json(&self, id: Option<&CommandId>) -> Vec<u8> {
        let details = self.field.as_deref().map(|field| {
            let field = serde_json::value::to_raw_value(&FieldForm { field: field.into() });
            Cow::Owned(field.expect("a struct of one string is JSON"))
        });
        let error = ErrorForm { reason: self.reason.as_ref().into(), message: self.message.as_str().into(), details };
        let form = RefusalForm { id, status: "refused", code: self.code, retry: self.retry, error };
        serde_json::to_vec(&form).expect("strings and numbers are JSON")
    }
}

/// Anything that comes back for a command or an outcome query, read from its JSON.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Decided.
    Outcome(Outcome),
    /// Not decided, and this copy will not be.
    Refused(Refusal),
    /// An outcome query found nothing up to `as_of`. Never a proof that it will not be decided: only an outcome or a
    /// void is.
    Unknown {
        /// The last position that was looked at; `None`: the store is empty.
        as_of: Option<Position>,
        /// Ask again not earlier than that, in milliseconds.
        after_ms: u64,
    },
    /// What came of a batch, item by item.
    Batch(BatchReply),
}

/// Why bytes are not a reply: they are not ours, or of a newer contract.
#[derive(Debug, thiserror::Error)]
#[error("not a reply of hapax")]
pub struct ReplyError(#[source] pub(super) serde_json::Error);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Accepted,
    Rejected,
    Refused,
    Unknown,
}

/// The union of all replies: an enum with a tag would buffer, and a buffered `RawValue` cannot be read.
#[derive(Deserialize)]
pub(super) struct ReplyForm<'a> {
    pub(super) status: Option<Status>,
    code: Option<u16>,
    pub(super) id: Option<CommandId>,
    aggregate: Option<AggregateType>,
    key: Option<Key>,
    version: Option<Version>,
    position: Option<Position>,
    decided_at: Option<Timestamp>,
    retry: Option<Retry>,
    events: Option<Vec<RecordedEvent>>,
    #[serde(borrow)]
    error: Option<ErrorForm<'a>>,
    as_of: Option<Position>,
    after_ms: Option<u64>,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    events_omitted: bool,
}

pub(super) fn need<T>(member: Option<T>, name: &'static str) -> Result<T, ReplyError> {
    member.ok_or_else(|| ReplyError(serde::de::Error::missing_field(name)))
}

impl Reply {
    /// Reads what came back for a command, a batch or an outcome query.
    ///
    /// # Errors
    /// [`ReplyError`]: a PubAck, for example, is not a reply.
    pub fn from_json(json: &[u8]) -> Result<Reply, ReplyError> {
        let form: ReplyForm<'_> = json::from_bytes(json).map_err(ReplyError)?;
        match form.items {
            Some(items) => BatchReply::read(need(form.id, "id")?, &items, form.events_omitted).map(Reply::Batch),
            None => form.read(false),
        }
    }
}

impl ReplyForm<'_> {
    /// As a reply to one command. Its events may be missing only where they were left out.
    pub(super) fn read(mut self, events_omitted: bool) -> Result<Reply, ReplyError> {
        let decision = match need(self.status, "status")? {
            Status::Accepted if events_omitted => Decision::Accepted(self.events.unwrap_or_default()),
            Status::Accepted => Decision::Accepted(need(self.events, "events")?),
            Status::Rejected => Decision::Rejected(self.rejection()?),
            Status::Refused => {
                let error = need(self.error, "error")?;
                let field = error.details.as_deref().and_then(|json| serde_json::from_str(json.get()).ok());
                return Ok(Reply::Refused(Refusal {
                    code: need(self.code, "code")?,
                    reason: error.reason.into_owned().into(),
                    message: error.message.into_owned(),
                    field: field.map(|FieldForm { field }| field.into_owned().into()),
                    retry: self.retry,
                }));
            }
            Status::Unknown => {
                return Ok(Reply::Unknown { as_of: self.as_of, after_ms: need(self.after_ms, "after_ms")? });
            }
        };
        Ok(Reply::Outcome(Outcome {
            id: need(self.id, "id")?,
            aggregate: AggregateId { kind: need(self.aggregate, "aggregate")?, key: need(self.key, "key")? },
            version: need(self.version, "version")?,
            position: need(self.position, "position")?,
            decided_at: need(self.decided_at, "decided_at")?,
            decision,
        }))
    }

    /// As what a check found: which aggregate, its version, and what is wrong with that.
    pub(super) fn check(mut self) -> Result<(AggregateId, Version, Option<Rejection>), ReplyError> {
        let aggregate =
            AggregateId { kind: need(self.aggregate.take(), "aggregate")?, key: need(self.key.take(), "key")? };
        let version = need(self.version, "version")?;
        let stale = if self.status == Some(Status::Accepted) { None } else { Some(self.rejection()?) };
        Ok((aggregate, version, stale))
    }

    fn rejection(&mut self) -> Result<Rejection, ReplyError> {
        let error = need(self.error.take(), "error")?;
        Ok(Rejection {
            code: need(self.code, "code")?,
            reason: error.reason.into_owned(),
            message: error.message.into_owned(),
            details: error.details.map(Cow::into_owned),
            retry: self.retry,
        })
    }
}
