//! A commit as the checker reads it: from its JSON, without hapax's own reading.

use bytes::Bytes;
use hapax::model::{AggregateId, AggregateType, CommandId, CommandName, Commit, Identity, Key, Principal, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::batches::Checked;
use crate::common::history::Sent;

pub(super) struct Record {
    pub(super) identity: Identity,
    pub(super) aggregate: AggregateId,
    pub(super) name: String,
    pub(super) expected: Option<u64>,
    pub(super) not_after: Option<String>,
    pub(super) data: Value,
    pub(super) data_text: String,
    pub(super) previous: Option<u64>,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) events: Option<Vec<Value>>,
    pub(super) version: u64,
    pub(super) position: u64,
    pub(super) decided_at: Timestamp,
    /// The outcome, as it is recorded.
    pub(super) outcome: Bytes,
    pub(super) json: Bytes,
    /// The chain hash that the store keeps beside it.
    pub(super) hash: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitForm<'a> {
    principal: String,
    command: String,
    expected: Option<u64>,
    not_after: Option<String>,
    #[serde(rename = "traceparent")]
    _traceparent: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    previous: Option<u64>,
    #[serde(borrow)]
    outcome: &'a RawValue,
}

#[derive(Deserialize)]
struct OutcomeForm {
    id: String,
    status: String,
    aggregate: String,
    key: String,
    version: u64,
    position: u64,
    decided_at: String,
    events: Option<Vec<Value>>,
    error: Option<Value>,
}

impl Record {
    pub(super) fn read(commit: &Commit) -> Result<Record, String> {
        fn not<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> String {
            move |error| format!("{what}: {error}")
        }
        let json = commit.json().clone();
        let form: CommitForm<'_> = serde_json::from_slice(&json).map_err(not("no commit"))?;
        let outcome: OutcomeForm = serde_json::from_str(form.outcome.get()).map_err(not("no outcome"))?;
        let key = Key::parse(&outcome.key).map_err(not("no key"))?;
        let identity = Identity {
            principal: Principal::parse(&form.principal).map_err(not("no principal"))?,
            key: key.clone(),
            id: CommandId::parse(&outcome.id).map_err(not("no id"))?,
        };
        let kind = AggregateType::parse(&outcome.aggregate).map_err(not("no aggregate"))?;
        Ok(Record {
            identity,
            aggregate: AggregateId { kind, key },
            name: form.command,
            expected: form.expected,
            not_after: form.not_after,
            data: serde_json::from_str(form.data.get()).map_err(not("no body"))?,
            data_text: form.data.get().to_owned(),
            previous: form.previous,
            reason: outcome.error.and_then(|error| error["reason"].as_str().map(str::to_owned)),
            status: outcome.status,
            events: outcome.events,
            version: outcome.version,
            position: outcome.position,
            decided_at: Timestamp::parse(&outcome.decided_at).ok_or("no time")?,
            outcome: json.slice_ref(form.outcome.get().as_bytes()),
            hash: commit.hash.0,
            json,
        })
    }

    pub(super) fn is_void(&self) -> bool {
        self.name == CommandName::VOID
    }

    /// How many commits behind it belong to it, if it is the commit of an atomic batch.
    pub(super) fn followers(&self) -> Option<usize> {
        let is_batch = self.aggregate.kind.is_batch() && self.name == CommandName::RUN;
        is_batch.then(|| self.data["commands"].as_u64()?.try_into().ok())?
    }

    /// What the checks of an atomic batch found.
    pub(super) fn checks(&self) -> Result<Vec<Checked>, String> {
        let checks = self.data.get("checks").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        serde_json::from_value(checks).map_err(|error| format!("position {}: {error}", self.position))
    }

    pub(super) fn event_count(&self) -> u64 {
        self.events.as_ref().map_or(0, |events| events.len() as u64)
    }

    /// Whether a sending asks for just what is recorded here.
    pub(super) fn has_content_of(&self, sent: &Sent) -> bool {
        let body = if sent.body.is_empty() {
            Ok(Value::Object(Default::default()))
        } else {
            serde_json::from_slice(&sent.body)
        };
        self.aggregate == sent.aggregate
            && self.name == sent.name.as_str()
            && self.expected == sent.expected.map(|version| version.0)
            && body.is_ok_and(|body| self.data == body)
    }
}
