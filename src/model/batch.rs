//! Several commands in one message: `{"atomic":bool,"commands":[…]}`. Each for itself, or all or none.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::command::{AggregateId, CommandId};
use super::commit::Version;
use super::json;
use super::limits::{ATOMIC_COMMANDS_MAX, BATCH_BYTES_MAX, BATCH_ITEMS_MAX, COMMAND_BYTES_MAX};
use super::outcome::{ErrorForm, Refusal, Rejection, Retry};
use super::subject::{AggregateType, CommandName, GrammarError, Key};

/// What the body of a batch asks for.
#[derive(Debug, Clone)]
pub struct Batch {
    /// All or none, in one decision; otherwise each for itself.
    pub atomic: bool,
    /// In their order.
    pub items: Vec<Item>,
}

/// One item of a batch.
#[derive(Debug, Clone)]
pub enum Item {
    /// A command with an id of its own.
    Command(ItemCommand),
    /// Only compared. In an atomic batch alone.
    Check(Check),
}

/// One command of a batch.
#[derive(Debug, Clone)]
pub struct ItemCommand {
    /// Its own id.
    pub id: CommandId,
    /// The aggregate it is addressed to.
    pub aggregate: AggregateId,
    /// Which command.
    pub name: CommandName,
    /// Decide only if the aggregate has had exactly so many events.
    pub expected: Option<Version>,
    /// The command's fields, compact; or why they cannot be read, which is said only if the id is new.
    pub data: Result<Bytes, Refusal>,
}

/// An aggregate that a batch is guarded by and does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which one.
    pub aggregate: AggregateId,
    /// How many events it must have had.
    pub version: Version,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchForm<'a> {
    atomic: bool,
    #[serde(borrow)]
    commands: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemForm<'a> {
    #[serde(borrow, default)]
    id: Option<json::Text<'a>>,
    #[serde(borrow, default)]
    aggregate: Option<json::Text<'a>>,
    #[serde(borrow, default)]
    key: Option<json::Text<'a>>,
    #[serde(borrow, default)]
    command: Option<json::Text<'a>>,
    #[serde(default)]
    expected_version: Option<Version>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    check: Option<CheckForm<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckForm<'a> {
    #[serde(borrow)]
    aggregate: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    version: Version,
}

impl Batch {
    /// Reads the body of a batch. Fields that cannot be read are an item's own fault; everything else refuses the batch,
    /// and names the item.
    ///
    /// # Errors
    /// [`Refusal`] of the whole batch: `malformed` or `too_large`.
    pub fn from_json(body: &[u8]) -> Result<Batch, Refusal> {
        if body.len() > BATCH_BYTES_MAX {
            return Err(Refusal::too_large("body", body.len(), BATCH_BYTES_MAX));
        }
        let form: BatchForm<'_> = serde_json::from_slice(body).map_err(|error| {
            Refusal::malformed("body", format_args!("{error}; send {{\"atomic\":bool,\"commands\":[…]}}"))
        })?;
        let BatchForm { atomic, commands } = form;
        let items_max = if atomic { ATOMIC_COMMANDS_MAX } else { BATCH_ITEMS_MAX };
        if commands.is_empty() || commands.len() > items_max {
            let kind = if atomic { "an atomic batch" } else { "a batch" };
            return Err(Refusal::malformed("commands", format_args!("{kind} has 1 to {items_max} items")));
        }
        let items: Vec<Item> = commands
            .into_iter()
            .enumerate()
            .map(|(index, raw)| read_item(index, raw, atomic))
            .collect::<Result<_, _>>()?;
        let mut ids = HashSet::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Item::Command(command) = item
                && !ids.insert(&command.id)
            {
                return Err(malformed(index, "id", "this id comes twice in the batch"));
            }
        }
        if ids.is_empty() {
            return Err(Refusal::malformed("commands", "nothing but checks; a batch has at least one command"));
        }
        Ok(Batch { atomic, items })
    }

    /// How many of its items are commands.
    pub fn command_count(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Command(_))).count()
    }
}

fn malformed(index: usize, member: &str, message: impl fmt::Display) -> Refusal {
    Refusal::malformed(format!("commands[{index}].{member}"), message)
}

fn read_item<'a>(index: usize, raw: &'a RawValue, atomic: bool) -> Result<Item, Refusal> {
    let form: ItemForm<'_> = serde_json::from_str(raw.get())
        .map_err(|error| Refusal::malformed(format!("commands[{index}]"), format_args!("{error}")))?;
    let ItemForm { id, aggregate, key, command, expected_version, data, check } = form;
    if let Some(CheckForm { aggregate: kind, key: of, version }) = check {
        let is_command = id.is_some() || aggregate.is_some() || key.is_some() || command.is_some() || data.is_some();
        if is_command || expected_version.is_some() {
            return Err(malformed(index, "check", "an item is a check or a command"));
        }
        if !atomic {
            return Err(malformed(index, "check", "only an atomic batch can be guarded by a check"));
        }
        return Ok(Item::Check(Check { aggregate: read_aggregate(index, "check.", &kind, &of)?, version }));
    }
    let need = |member: Option<json::Text<'a>>, name: &str| {
        member
            .map(|json::Text(text)| text)
            .ok_or_else(|| malformed(index, name, "missing; an item has id, aggregate, key and command"))
    };
    let id = CommandId::parse(&need(id, "id")?).map_err(|error| malformed(index, "id", error))?;
    let aggregate = read_aggregate(index, "", &need(aggregate, "aggregate")?, &need(key, "key")?)?;
    let name = CommandName::parse(&need(command, "command")?).map_err(|error| malformed(index, "command", error))?;
    if name.as_str().starts_with('_') {
        return Err(malformed(index, "command", "names that begin with '_' are the protocol's own, and no items"));
    }
    Ok(Item::Command(ItemCommand { id, aggregate, name, expected: expected_version, data: read_data(data) }))
}

fn read_aggregate(index: usize, within: &str, kind: &str, key: &str) -> Result<AggregateId, Refusal> {
    let wrong = |member: &'static str| move |error: GrammarError| malformed(index, &format!("{within}{member}"), error);
    let kind = AggregateType::parse(kind).map_err(wrong("aggregate"))?;
    if kind.is_batch() {
        return Err(malformed(index, &format!("{within}aggregate"), "a batch is no item of a batch"));
    }
    Ok(AggregateId { kind, key: Key::parse(key).map_err(wrong("key"))? })
}

fn read_data(data: Option<&RawValue>) -> Result<Bytes, Refusal> {
    let Some(data) = data else { return Ok(Bytes::from_static(b"{}")) };
    if data.get().len() > COMMAND_BYTES_MAX {
        return Err(Refusal::too_large("data", data.get().len(), COMMAND_BYTES_MAX));
    }
    json::compact_object(data.get().as_bytes()).map_err(|error| {
        Refusal::malformed("data", format_args!("{error}; send one JSON object of the command's fields"))
    })
}

/// What the commit of an atomic batch says of it, besides its outcome: how many commits behind it are its commands, and
/// what its checks found. The commands themselves are those commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// How many commits behind it belong to it.
    pub commands: u32,
    /// In their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Checked>,
}

/// A check, and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Its place among the batch's items, from 0.
    pub at: usize,
    /// The aggregate's type.
    pub aggregate: AggregateType,
    /// Which one of that type.
    pub key: Key,
    /// How many events it had to have had.
    pub version: Version,
    /// How many it had.
    pub actual: Version,
}

impl Checked {
    /// Compares.
    pub fn new(at: usize, check: &Check, actual: Version) -> Checked {
        let Check { aggregate: AggregateId { kind, key }, version } = check;
        Checked { at, aggregate: kind.clone(), key: key.clone(), version: *version, actual }
    }

    /// Whether it found what it had to.
    pub fn holds(&self) -> bool {
        self.version == self.actual
    }

    /// Its entry in the reply: like an outcome, but there is no id and nothing was recorded for it alone.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct CheckedForm<'a> {
            status: &'static str,
            code: u16,
            aggregate: &'a AggregateType,
            key: &'a Key,
            version: Version,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry: Option<Retry>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<ErrorForm<'a>>,
        }
        let rejection = (!self.holds()).then(|| Rejection::version_mismatch(self.version, self.actual));
        let form = CheckedForm {
            status: if self.holds() { "accepted" } else { "rejected" },
            code: rejection.as_ref().map_or(200, |rejection| rejection.code),
            aggregate: &self.aggregate,
            key: &self.key,
            version: self.actual,
            retry: rejection.as_ref().and_then(|rejection| rejection.retry),
            error: rejection.as_ref().map(ErrorForm::of),
        };
        serde_json::to_vec(&form).expect("numbers, texts and raw JSON are JSON")
    }

    /// Whether it is this check.
    pub fn is(&self, at: usize, check: &Check) -> bool {
        *self == Checked { actual: self.actual, ..Checked::new(at, check, check.version) }
    }
}

impl Group {
    /// As it lies in the commit's data.
    pub fn to_json(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers and tokens are JSON").into()
    }

    /// Reads a commit's data.
    ///
    /// # Errors
    /// Not the data of such a commit.
    pub fn from_json(data: &[u8]) -> Result<Group, serde_json::Error> {
        serde_json::from_slice(data)
    }
}
