//! What came of a command, typed.

use bytes::Bytes;

use super::error::SendError;
use crate::aggregate::{Aggregate, EVENT_SCHEMA, read_variant};
use crate::model::{self, Decision, Position, Rejection, Timestamp, Version};

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
    /// The protocol's: `version_mismatch`, `expired`, `voided`, `outcome_too_large`.
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
            Decision::Accepted(recorded) => match recorded.iter().map(read_event::<A>).collect() {
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

fn read_event<A: Aggregate>(event: &model::RecordedEvent) -> Result<A::Event, serde_json::Error> {
    if event.schema != EVENT_SCHEMA {
        let schema = event.schema;
        return Err(serde::de::Error::custom(format_args!("schema {schema} is not known, only {EVENT_SCHEMA}")));
    }
    read_variant(&event.kind, event.data.get().as_bytes())
}

fn read_reason<A: Aggregate>(rejection: &Rejection) -> Result<Reason<A>, serde_json::Error> {
    if Rejection::RESERVED.contains(&rejection.reason.as_str()) {
        return Ok(Reason::Protocol(rejection.clone()));
    }
    let details = rejection.details.as_deref().map_or("{}", serde_json::value::RawValue::get);
    read_variant(&rejection.reason, details.as_bytes()).map(Reason::Rule)
}
