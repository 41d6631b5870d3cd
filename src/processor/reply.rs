//! What is the answer? The recorded bytes, never written anew; a refusal; or that nothing is known.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::turn::Recorded;
use crate::aggregate::Folded;
use crate::model::batch::{Checked, Group};
use crate::model::limits::{BATCH_REPLY_BYTES_MAX, RETRY_AFTER_MS};
use crate::model::outcome::Reply;
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

/// The recorded outcome: a slice of the commit (I2). That of an atomic batch is put together from the slices of its
/// commands, the same bytes each time.
pub(super) fn outcome(to: String, recorded: &Recorded, replayed: bool) -> Answer {
    let Recorded { commit, followers } = recorded;
    let body = if commit.command.is_batch() { atomic(commit, followers) } else { commit.outcome_json().clone() };
    Answer { to, body, replayed }
}

/// One item's entry in the reply to a batch.
#[derive(Debug)]
pub(super) enum BatchEntry {
    /// The outcome's bytes.
    Recorded(Bytes),
    Refused(CommandId, Refusal),
    Checked(Checked),
}

/// The reply to a batch: an entry for each item, in order.
pub(super) fn batch(id: &CommandId, entries: &[BatchEntry]) -> Bytes {
    let whole = joined(id, entries, Bytes::clone);
    if whole.len() <= BATCH_REPLY_BYTES_MAX {
        return whole;
    }
    let omitted = joined(id, entries, brief);
    [&omitted[..omitted.len() - 1], br#","events_omitted":true}"#].concat().into()
}

fn atomic(head: &Commit, followers: &[Commit]) -> Bytes {
    let group = Group::from_json(&head.command.data).expect("it was read with the commit");
    let mut entries: Vec<_> =
        followers.iter().map(|commit| BatchEntry::Recorded(commit.outcome_json().clone())).collect();
    for checked in group.checks {
        entries.insert(checked.at.min(entries.len()), BatchEntry::Checked(checked));
    }
    batch(&head.command.identity.id, &entries)
}

fn joined(id: &CommandId, entries: &[BatchEntry], outcome: impl Fn(&Bytes) -> Bytes) -> Bytes {
    let mut body = format!(r#"{{"id":"{id}","items":["#).into_bytes();
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        match entry {
            BatchEntry::Recorded(recorded) => body.extend_from_slice(&outcome(recorded)),
            BatchEntry::Refused(id, refusal) => body.extend_from_slice(&refusal.to_json(Some(id))),
            BatchEntry::Checked(checked) => body.extend_from_slice(&checked.to_json()),
        }
    }
    body.extend_from_slice(b"]}");
    body.into()
}

/// An outcome without what may be large. All of it can be asked for by its id.
fn brief(recorded: &Bytes) -> Bytes {
    match Reply::from_json(recorded) {
        Ok(Reply::Outcome(outcome)) => outcome.to_json_in_brief().into(),
        // It was read when it was recorded or loaded.
        _ => recorded.clone(),
    }
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
