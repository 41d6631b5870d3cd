//! What comes back for a batch: an entry for each of its items, in their order.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::command::{AggregateId, CommandId};
use super::commit::Version;
use super::outcome::{Outcome, Refusal, Rejection, Reply, ReplyError, ReplyForm, Status};

/// The reply to a batch.
#[derive(Debug, Clone)]
pub struct BatchReply {
    /// The batch's own id.
    pub id: CommandId,
    /// In their order.
    pub items: Vec<ItemReply>,
    /// It would have been too large: the outcomes have no events, rejections no details. All of an outcome can be asked
    /// for by its id.
    pub events_omitted: bool,
}

/// What came of one item of a batch.
#[derive(Debug, Clone)]
pub enum ItemReply {
    /// Of a command: decided.
    Outcome {
        /// Read from the bytes.
        outcome: Outcome,
        /// The bytes: unless something was left out, those that the command gets on its own too.
        json: Bytes,
    },
    /// Of a command: not decided, and this copy will not be.
    Refused(Refusal),
    /// Of a check.
    Check(CheckReply),
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct CheckReply {
    /// Which aggregate was looked at.
    pub aggregate: AggregateId,
    /// How many events it has had.
    pub version: Version,
    /// What is wrong with that; `None`: it is what it had to be.
    pub stale: Option<Rejection>,
}

impl BatchReply {
    /// Whether no item is the reason for a "no".
    pub fn is_accepted(&self) -> bool {
        self.items.iter().all(ItemReply::is_accepted)
    }

    pub(super) fn read(id: CommandId, items: &[&RawValue], events_omitted: bool) -> Result<BatchReply, ReplyError> {
        let items = items.iter().map(|json| ItemReply::read(json, events_omitted)).collect::<Result<_, _>>()?;
        Ok(BatchReply { id, items, events_omitted })
    }
}

impl ItemReply {
    /// Whether it was accepted, or the check holds.
    pub fn is_accepted(&self) -> bool {
        match self {
            ItemReply::Outcome { outcome, .. } => outcome.is_accepted(),
            ItemReply::Refused(_) => false,
            ItemReply::Check(check) => check.stale.is_none(),
        }
    }

    fn read(json: &RawValue, events_omitted: bool) -> Result<ItemReply, ReplyError> {
        let form: ReplyForm<'_> = serde_json::from_str(json.get()).map_err(ReplyError)?;
        if form.id.is_none() && matches!(form.status, Some(Status::Accepted | Status::Rejected)) {
            let (aggregate, version, stale) = form.check()?;
            return Ok(ItemReply::Check(CheckReply { aggregate, version, stale }));
        }
        match form.read(events_omitted)? {
            // A copy: a slice would keep the whole reply in memory for as long as one of its outcomes.
            Reply::Outcome(outcome) => {
                Ok(ItemReply::Outcome { outcome, json: Bytes::copy_from_slice(json.get().as_bytes()) })
            }
            Reply::Refused(refusal) => Ok(ItemReply::Refused(refusal)),
            Reply::Unknown { .. } | Reply::Batch(_) => {
                Err(ReplyError(serde::de::Error::custom("an item is decided, refused or a check")))
            }
        }
    }
}
