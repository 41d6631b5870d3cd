//! The one judge of a run: given what clients did and saw, and the store that is left, do the invariants hold?
//!
//! It is used by the simulation, by fault runs against the real binary and by power cuts alike, so it judges whatever a
//! run could see: of an invariant about something that was not seen it counts no checks. It reads the commits' JSON by
//! itself, computes the chain by itself and keeps an account of its own, since a checker that shares the code that it
//! judges shares its bugs.
//!
//! * [`record`]: a commit, read from its JSON
//! * [`batches`]: the commands in a sending, the outcomes in an answer, the group in the store
//! * [`store`]: what the store alone says: I1, I5, I6, I8, I11, I14
//! * [`fold`]: what its events and the same code say: I10, I12
//! * [`clients`]: what clients were told: I2, I3, I4, I7, I13, I17
//! * [`inside`]: what the processor did: I9, I15, I16
//! * [`feed`]: what the feed holds: I18

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use hapax::Service;
use hapax::index::Index;
use hapax::model::{AggregateId, CommandId, Commit, Identity, Key, Position};
use hapax::store::StoreId;
use serde_json::Value;

use super::history::{About, Answered, Event, History, Number, Sent};
use batches::{BatchSent, Group, Item};
use record::Record;

mod record;
mod batches;
mod store;
mod fold;
mod clients;
mod inside;
mod feed;

pub use feed::Feed;

/// What is left of a run.
pub struct Evidence<'a> {
    pub id: StoreId,
    /// The code that decided.
    pub service: &'a Service,
    /// The store, read back.
    pub commits: &'a [Commit],
    /// The index, and up to where it must know everything.
    pub index: Option<(&'a dyn Index, Option<Position>)>,
    pub feed: Option<Feed<'a>>,
    /// The broker has lost nothing, and holds nothing any more: every sending is settled.
    pub all_settled: bool,
}

/// How often each invariant was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; 18]);

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Counts) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines =
            RULES.iter().zip(self.0).map(|((name, meaning, _), count)| format!("{name:<4} {meaning:<58} {count:>12}"));
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// An invariant does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

type Rule = fn(&Case<'_>) -> Result<u64, String>;

/// The invariants of the crate's documentation, in its order.
const RULES: [(&str, &str, Rule); 18] = [
    ("I1", "at most one commit per identity", store::one_commit_per_identity),
    ("I2", "all outcomes of an identity are the same bytes", clients::same_bytes),
    ("I3", "what was replied is in the store", clients::replied_is_stored),
    ("I4", "another content under a known identity changes nothing", clients::other_content_changes_nothing),
    ("I5", "versions without gap or double", store::versions_are_dense),
    ("I6", "a commit is whole or absent", store::commits_are_whole),
    ("I7", "no commit that nobody sent", clients::commits_were_sent),
    ("I8", "a rejection has no events", store::rejections_have_no_events),
    ("I9", "no decision after a failed look-up", inside::no_decision_after_a_failed_look_up),
    ("I10", "fold = live state = snapshot + tail; re-deciding agrees", fold::folds_and_decides_again),
    ("I11", "the hash chain holds", store::chain_holds),
    ("I12", "the index agrees up to its checkpoint", fold::index_agrees),
    ("I13", "real-time order per aggregate", clients::real_time_order),
    ("I14", "money is neither made nor lost", store::money_is_conserved),
    ("I15", "a fenced writer adds nothing", inside::fenced_writer_adds_nothing),
    ("I16", "acked => in the store, or refused, or quarantined", inside::acked_is_settled),
    ("I17", "nobody is shown another principal's outcome", clients::nobody_sees_anothers_outcome),
    ("I18", "the feed is the store, number by number", feed::feed_is_store),
];

/// The names of the invariants that are checked.
pub fn invariants() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, ..)| *name)
}

/// Judges a run.
///
/// # Errors
/// The first violation of each invariant that does not hold.
pub fn check(history: &History, evidence: &Evidence<'_>) -> Result<Counts, Vec<Violation>> {
    let batches = batches::batches(history);
    let case = Case::new(history, evidence, &batches);
    let mut counts = Counts::default();
    let mut violations = Vec::new();
    for (number, (invariant, _, rule)) in RULES.into_iter().enumerate() {
        match rule(&case) {
            Ok(count) => counts.0[number] = count,
            Err(what) => violations.push(Violation { invariant, what }),
        }
    }
    if violations.is_empty() { Ok(counts) } else { Err(violations) }
}

/// What the rules look at.
struct Case<'a> {
    history: &'a History,
    evidence: &'a Evidence<'a>,
    /// The commits that can be read, in the store's order.
    records: Vec<Record>,
    /// Why the others cannot.
    unreadable: Vec<String>,
    /// The first record of each identity.
    decided: BTreeMap<Identity, usize>,
    /// By record: the commit of the atomic batch that it belongs to, if that is another.
    head_of: Vec<Option<usize>>,
    batches: &'a BTreeMap<Number, BatchSent>,
    /// Copies of commands, those in batches too.
    sendings: BTreeMap<&'a Identity, Vec<Sending<'a>>>,
    /// Answers, and behind the reply to a batch its entries.
    answers: Vec<Answer<'a>>,
}

/// A copy of a command.
struct Sending<'a> {
    number: Number,
    sent: &'a Sent,
    /// The atomic batch that it is an item of.
    of: Option<&'a Identity>,
}

/// An answer with what it answers, or one entry of it.
struct Answer<'a> {
    at: Number,
    answered: &'a Answered,
    /// The sending that it answers, or the item.
    sent: Option<&'a Sent>,
    /// Whose outcome was asked for, under the name of which aggregate.
    about: Option<(&'a Identity, &'a AggregateId)>,
    /// As it was written.
    bytes: Bytes,
    body: Value,
}

impl Answer<'_> {
    fn status(&self) -> &str {
        self.body["status"].as_str().unwrap_or_default()
    }

    fn is_outcome(&self) -> bool {
        matches!(self.status(), "accepted" | "rejected")
    }

    /// Whether it is the reply to a whole batch.
    fn is_of_batch(&self) -> bool {
        self.body.get("items").is_some()
    }

    fn reason(&self) -> &str {
        self.body["error"]["reason"].as_str().unwrap_or_default()
    }
}

impl<'a> Case<'a> {
    fn new(history: &'a History, evidence: &'a Evidence<'a>, batches: &'a BTreeMap<Number, BatchSent>) -> Case<'a> {
        let mut records = Vec::new();
        let mut unreadable = Vec::new();
        for (index, commit) in evidence.commits.iter().enumerate() {
            match Record::read(commit) {
                Ok(record) => records.push(record),
                Err(why) => unreadable.push(format!("commit {}: {why}", index + 1)),
            }
        }
        let mut decided = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            decided.entry(record.identity.clone()).or_insert(index);
        }
        let mut head_of = vec![None; records.len()];
        for (index, record) in records.iter().enumerate() {
            let followers = head_of.iter_mut().skip(index + 1).take(record.followers().unwrap_or(0));
            followers.for_each(|head| *head = Some(index));
        }
        let mut sendings: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, sent) in history.sendings() {
            sendings.entry(&sent.identity).or_default().push(Sending { number, sent, of: None });
            let Some(batch) = batches.get(&number) else { continue };
            let of = batch.atomic.then_some(&sent.identity);
            for sent in batch.commands() {
                sendings.entry(&sent.identity).or_default().push(Sending { number, sent, of });
            }
        }
        let mut case =
            Case { history, evidence, records, unreadable, decided, head_of, batches, sendings, answers: Vec::new() };
        case.answers = history.answers().flat_map(|(at, answered)| case.read_answer(at, answered)).collect();
        case
    }

    fn read_answer(&self, at: Number, answered: &'a Answered) -> Vec<Answer<'a>> {
        let read = |sent, about, bytes: Bytes| {
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            Answer { at, answered, sent, about, bytes, body }
        };
        let about = asked_about(self.history, answered.to);
        let mut answers = vec![read(self.history.sending(answered.to), about, answered.body.clone())];
        if !answers[0].is_of_batch() {
            return answers;
        }
        let batch = self.batches.get(&answered.to);
        for (index, entry) in batches::entries(&answered.body).unwrap_or_default().into_iter().enumerate() {
            let sent = match batch.map(|batch| batch.items.get(index)) {
                Some(Some(Item::Command(sent))) => Some(sent),
                Some(_) => None,
                // Who asked for it did not say what is in it; somebody has sent it.
                None => self.sent_as(&entry, about.map(|(identity, _)| identity)),
            };
            let about = sent.map(|sent| (&sent.identity, &sent.aggregate));
            answers.push(read(sent.filter(|_| batch.is_some()), about, entry));
        }
        answers
    }

    /// A sending of what an entry is the outcome of.
    fn sent_as(&self, entry: &Bytes, batch: Option<&Identity>) -> Option<&'a Sent> {
        let entry: Value = serde_json::from_slice(entry).ok()?;
        let (key, id) = (Key::parse(entry["key"].as_str()?).ok()?, CommandId::parse(entry["id"].as_str()?).ok()?);
        let identity = Identity { principal: batch?.principal.clone(), key, id };
        self.sendings.get(&identity)?.first().map(|sending| sending.sent)
    }

    /// The atomic batches in the store.
    fn groups(&self) -> impl Iterator<Item = Result<Group<'_>, String>> {
        let heads = (0..self.records.len()).filter(|index| self.records[*index].followers().is_some());
        heads.map(|index| Group::read(self, index))
    }

    /// The atomic batch that is recorded under an identity.
    fn group_of(&self, identity: &Identity) -> Option<Group<'_>> {
        let index = *self.decided.get(identity)?;
        Group::read(self, index).ok()
    }

    fn record_of(&self, identity: &Identity) -> Option<&Record> {
        self.decided.get(identity).map(|index| &self.records[*index])
    }

    /// The answers that are outcomes, and whose.
    fn outcomes(&self) -> impl Iterator<Item = (&Answer<'a>, &'a Identity, &Bytes)> {
        let outcomes = self.answers.iter().filter(|answer| answer.is_outcome());
        outcomes.filter_map(|answer| Some((answer, answer.about?.0, &answer.bytes)))
    }
}

fn asked_about(history: &History, number: Number) -> Option<(&Identity, &AggregateId)> {
    match history.events.get(number)? {
        Event::Sent(sent) => Some((&sent.identity, &sent.aggregate)),
        Event::Asked(asked) => match &asked.about {
            About::Outcome { identity, aggregate } => Some((identity, aggregate)),
            About::State(_) => None,
        },
        _ => None,
    }
}
