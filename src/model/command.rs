//! A command: an intention addressed to one aggregate, with an id that its sender chose.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::commit::Version;
use super::json;
use super::limits::{ID_CHARS_MAX, ID_CHARS_MIN};
use super::subject::{AggregateType, CommandName, GrammarError, Key, Principal};
use super::time::Timestamp;

/// The name of a command's occurrence, chosen by its sender: `[A-Za-z0-9_-]{16,64}`. It belongs to its principal and to
/// the key it is addressed to, and counts for ever.
///
/// ```
/// use hapax::CommandId;
/// assert!(CommandId::parse("order-2026-11-24-0001").is_ok());
/// assert!(CommandId::parse("1").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Arc<str>);

impl CommandId {
    /// Checks the grammar of an id.
    ///
    /// # Errors
    /// [`GrammarError::Id`].
    pub fn parse(text: &str) -> Result<CommandId, GrammarError> {
        let grammatical = (ID_CHARS_MIN..=ID_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if grammatical { Ok(CommandId(text.into())) } else { Err(GrammarError::Id) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The UUID that has exactly this text. Ids are texts: upper case or without hyphens is another id.
    pub(crate) fn uuid(&self) -> Option<Uuid> {
        if self.0.len() != uuid::fmt::Hyphenated::LENGTH {
            return None;
        }
        let uuid = Uuid::try_parse(&self.0).ok()?;
        (*uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == *self.0).then_some(uuid)
    }

    /// The millisecond since 1970 in which a UUID of version 7 says that it was made (RFC 9562, 5.7); `None`: it is none.
    pub(crate) fn millisecond(&self) -> Option<u64> {
        let uuid = self.uuid().filter(|uuid| uuid.get_version_num() == 7)?;
        u64::try_from(uuid.as_u128() >> 80).ok()
    }
}

/// A UUID is a grammatical id in its hyphenated form.
impl From<Uuid> for CommandId {
    fn from(uuid: Uuid) -> CommandId {
        CommandId(uuid.hyphenated().to_string().into())
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CommandId {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<CommandId, GrammarError> {
        CommandId::parse(text)
    }
}

impl Serialize for CommandId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CommandId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CommandId, D::Error> {
        let json::Text(text) = json::Text::deserialize(deserializer)?;
        CommandId::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Which aggregate: `account/42`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AggregateId {
    /// Its type.
    pub kind: AggregateType,
    /// Which one of that type.
    pub key: Key,
}

impl fmt::Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}

impl FromStr for AggregateId {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<AggregateId, GrammarError> {
        let (kind, key) = text.split_once('/').ok_or(GrammarError::Aggregate)?;
        Ok(AggregateId { kind: AggregateType::parse(kind)?, key: Key::parse(key)? })
    }
}

/// What makes two copies the same command: at most one commit exists for an identity, for ever (I1).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Who sent it.
    pub principal: Principal,
    /// The key it is addressed to. Not the aggregate: an id must mean the same whatever the number of partitions, and
    /// the partition is chosen by the key.
    pub key: Key,
    /// The sender's id for it.
    pub id: CommandId,
}

/// A command, as it was taken in and as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who sent it, under which id.
    pub identity: Identity,
    /// The aggregate it is addressed to; its key is the identity's.
    pub aggregate: AggregateId,
    /// Which command of that aggregate.
    pub name: CommandName,
    /// The body: one JSON object, compact.
    pub data: Bytes,
    /// Decide only if the aggregate has had exactly so many events.
    pub expected: Option<Version>,
    /// Decided later than that, it is rejected as `expired`.
    pub not_after: Option<Timestamp>,
    /// W3C Trace Context of the sender, handed on.
    pub traceparent: Option<String>,
}

/// What a command asks of its aggregate. `not_after` and `traceparent` are about one sending, not about what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Which command.
    pub name: CommandName,
    /// Decide only if the aggregate has had exactly so many events.
    pub expected: Option<Version>,
    /// The body: one JSON object.
    pub data: Bytes,
}

impl Command {
    /// Whether it asks to run a batch. One that is recorded is the head of a group: the commits of the batch's commands
    /// follow it.
    pub fn is_batch(&self) -> bool {
        self.aggregate.kind.is_batch() && self.name.as_str() == CommandName::RUN
    }

    /// Whether a copy with this content asks for the same thing: aggregate, command, expected version, and the JSON
    /// value of the body.
    pub fn same_content(&self, other: &Command) -> bool {
        self.aggregate == other.aggregate && self.asks_for(&other.name, other.expected, &other.data)
    }

    /// Whether this is what it asks of its aggregate.
    pub fn has_content(&self, Content { name, expected, data }: &Content) -> bool {
        self.asks_for(name, *expected, data)
    }

    fn asks_for(&self, name: &CommandName, expected: Option<Version>, data: &[u8]) -> bool {
        self.name == *name && self.expected == expected && json::same_value(&self.data, data)
    }
}
