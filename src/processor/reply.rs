//! What is the answer? The recorded bytes, never written anew; a refusal; or that nothing is known.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::aggregate::Folded;
use crate::model::limits::RETRY_AFTER_MS;
use crate::model::subject::{AggregateType, Key};
use crate::model::{AggregateId, CommandId, Commit, Position, Refusal, Version};

/// An answer on its way to an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The inbox.
    pub to: String,
    /// JSON.
    pub body: Bytes,
    /// Whether it was decided by an earlier delivery: the header `Hapax-Replayed: true`.
    pub replayed: bool,
}

/// The recorded outcome: a slice of the commit (I2).
pub(super) fn outcome(to: String, commit: &Commit, replayed: bool) -> Answer {
    Answer { to, body: commit.outcome_json().clone(), replayed }
}

/// A refusal of this copy.
pub(super) fn refusal(to: String, refusal: &Refusal, id: Option<&CommandId>) -> Answer {
    Answer { to, body: refusal.to_json(id).into(), replayed: false }
}

/// An outcome query found nothing.
pub(super) fn unknown(to: String, as_of: Option<Position>) -> Answer {
    #[derive(Serialize)]
    struct UnknownForm {
        status: &'static str,
        as_of: Option<Position>,
        after_ms: u64,
    }
    let form = UnknownForm { status: "unknown", as_of, after_ms: RETRY_AFTER_MS };
    Answer { to, body: to_json(&form), replayed: false }
}

/// The state of an aggregate; `None` if its author's `Serialize` fails.
pub fn state(aggregate: &AggregateId, folded: &Folded) -> Option<Bytes> {
    #[derive(Serialize)]
    struct StateForm<'a> {
        aggregate: &'a AggregateType,
        key: &'a Key,
        version: Version,
        position: Option<Position>,
        state: &'a RawValue,
    }
    let state = RawValue::from_string(String::from_utf8(folded.state.to_json().ok()?).ok()?).ok()?;
    let AggregateId { kind, key } = aggregate;
    let form = StateForm { aggregate: kind, key, version: folded.version, position: folded.last, state: &state };
    Some(to_json(&form))
}

fn to_json(form: &impl Serialize) -> Bytes {
    serde_json::to_vec(form).expect("tokens, numbers and raw JSON are JSON").into()
}
