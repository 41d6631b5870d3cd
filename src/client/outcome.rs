//! What came of a command, typed.

use bytes::Bytes;
use serde::de;

use super::error::{Cause, SendError};
use crate::aggregate::{Aggregate, EventTypes, read_variant};
use crate::model::error::with_sources;
use crate::model::{self, BatchReply, Decision, ItemReply, Position, RecordedEvent, Rejection, Timestamp, Version};

/// What came of a command. Decided, recorded and final: whoever sends it again gets the same.
#[derive(Debug)]
pub enum Outcome<A: Aggregate> {
    /// The aggregate took it.
    Accepted {
        /// What happened. Nothing: it was already so.
        events: Vec<A::Event>,
        /// How many events the aggregate has had, after these.
        version: Version,
        /// The commit that records it.
        position: Position,
        /// When it was decided.
        decided_at: Timestamp,
        /// Whether an earlier delivery of the same command was decided, and this is the answer that it got.
        replayed: bool,
    },
    /// The aggregate, or the protocol, said no. Nothing happened.
    Rejected {
        /// Why.
        reason: Reason<A>,
        /// How many events the aggregate has had.
        version: Version,
        /// The commit that records it.
        position: Position,
        /// When it was decided.
        decided_at: Timestamp,
        /// Whether an earlier delivery of the same command was decided, and this is the answer that it got.
        replayed: bool,
    },
}

/// Why a command was rejected.
#[derive(Debug)]
pub enum Reason<A: Aggregate> {
    /// The aggregate's own rule.
    Rule(A::Rejection),
    /// The protocol's: `version_mismatch`, `expired`, `voided`, `outcome_too_large`, `batch_aborted`.
    Protocol(Rejection),
}

impl<A: Aggregate> Outcome<A> {
    /// Whether it was accepted.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Outcome::Accepted { .. })
    }

    /// How many events the aggregate has had, after it.
    pub fn version(&self) -> Version {
        match self {
            Outcome::Accepted { version, .. } | Outcome::Rejected { version, .. } => *version,
        }
    }

    /// Whether an earlier delivery of the same command was decided.
    pub fn replayed(&self) -> bool {
        match self {
            Outcome::Accepted { replayed, .. } | Outcome::Rejected { replayed, .. } => *replayed,
        }
    }
}

/// What came of a command, as it was sent.
#[derive(Debug, Clone)]
pub struct RawOutcome {
    /// Read from the bytes.
    pub outcome: model::Outcome,
    /// The bytes. All outcomes that are sent for one command are the same ones.
    pub json: Bytes,
    /// Whether an earlier delivery of the same command was decided.
    pub replayed: bool,
}

impl RawOutcome {
    /// With the types of its aggregate.
    ///
    /// # Errors
    /// [`SendError::Unreadable`]: this program does not know an event or the rejection in it.
    pub fn typed<A: Aggregate>(self) -> Result<Outcome<A>, SendError> {
        let RawOutcome { outcome, replayed, .. } = self;
        let model::Outcome { version, position, decided_at, .. } = outcome;
        let unreadable = |outcome, source| SendError::Unreadable { outcome: Box::new(outcome), source };
        match &outcome.decision {
            Decision::Accepted(recorded) => match read_events::<A>(recorded) {
                Ok(events) => Ok(Outcome::Accepted { events, version, position, decided_at, replayed }),
                Err(source) => Err(unreadable(outcome, source)),
            },
            Decision::Rejected(rejection) => match read_reason(rejection) {
                Ok(reason) => Ok(Outcome::Rejected { reason, version, position, decided_at, replayed }),
                Err(source) => Err(unreadable(outcome, source)),
            },
        }
    }
}

/// What settles a message.
#[derive(Debug)]
pub(super) enum Answer {
    Outcome(RawOutcome),
    Batch(RawBatch),
}

impl Answer {
    /// As that of a command of its own.
    pub(super) fn into_outcome(self) -> Result<RawOutcome, SendError> {
        match self {
            Answer::Outcome(raw) => Ok(raw),
            Answer::Batch(RawBatch { reply, .. }) => {
                let cause = Cause::UnreadableReply("it is the reply to a batch".to_owned());
                Err(SendError::Unknown { id: reply.id, cause })
            }
        }
    }
}

/// What came of a batch, as it was sent.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// Read from the bytes.
    pub reply: BatchReply,
    /// The bytes. All replies to one atomic batch are the same ones.
    pub json: Bytes,
    /// Whether an earlier delivery was decided; of independent commands, whether all of them were.
    pub replayed: bool,
}

impl RawBatch {
    /// The outcome of one item, counted from 0; `None`: there is no such item, or it is a check or was refused.
    /// [`RawOutcome::typed`] gives it the types of its aggregate.
    pub fn outcome(&self, item: usize) -> Option<RawOutcome> {
        match self.reply.items.get(item)? {
            ItemReply::Outcome { outcome, json } => {
                Some(RawOutcome { outcome: outcome.clone(), json: json.clone(), replayed: self.replayed })
            }
            ItemReply::Refused(_) | ItemReply::Check(_) => None,
        }
    }
}

/// The events, in today's form: a replay brings what was recorded when the command was decided, which may be long ago.
fn read_events<A: Aggregate>(recorded: &[RecordedEvent]) -> Result<Vec<A::Event>, serde_json::Error> {
    let types = EventTypes::of::<A>().ok_or_else(|| de::Error::custom("Event is not an externally tagged enum"))?;
    let read = |event: &RecordedEvent| {
        let RecordedEvent { kind, schema, .. } = event;
        let why = |error| format!("the event {kind:?} (schema {schema}): {}", with_sources(&error));
        types.read(event.borrowed()).map_err(|error| de::Error::custom(why(error)))
    };
    recorded.iter().map(read).collect()
}

fn read_reason<A: Aggregate>(rejection: &Rejection) -> Result<Reason<A>, serde_json::Error> {
    if Rejection::RESERVED.contains(&rejection.reason.as_str()) {
        return Ok(Reason::Protocol(rejection.clone()));
    }
    let details = rejection.details.as_deref().map_or("{}", serde_json::value::RawValue::get);
    read_variant(&rejection.reason, details.as_bytes()).map(Reason::Rule)
}
