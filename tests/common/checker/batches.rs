//! Batches: the commands in a sending, the outcomes in an answer, the group in the store.

use std::collections::BTreeMap;

use bytes::Bytes;
use hapax::model::{AggregateId, CommandId, CommandName, Identity, Key, Version};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Case, Record};
use crate::common::history::{History, Number, Sent};

/// What a batch asks for.
pub(super) struct BatchSent {
    pub(super) atomic: bool,
    pub(super) items: Vec<Item>,
}

pub(super) enum Item {
    /// As if it had been sent alone.
    Command(Sent),
    Check(AggregateId, u64),
}

#[derive(Deserialize)]
struct BatchForm<'a> {
    atomic: bool,
    #[serde(borrow)]
    commands: Vec<ItemForm<'a>>,
}

#[derive(Deserialize)]
struct ItemForm<'a> {
    id: Option<String>,
    aggregate: Option<String>,
    key: Option<String>,
    command: Option<String>,
    expected_version: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    check: Option<CheckForm>,
}

#[derive(Deserialize)]
pub(super) struct CheckForm {
    aggregate: String,
    key: String,
    version: u64,
}

/// A check as the store has it.
#[derive(Deserialize)]
pub(super) struct Checked {
    pub(super) at: usize,
    #[serde(flatten)]
    check: CheckForm,
    pub(super) actual: u64,
}

impl Checked {
    pub(super) fn aggregate(&self) -> AggregateId {
        format!("{}/{}", self.check.aggregate, self.check.key).parse().expect("a check names an aggregate")
    }

    pub(super) fn holds(&self) -> bool {
        self.check.version == self.actual
    }
}

/// The batches of a history, by their sendings.
pub(super) fn batches(history: &History) -> BTreeMap<Number, BatchSent> {
    history.sendings().filter_map(|(number, sent)| Some((number, BatchSent::read(sent)?))).collect()
}

impl BatchSent {
    fn read(sent: &Sent) -> Option<BatchSent> {
        if !sent.aggregate.kind.is_batch() || sent.name.as_str() != CommandName::RUN {
            return None;
        }
        let form: BatchForm<'_> = serde_json::from_slice(&sent.body).ok()?;
        let items = form.commands.into_iter().map(|item| item.read(sent)).collect::<Option<_>>()?;
        Some(BatchSent { atomic: form.atomic, items })
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = &Sent> {
        self.items.iter().filter_map(|item| match item {
            Item::Command(sent) => Some(sent),
            Item::Check(..) => None,
        })
    }
}

impl ItemForm<'_> {
    fn read(self, batch: &Sent) -> Option<Item> {
        if let Some(CheckForm { aggregate, key, version }) = self.check {
            return Some(Item::Check(format!("{aggregate}/{key}").parse().ok()?, version));
        }
        let key = Key::parse(&self.key?).ok()?;
        let id = CommandId::parse(&self.id?).ok()?;
        Some(Item::Command(Sent {
            aggregate: format!("{}/{key}", self.aggregate?).parse().ok()?,
            identity: Identity { principal: batch.identity.principal.clone(), key, id },
            name: CommandName::parse(&self.command?).ok()?,
            expected: self.expected_version.map(Version),
            not_after: batch.not_after,
            body: Bytes::from(self.data.map_or("{}", RawValue::get).to_owned()),
            reply_to: batch.reply_to.clone(),
        }))
    }
}

/// The entries of a reply to a batch, each as it was written.
pub(super) fn entries(reply: &Bytes) -> Option<Vec<Bytes>> {
    #[derive(Deserialize)]
    struct ItemsForm<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    let form: ItemsForm<'_> = serde_json::from_slice(reply).ok()?;
    Some(form.items.into_iter().map(|entry| reply.slice_ref(entry.get().as_bytes())).collect())
}

/// One part of an atomic batch, as the store has it.
pub(super) enum Part<'a> {
    Command(&'a Record),
    Check(Checked),
}

/// An atomic batch in the store.
pub(super) struct Group<'a> {
    pub(super) head: &'a Record,
    /// In the order of the batch's items.
    pub(super) parts: Vec<Part<'a>>,
}

impl<'a> Group<'a> {
    /// The group that begins with a record.
    pub(super) fn read(case: &'a Case<'_>, head: usize) -> Result<Group<'a>, String> {
        let (first, head) = (head + 1, &case.records[head]);
        let wanted = head.followers().ok_or_else(|| format!("position {}: no group", head.position))?;
        let followers = case.records.get(first..first + wanted).ok_or_else(|| {
            format!(
                "position {}: {wanted} commits belong to it, {} are there",
                head.position,
                case.records.len() - first
            )
        })?;
        let mut checks = head.checks()?.into_iter().peekable();
        let mut commands = followers.iter();
        let mut parts = Vec::new();
        loop {
            let at = parts.len();
            parts.push(match checks.next_if(|check| check.at == at) {
                Some(check) => Part::Check(check),
                None => match commands.next() {
                    Some(record) => Part::Command(record),
                    None if checks.peek().is_none() => return Ok(Group { head, parts }),
                    None => return Err(format!("position {}: a check stands nowhere", head.position)),
                },
            });
        }
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = &'a Record> {
        self.parts.iter().filter_map(|part| match part {
            Part::Command(record) => Some(*record),
            Part::Check(_) => None,
        })
    }

    /// Whether this is what a sending asks for: the same commands and checks, in the same order.
    pub(super) fn is(&self, batch: &BatchSent) -> bool {
        let same = |(part, item): (&Part<'_>, &Item)| match (part, item) {
            (Part::Command(record), Item::Command(sent)) => {
                record.identity == sent.identity && record.has_content_of(sent)
            }
            (Part::Check(checked), Item::Check(aggregate, version)) => {
                checked.aggregate() == *aggregate && checked.check.version == *version
            }
            _ => false,
        };
        batch.atomic && self.parts.len() == batch.items.len() && self.parts.iter().zip(&batch.items).all(same)
    }

    /// Whether it is one decision: all accepted, or none and somebody says why.
    pub(super) fn is_one_decision(&self) -> Result<(), String> {
        let at = |what: &str| Err(format!("the batch at position {}: {what}", self.head.position));
        let accepted = self.head.status == "accepted";
        if self.commands().any(|record| (record.status == "accepted") != accepted) {
            return at("a part of it was accepted, and a part was not");
        }
        let is_to_blame = |part: &Part<'_>| match part {
            Part::Command(record) => record.reason.as_deref() != Some(ABORTED),
            Part::Check(checked) => !checked.holds(),
        };
        let is_stale = |part: &Part<'_>| matches!(part, Part::Check(checked) if !checked.holds());
        match accepted {
            true if self.parts.iter().any(is_stale) => at("it was accepted, and a check does not hold"),
            false if !self.parts.iter().any(is_to_blame) => at("it was rejected, and every item of it was fine"),
            false if self.head.reason.as_deref() != Some(ABORTED) => at("its own rejection is another"),
            _ => Ok(()),
        }
    }

    /// Whether a reply tells just this.
    pub(super) fn is_told_by(&self, reply: &Bytes) -> bool {
        let Some(entries) = entries(reply) else { return false };
        let same = |(part, entry): (&Part<'_>, &Bytes)| match part {
            Part::Command(record) => record.outcome == *entry,
            Part::Check(checked) => {
                let told: serde_json::Value = serde_json::from_slice(entry).unwrap_or_default();
                told.get("id").is_none()
                    && (told["aggregate"].as_str(), told["key"].as_str())
                        == (Some(&checked.check.aggregate), Some(&checked.check.key))
                    && told["version"] == checked.actual
                    && told["status"] == if checked.holds() { "accepted" } else { "rejected" }
            }
        };
        entries.len() == self.parts.len() && self.parts.iter().zip(&entries).all(same)
    }
}

/// The reason of an item whose own part was fine.
pub(super) const ABORTED: &str = "batch_aborted";
