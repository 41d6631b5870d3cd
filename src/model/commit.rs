//! The one record of a command: what was asked, by whom, what was decided, and what it follows.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use memchr::memchr;
use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::batch::Group;
use super::command::{AggregateId, Command, Identity};
use super::json;
use super::outcome::{Decision, Outcome, Reply, ReplyError};
use super::subject::{AggregateType, CommandName, GrammarError, Key, Principal};
use super::time::Timestamp;

/// Number of events that an aggregate has had; 0: it does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a commit in its partition: 1, 2, 3 …, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(NonZeroU64);

impl Position {
    /// The first commit of a store.
    pub const FIRST: Position = Position(NonZeroU64::MIN);

    /// `None` for 0.
    pub fn new(number: u64) -> Option<Position> {
        NonZeroU64::new(number).map(Position)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The position behind this one.
    #[must_use]
    pub fn next(self) -> Position {
        Position(self.0.checked_add(1).expect("2^64 commits take longer than the sun lasts"))
    }

    /// The position behind `last`; the first one if there is none.
    pub fn after(last: Option<Position>) -> Position {
        last.map_or(Position::FIRST, Position::next)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 over the previous hash and the JSON of a commit; the first is the hash of the store's id. Anyone can check it
/// with `sha256sum`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// What the first commit of a store follows.
    pub fn of_store(store: Uuid) -> ChainHash {
        ChainHash(Sha256::digest(store.hyphenated().to_string()).into())
    }

    /// The hash of a commit that follows this one.
    #[must_use]
    pub fn link(&self, json: &[u8]) -> ChainHash {
        ChainHash(Sha256::new().chain_update(self.0).chain_update(json).finalize().into())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        // Every message of the feed has one, so not by the formatter of numbers.
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        f.write_str(std::str::from_utf8(&text).expect("digits are UTF-8"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for ChainHash {
    type Err = ChainHashError;

    fn from_str(text: &str) -> Result<ChainHash, ChainHashError> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(ChainHashError);
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| ChainHashError)?;
        }
        Ok(ChainHash(hash))
    }
}

/// A chain hash is written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chain hash has 64 hexadecimal digits")]
pub struct ChainHashError;

/// A fact that `decide` returned, as it is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// The serde name of its variant.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of its fields' meaning; 1 at first.
    pub schema: u32,
    /// Its fields.
    pub data: Box<RawValue>,
}

impl RecordedEvent {
    /// The same, without a copy.
    pub fn borrowed(&self) -> EventRef<'_> {
        EventRef { kind: Cow::Borrowed(&self.kind), schema: self.schema, data: &self.data }
    }
}

/// A recorded event, read where it lies: folding a long history copies nothing.
#[derive(Debug, Clone, Deserialize)]
pub struct EventRef<'a> {
    /// As that of [`RecordedEvent`].
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    /// As that of [`RecordedEvent`].
    pub schema: u32,
    /// As that of [`RecordedEvent`].
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// Of an outcome, its events.
#[derive(Deserialize)]
struct EventsForm<'a> {
    #[serde(borrow, default)]
    events: Vec<EventRef<'a>>,
}

/// What a commit changed, read where it lies: as much of it as folding needs, without copies.
#[derive(Debug)]
pub struct Change<'a> {
    /// The type of its aggregate.
    pub kind: Cow<'a, str>,
    /// The key of its aggregate.
    pub key: Cow<'a, str>,
    /// The commit.
    pub position: Position,
    /// The aggregate's version after it.
    pub version: Version,
    /// What happened; nothing, if it is a rejection.
    pub events: Vec<EventRef<'a>>,
}

#[derive(Deserialize)]
struct ChangeForm<'a> {
    #[serde(borrow)]
    outcome: ChangeOutcomeForm<'a>,
}

/// How the last member of a commit begins, as [`Commit::record`] writes it.
const OUTCOME_MEMBER: &[u8] = br#","outcome":"#;

/// Finds it: to pass over what was asked makes a fold of a long history a sixth faster.
static OUTCOME_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(OUTCOME_MEMBER));

#[derive(Deserialize)]
struct ChangeOutcomeForm<'a> {
    #[serde(borrow)]
    aggregate: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    version: Version,
    position: Position,
    #[serde(borrow, default)]
    events: Vec<EventRef<'a>>,
}

impl<'a> ChangeOutcomeForm<'a> {
    /// Reads an acceptance whose members come as [`Outcome`] writes them: not to ask which one is next makes a fold of a long
    /// history a quarter faster. `None`: something else, perhaps an outcome all the same.
    fn of_acceptance(json: &'a str) -> Option<ChangeOutcomeForm<'a>> {
        let mut rest = json;
        let mut member = |before: &str, end: u8| {
            let begins = rest.strip_prefix(before)?;
            let (value, behind) = begins.split_at(memchr(end, begins.as_bytes())?);
            rest = &behind[1..];
            Some(value)
        };
        let _id = member(r#"{"id":""#, b'"')?;
        let aggregate = member(r#","status":"accepted","code":200,"aggregate":""#, b'"')?;
        let key = member(r#","key":""#, b'"')?;
        let version = member(r#","version":"#, b',')?;
        let position = member(r#""position":"#, b',')?;
        let _decided_at = member(r#""decided_at":""#, b'"')?;
        let events = rest.strip_prefix(r#","events":"#)?.strip_suffix('}')?;
        // A name with an escape in it is not the text that lies there.
        let name = |text: &'a str| (!text.contains('\\')).then_some(Cow::Borrowed(text));
        Some(ChangeOutcomeForm {
            aggregate: name(aggregate)?,
            key: name(key)?,
            version: serde_json::from_str(version).ok()?,
            position: serde_json::from_str(position).ok()?,
            events: serde_json::from_str(events).ok()?,
        })
    }
}

impl<'a> Change<'a> {
    /// Reads it out of the JSON of a commit.
    ///
    /// # Errors
    /// [`CommitError`], of the outcome. What was asked, its id and its time need not be looked at: they were when it was
    /// recorded.
    pub fn from_json(json: &'a [u8]) -> Result<Change<'a>, CommitError> {
        let outcome = match Change::last_outcome(json) {
            Some(outcome) => outcome,
            None => json::from_bytes(json).map(|ChangeForm { outcome }| outcome).map_err(CommitError::Json)?,
        };
        let ChangeOutcomeForm { aggregate: kind, key, version, position, events } = outcome;
        let event_count = events.len() as u64;
        if version.0 < event_count {
            return Err(CommitError::VersionTooSmall { version, event_count });
        }
        Ok(Change { kind, key, position, version, events })
    }

    /// The outcome, if it is the last member of a commit. A body may have a member of that name too, but then it is not the
    /// last: more than the commit's own brace follows, so that the whole has to be read.
    fn last_outcome(json: &'a [u8]) -> Option<ChangeOutcomeForm<'a>> {
        let begins = OUTCOME_FINDER.find(json)? + OUTCOME_MEMBER.len();
        let outcome = str::from_utf8(json[begins..].strip_suffix(b"}")?).ok()?;
        ChangeOutcomeForm::of_acceptance(outcome).or_else(|| serde_json::from_str(outcome).ok())
    }

    /// The aggregate's version before it.
    pub fn version_before(&self) -> Version {
        Version(self.version.0 - self.events.len() as u64)
    }

    /// Its aggregate, as a name of its own.
    ///
    /// # Errors
    /// [`GrammarError`]: no processor takes such a name in.
    pub fn aggregate(&self) -> Result<AggregateId, GrammarError> {
        Ok(AggregateId { kind: AggregateType::parse(&self.kind)?, key: Key::parse(&self.key)? })
    }
}

/// The one record of a command. Its JSON is made once; the outcome is a slice of it, so that every reply for the
/// command is the same bytes for ever (I2).
///
/// A copy costs a count: memory, store and reply hold the same record.
#[derive(Debug, Clone)]
pub struct Commit(Arc<CommitRecord>);

impl Deref for Commit {
    type Target = CommitRecord;

    fn deref(&self) -> &CommitRecord {
        &self.0
    }
}

/// What a [`Commit`] says.
#[derive(Debug)]
pub struct CommitRecord {
    /// What was asked, and by whom.
    pub command: Command,
    /// Its number in the partition.
    pub position: Position,
    /// The aggregate's version after it.
    pub version: Version,
    /// Whether it was accepted.
    pub accepted: bool,
    /// How many events it has; 0 for a rejection.
    pub event_count: u64,
    /// The time that the decision was given.
    pub decided_at: Timestamp,
    /// The last commit before it that changed the same aggregate.
    pub previous: Option<Position>,
    /// The chain up to and with it.
    pub hash: ChainHash,
    /// How many commits behind it are one with it: the commands of an atomic batch. The store has all of them or none.
    pub followers: u32,
    json: Bytes,
    outcome: Bytes,
}

/// The JSON of a commit, up to its data. Written by itself, so that what follows can be written behind it as it is.
#[derive(Serialize)]
struct HeadForm<'a> {
    principal: &'a Principal,
    command: &'a CommandName,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

/// The JSON of a commit, read. `outcome` comes last: it holds id, aggregate, key, version, position, time and events, once.
#[derive(Deserialize)]
struct CommitForm<'a> {
    principal: Principal,
    command: CommandName,
    #[serde(default)]
    expected: Option<Version>,
    #[serde(default)]
    not_after: Option<Timestamp>,
    #[serde(borrow, default)]
    traceparent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    previous: Option<Position>,
    #[serde(borrow)]
    outcome: &'a RawValue,
}

/// Why bytes are not a commit.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Not the JSON of a commit of this format.
    #[error("not the JSON of a commit")]
    Json(#[source] serde_json::Error),
    /// The outcome inside is not one.
    #[error("the outcome inside the commit cannot be read")]
    Outcome(#[source] ReplyError),
    /// The reply inside is a refusal, which is never recorded.
    #[error("a refusal is recorded, which never happens")]
    RefusalRecorded,
    /// The commit of an atomic batch does not say which commits belong to it.
    #[error("what the commit of a batch says of its commands cannot be read")]
    Group(#[source] serde_json::Error),
    /// The aggregate would have had fewer than no events before it.
    #[error("version {version} is less than the commit's own {event_count} events")]
    VersionTooSmall {
        /// The version after it.
        version: Version,
        /// Its events.
        event_count: u64,
    },
}

/// About what a commit has besides its data, and the events that repeat it.
const FRAME_BYTES: usize = 512;

impl Commit {
    /// Writes the record of a decision down.
    pub fn record(command: Command, outcome: &Outcome, previous: Option<Position>, chain: &ChainHash) -> Commit {
        debug_assert_eq!(command.aggregate, outcome.aggregate);
        let followers = if command.is_batch() {
            Group::from_json(&command.data).expect("the processor has written it").commands
        } else {
            0
        };
        let head = HeadForm {
            principal: &command.identity.principal,
            command: &command.name,
            expected: command.expected,
            not_after: command.not_after,
            traceparent: command.traceparent.as_deref(),
        };
        // In one buffer and once each: this is most of what a decision costs.
        let mut json = Vec::with_capacity(FRAME_BYTES + 3 * command.data.len());
        serde_json::to_writer(&mut json, &head).expect("every member of a commit is JSON");
        json.pop(); // The brace: more members follow.
        json.extend_from_slice(br#","data":"#);
        let data_start = json.len();
        json.extend_from_slice(&command.data); // Intake has checked and compacted it.
        let data_end = json.len();
        if let Some(previous) = previous {
            write!(json, r#","previous":{previous}"#).expect("a Vec takes everything");
        }
        json.extend_from_slice(OUTCOME_MEMBER);
        let outcome_start = json.len();
        serde_json::to_writer(&mut json, outcome).expect("every member of an outcome is JSON");
        let outcome_end = json.len();
        json.push(b'}');
        // Of just that size: it stays for as long as the commit is in memory, the buffer goes at once.
        let json = Bytes::copy_from_slice(&json);
        // The body is not kept twice.
        let command = Command { data: json.slice(data_start..data_end), ..command };
        Commit(Arc::new(CommitRecord {
            command,
            position: outcome.position,
            version: outcome.version,
            accepted: matches!(outcome.decision, Decision::Accepted(_)),
            event_count: outcome.event_count(),
            decided_at: outcome.decided_at,
            previous,
            followers,
            hash: chain.link(&json),
            outcome: json.slice(outcome_start..outcome_end),
            json,
        }))
    }

    /// Reads a commit back. `hash` is the chain hash that the store keeps beside it; who needs the chain checked
    /// compares it with [`ChainHash::link`].
    ///
    /// # Errors
    /// [`CommitError`]: the bytes are not a commit. What a store gave back and cannot be read is damage.
    pub fn from_json(json: Bytes, hash: ChainHash) -> Result<Commit, CommitError> {
        let form: CommitForm<'_> = json::from_bytes(&json).map_err(CommitError::Json)?;
        let outcome = match Reply::from_json(form.outcome.get().as_bytes()).map_err(CommitError::Outcome)? {
            Reply::Outcome(outcome) => outcome,
            Reply::Refused(_) | Reply::Unknown { .. } | Reply::Batch(_) => return Err(CommitError::RefusalRecorded),
        };
        let event_count = outcome.event_count();
        if event_count > outcome.version.0 {
            return Err(CommitError::VersionTooSmall { version: outcome.version, event_count });
        }
        let identity = Identity { principal: form.principal, key: outcome.aggregate.key.clone(), id: outcome.id };
        let command = Command {
            identity,
            aggregate: outcome.aggregate,
            name: form.command,
            data: json.slice_ref(form.data.get().as_bytes()),
            expected: form.expected,
            not_after: form.not_after,
            traceparent: form.traceparent.map(Cow::into_owned),
        };
        let followers =
            if command.is_batch() { Group::from_json(&command.data).map_err(CommitError::Group)?.commands } else { 0 };
        Ok(Commit(Arc::new(CommitRecord {
            command,
            followers,
            position: outcome.position,
            version: outcome.version,
            accepted: matches!(outcome.decision, Decision::Accepted(_)),
            event_count,
            decided_at: outcome.decided_at,
            previous: form.previous,
            hash,
            outcome: json.slice_ref(form.outcome.get().as_bytes()),
            json,
        })))
    }
}

impl CommitRecord {
    /// The record, as it lies in the store.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The outcome, as every reply sends it.
    pub fn outcome_json(&self) -> &Bytes {
        &self.outcome
    }

    /// The aggregate's version before it.
    pub fn version_before(&self) -> Version {
        Version(self.version.0 - self.event_count)
    }

    /// The events that were accepted; none for a rejection.
    ///
    /// # Errors
    /// [`CommitError`], for a commit that was read from a damaged store.
    pub fn events(&self) -> Result<Vec<EventRef<'_>>, CommitError> {
        if self.event_count == 0 {
            return Ok(Vec::new());
        }
        let form: EventsForm<'_> =
            json::from_bytes(&self.outcome).map_err(|error| CommitError::Outcome(ReplyError(error)))?;
        Ok(form.events)
    }

    /// What it has changed.
    ///
    /// # Errors
    /// As [`CommitRecord::events`].
    pub fn change(&self) -> Result<Change<'_>, CommitError> {
        let AggregateId { kind, key } = &self.command.aggregate;
        let (kind, key) = (kind.as_str().into(), key.as_str().into());
        Ok(Change { kind, key, position: self.position, version: self.version, events: self.events()? })
    }

    /// The outcome, read from its bytes.
    ///
    /// # Errors
    /// [`CommitError`], for a commit that was read from a damaged store.
    pub fn outcome(&self) -> Result<Outcome, CommitError> {
        match Reply::from_json(&self.outcome).map_err(CommitError::Outcome)? {
            Reply::Outcome(outcome) => Ok(outcome),
            Reply::Refused(_) | Reply::Unknown { .. } | Reply::Batch(_) => Err(CommitError::RefusalRecorded),
        }
    }
}
