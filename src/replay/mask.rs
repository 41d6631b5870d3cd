//! Pseudonyms for what must not leave the house: the same value gets the same one wherever it stands, so that a masked
//! history is still a history. Keyed by a salt, without which nobody can try values out.
//!
//! A masked store has a chain of its own. What a rejection says in words is never copied: it is what today's code says
//! about the masked command on the masked state, and where that decides otherwise, only `masked`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::redecide::{Now, Redecided, Redecider};
use super::states::States;
use crate::aggregate::Service;
use crate::model::batch::Group;
use crate::model::groups::GroupError;
use crate::model::partition::partition_of;
use crate::model::subject::{AggregateType, Key};
use crate::model::{
    AggregateId, ChainHash, CommandId, Commit, CommitError, Decision, Identity, Outcome, Principal, RecordedEvent,
    Rejection, json,
};
use crate::store::{StoreId, Tip};

/// A commit cannot be masked. `verify` says more about its store.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// What is recorded cannot be read.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It tears an atomic batch.
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// What stands for a rejection's words that nobody can say again.
const MASKED: &str = "masked";

/// Hexadecimal digits of a pseudonym. A command id needs 16; with 20 no two values of a store have the same by accident.
const DIGITS: usize = 20;

/// Shortest salt, in characters.
pub const SALT_CHARS_MIN: usize = 16;

/// What gets a pseudonym.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// A secret of at least [`SALT_CHARS_MIN`] characters. Whoever has it can find out for which value a pseudonym stands.
    salt: String,
    /// Whether principals do.
    #[serde(default)]
    principals: bool,
    /// Whether command ids do. Trace ids are then left out.
    #[serde(default)]
    ids: bool,
    /// The types of aggregates whose keys do.
    #[serde(default)]
    keys: Vec<String>,
    /// The members of commands, events and details that do, at whatever depth, with all that is in them: `owner`, or
    /// `lines.sku` for one member of another. Numbers become others that are not larger.
    #[serde(default)]
    fields: Vec<String>,
}

/// The names in a mask that nothing was called so far: misspelt, if it stays so, and what they were to hide is not hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmatched {
    keys: BTreeSet<String>,
    fields: BTreeSet<String>,
}

impl Unmatched {
    /// Whether every name was met.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.fields.is_empty()
    }
}

/// As the file has them: `keys: acount; fields: ownr, lines.skuu`.
impl fmt::Display for Unmatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("keys", &self.keys), ("fields", &self.fields)].into_iter().filter(|(_, names)| !names.is_empty());
        let named = named.map(|(what, names)| format!("{what}: {}", Vec::from_iter(names.iter().cloned()).join(", ")));
        f.write_str(&named.collect::<Vec<_>>().join("; "))
    }
}

impl Mask {
    /// All its names, before anything was masked.
    pub fn unmatched(&self) -> Unmatched {
        Unmatched { keys: self.keys.iter().cloned().collect(), fields: self.fields.iter().cloned().collect() }
    }

    /// Whether it can be used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.salt.chars().count() < SALT_CHARS_MIN {
            return Err("salt: at least 16 characters, or values can be found out by trying");
        }
        if !self.principals && !self.ids && self.keys.is_empty() && self.fields.is_empty() {
            return Err("nothing is to be masked: name principals, ids, keys or fields");
        }
        Ok(())
    }

    /// The id of the masked store: another one, so that nobody takes it for the store that it was made of.
    pub fn store(&self, store: Uuid) -> Uuid {
        Uuid::new_v5(&store, self.salt.as_bytes())
    }

    fn digest(&self, value: &str, round: u32) -> [u8; 32] {
        let salt_bytes = (self.salt.len() as u64).to_le_bytes();
        let digest = Sha256::new().chain_update(salt_bytes).chain_update(&self.salt).chain_update(round.to_le_bytes());
        digest.chain_update(value).finalize().into()
    }

    /// What stands for a text. It lives in the partition in which the text does, if that is a key.
    fn text(&self, value: &str, partitions: u32) -> String {
        if value.is_empty() {
            return String::new(); // That there is nothing is no secret, and rules are made of it.
        }
        let partition = Key::parse(value).ok().map(|key| partition_of(&key, partitions));
        let pseudonym = |round| ChainHash(self.digest(value, round)).to_string()[..DIGITS].to_owned();
        let fits = |text: &String| {
            let key = Key::parse(text).expect("hexadecimal digits are a token");
            partition.is_none_or(|partition| partition_of(&key, partitions) == partition)
        };
        (0..).map(pseudonym).find(fits).expect("one of a thousand partitions is hit long before 2^32 rounds")
    }

    /// What stands for a number: a whole one with the same sign, not 0 and not larger, so that it fits wherever the number
    /// did.
    fn number(&self, text: &str) -> String {
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
        let whole = digits.split(['.', 'e', 'E']).next().unwrap_or(digits);
        let Some(size) = whole.parse::<u128>().ok().filter(|size| *size > 0) else { return "0".into() };
        let digest = self.digest(text, 0);
        let (head, _) = digest.split_first_chunk().expect("a SHA-256 has 32 bytes");
        format!("{sign}{}", 1 + u128::from_le_bytes(*head) % size)
    }

    fn is_masked(&self, path: &[String], unmatched: &mut Unmatched) -> bool {
        let mut is_masked = false;
        for field in &self.fields {
            let names: Vec<&str> = field.split('.').collect();
            if path.windows(names.len()).any(|window| window.iter().zip(&names).all(|(left, right)| left == right)) {
                unmatched.fields.remove(field);
                is_masked = true;
            }
        }
        is_masked
    }

    fn json(&self, text: &[u8], partitions: u32, unmatched: &mut Unmatched) -> Result<String, CommitError> {
        let unreadable = |error: json::JsonError| CommitError::Json(serde::de::Error::custom(error));
        json::map_leaves(text, &mut |path, leaf| {
            if !self.is_masked(path, unmatched) {
                return None;
            }
            match leaf.as_bytes().first() {
                Some(b'"') => {
                    let value: String = serde_json::from_str(leaf).ok()?;
                    Some(format!("\"{}\"", self.text(&value, partitions)))
                }
                Some(b'-' | b'0'..=b'9') => Some(self.number(leaf)),
                _ => None, // true, false and null.
            }
        })
        .map_err(unreadable)
    }

    fn key(&self, kind: &AggregateType, key: &Key, partitions: u32, unmatched: &mut Unmatched) -> Key {
        unmatched.keys.remove(kind.as_str());
        let is_masked =
            if kind.is_batch() { !self.keys.is_empty() } else { self.keys.iter().any(|of| of == kind.as_str()) };
        if is_masked { token(Key::parse(&self.text(key.as_str(), partitions))) } else { key.clone() }
    }
}

fn token<T, E: std::fmt::Debug>(parsed: Result<T, E>) -> T {
    parsed.expect("hexadecimal digits are a token and an id")
}

/// Masks the commits of one partition, one after the other, from the first.
#[derive(Debug)]
pub struct Masker<'a> {
    mask: &'a Mask,
    unmatched: &'a mut Unmatched,
    partitions: u32,
    chain: ChainHash,
    redecider: Redecider,
}

impl<'a> Masker<'a> {
    /// Before the first commit. `id` is that of the masked store; `unmatched`, the names that no partition has met yet.
    pub fn new(mask: &'a Mask, unmatched: &'a mut Unmatched, service: Arc<Service>, id: StoreId) -> Masker<'a> {
        let (partitions, chain) = (id.partitions, Tip::empty(id).hash);
        Masker { mask, unmatched, partitions, chain, redecider: Redecider::new(service, id) }
    }

    /// The names of the mask that nothing was called so far.
    pub fn unmatched(&self) -> &Unmatched {
        self.unmatched
    }

    /// The states behind the last commit that came back.
    pub fn states(&self) -> &States {
        self.redecider.states()
    }

    /// The next commit with pseudonyms. Those of an atomic batch come back together, with the last of them.
    ///
    /// # Errors
    /// [`MaskError`].
    pub fn mask(&mut self, commit: &Commit) -> Result<Vec<Commit>, MaskError> {
        // Its place in the chain is known only when what its rejection says is.
        let masked = self.masked(commit)?;
        let redecided = self.redecider.decide(masked)?;
        Ok(redecided.into_iter().map(|redecided| self.worded(redecided)).collect::<Result<_, _>>()?)
    }

    /// With the words of today's rejection, if it is the same one, and in its place in the chain.
    fn worded(&mut self, redecided: Redecided) -> Result<Commit, CommitError> {
        let Redecided { recorded, now, .. } = redecided;
        let mut outcome = recorded.outcome()?;
        if let (Decision::Rejected(masked), Some(Now::Decided(today))) = (&mut outcome.decision, &now)
            && let Decision::Rejected(today) = today.outcome()?.decision
            && (today.code, &today.reason) == (masked.code, &masked.reason)
        {
            masked.message = today.message;
        }
        let commit = Commit::record(recorded.command.clone(), &outcome, recorded.previous, &self.chain);
        self.chain = commit.hash;
        Ok(commit)
    }

    fn masked(&mut self, commit: &Commit) -> Result<Commit, CommitError> {
        let (mask, partitions) = (self.mask, self.partitions);
        let mut command = commit.command.clone();
        let AggregateId { kind, key } = &commit.command.aggregate;
        let key = mask.key(kind, key, partitions, self.unmatched);
        let Identity { principal, id, .. } = &commit.command.identity;
        let principal = if mask.principals {
            token(Principal::parse(&mask.text(principal.as_str(), partitions)))
        } else {
            principal.clone()
        };
        let id = if mask.ids { token(CommandId::parse(&mask.text(id.as_str(), partitions))) } else { id.clone() };
        command.aggregate.key = key.clone();
        command.identity = Identity { principal, key, id: id.clone() };
        if mask.ids {
            command.traceparent = None;
        }
        command.data = if command.is_batch() {
            self.group(&command.data)?
        } else {
            mask.json(&command.data, partitions, self.unmatched)?.into()
        };
        let outcome = commit.outcome()?;
        let decision = match outcome.decision {
            Decision::Accepted(events) => {
                Decision::Accepted(events.into_iter().map(|event| self.event(event)).collect::<Result<_, _>>()?)
            }
            Decision::Rejected(rejection) => Decision::Rejected(self.rejection(rejection)?),
        };
        let outcome = Outcome { id, aggregate: command.aggregate.clone(), decision, ..outcome };
        Ok(Commit::record(command, &outcome, commit.previous, &self.chain))
    }

    /// What the commit of an atomic batch says of its checks.
    fn group(&mut self, data: &[u8]) -> Result<Bytes, CommitError> {
        let mut group = Group::from_json(data).map_err(CommitError::Group)?;
        for checked in &mut group.checks {
            checked.key = self.mask.key(&checked.aggregate, &checked.key, self.partitions, self.unmatched);
        }
        Ok(group.to_json())
    }

    fn event(&mut self, event: RecordedEvent) -> Result<RecordedEvent, CommitError> {
        Ok(RecordedEvent { data: self.raw(event.data.get())?, ..event })
    }

    /// An aggregate's own rule may say anything; the protocol's reasons are made of versions and times.
    fn rejection(&mut self, rejection: Rejection) -> Result<Rejection, CommitError> {
        if Rejection::RESERVED.contains(&rejection.reason.as_str()) {
            return Ok(rejection);
        }
        let details = rejection.details.as_deref().map(|details| self.raw(details.get())).transpose()?;
        Ok(Rejection { message: MASKED.into(), details, ..rejection })
    }

    fn raw(&mut self, json: &str) -> Result<Box<serde_json::value::RawValue>, CommitError> {
        let masked = self.mask.json(json.as_bytes(), self.partitions, self.unmatched)?;
        serde_json::value::RawValue::from_string(masked).map_err(CommitError::Json)
    }
}
