//! Would today's code decide as it was decided? Every recorded command is decided again, on the state of its time, by the
//! processor that is shipped: a value, so that it can be asked without a broker, a disk or a clock.
//!
//! 1. The state of its time is the fold of what is recorded, whatever today's code would have recorded instead: one
//!    difference does not make all that follow it differ.
//! 2. The delivery is built anew from the commit; an atomic batch from its own commit and those of its commands.
//! 3. A processor that stands behind the commit before takes it in. What it looks up is answered from the fold; every id
//!    is new to it.
//! 4. What it would append is compared with what was appended, byte for byte: the outcomes, and what a batch's checks found.
//!    Events of an older schema are compared in today's form, by value.

use std::sync::Arc;

use bytes::Bytes;

use super::states::States;
use super::timeline::came_of;
use crate::aggregate::{Folded, Service};
use crate::model::batch::{Checked, Group};
use crate::model::error::caught;
use crate::model::groups::{GroupError, Groups};
use crate::model::item;
use crate::model::json::same_value;
use crate::model::outcome::Reply;
use crate::model::partition::PartitionNumber;
use crate::model::subject::CommandSubject;
use crate::model::{AggregateId, Command, CommandId, Commit, Decision, Newest, Refusal, Timestamp, header};
use crate::processor::{Delivery, Effect, Found, Input, Processor, Ticket};
use crate::store::{StoreId, Tip};

/// Decides commits again, one after the other, from the first. It holds the state of every aggregate.
#[derive(Debug)]
pub struct Redecider {
    partition: PartitionNumber,
    states: States,
    /// What the next decision follows.
    tip: Tip,
    groups: Groups,
}

/// One commit, and what today's code makes of it.
#[derive(Debug)]
pub struct Redecided {
    /// As it is recorded.
    pub recorded: Commit,
    /// What would be recorded today, or why nothing would; `None`: the same.
    pub now: Option<Now>,
    /// Whether the aggregate's state behind it would be another one.
    pub state_differs: bool,
    /// Today's code cannot read its events: the aggregate has no state from here on.
    pub unreadable: Option<String>,
}

/// What today's code does with a command that was decided otherwise.
#[derive(Debug)]
pub enum Now {
    /// It decides this.
    Decided(Box<Commit>),
    /// It would not decide it, and nothing would be recorded.
    Refused(Refusal),
}

impl Redecider {
    /// Before the first commit of a partition.
    pub fn new(service: Arc<Service>, id: StoreId) -> Redecider {
        let partition = PartitionNumber { number: id.partition, of: id.partitions };
        Redecider { partition, states: States::new(service), tip: Tip::empty(id), groups: Groups::default() }
    }

    /// The states behind the last commit that was decided again.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// Decides the next commit again. Those of an atomic batch come back together, with the last of them.
    ///
    /// # Errors
    /// [`GroupError`]: an atomic batch in the store is torn.
    pub fn decide(&mut self, commit: Commit) -> Result<Vec<Redecided>, GroupError> {
        let Some(group) = self.groups.take(commit)? else { return Ok(Vec::new()) };
        let mut decided = self.ask(&group).map(Vec::into_iter);
        let redecided = group.into_iter().map(|recorded| {
            let now = match &mut decided {
                Ok(commits) => commits.next().map(|commit| Now::Decided(Box::new(commit))),
                Err(refusal) => Some(Now::Refused(refusal.clone())),
            };
            self.compare(recorded, now)
        });
        Ok(redecided.collect())
    }

    /// What today's processor does with a command or an atomic batch.
    fn ask(&self, group: &[Commit]) -> Result<Vec<Commit>, Refusal> {
        let mut processor = Processor::new(self.states.service().clone(), self.partition, self.tip, Newest::default());
        let mut effects = Vec::new();
        processor.on(Input::Delivered(vec![delivery(group, self.partition.number)], group[0].decided_at), &mut effects);
        if let Some(Effect::Load(number, wanted)) = effects.pop_if(|effect| matches!(effect, Effect::Load(..))) {
            let found = Found {
                commits: wanted.identities.into_iter().map(|identity| (identity, None)).collect(),
                aggregates: wanted.aggregates.into_iter().map(|of| (of.clone(), self.states.get(&of))).collect(),
            };
            processor.on(Input::Loaded(number, found), &mut effects);
        }
        for effect in effects {
            match effect {
                Effect::Append(commits) => return Ok(commits),
                Effect::Reply(answer) => match Reply::from_json(&answer.body) {
                    Ok(Reply::Refused(refusal)) => return Err(refusal),
                    other => return Err(Refusal::unavailable(format_args!("an unexpected answer: {other:?}"))),
                },
                _ => {}
            }
        }
        Err(Refusal::unavailable("the processor says nothing"))
    }

    fn compare(&mut self, recorded: Commit, now: Option<Now>) -> Redecided {
        let now = now.filter(|now| !now.is(&recorded, self.states.service()));
        let before = now.as_ref().map(|_| self.states.get(&recorded.command.aggregate));
        let unreadable = self.states.apply(&recorded).err();
        self.tip = Tip::of(&recorded);
        let state_differs = match (&now, before) {
            (Some(now), Some(before)) => self.state_differs(&recorded, now, before),
            _ => false,
        };
        Redecided { recorded, now, state_differs, unreadable }
    }

    /// Whether the state behind a commit would be another one.
    fn state_differs(&self, recorded: &Commit, now: &Now, before: Result<Folded, String>) -> bool {
        let Now::Decided(commit) = now else { return recorded.event_count > 0 };
        let aggregate = &recorded.command.aggregate;
        let (Ok(mut folded), Ok(after)) = (before, self.states.get(aggregate)) else { return false };
        if folded.apply(commit).is_err() {
            return true;
        }
        let snapshot = self.states.service().snapshot(aggregate, &after);
        snapshot.and_then(|after| self.states.service().agrees(aggregate, &after, &folded)) == Some(false)
    }
}

impl Now {
    /// Whether it is what was recorded: byte for byte, or by value if an event has another schema today.
    fn is(&self, recorded: &Commit, service: &Service) -> bool {
        let Now::Decided(commit) = self else { return false };
        let same_outcome = commit.outcome_json() == recorded.outcome_json()
            || in_todays_form(recorded, service).is_some_and(|outcome| same_value(commit.outcome_json(), &outcome));
        same_outcome && commit.command.data == recorded.command.data
    }

    /// In a few words.
    pub fn text(&self) -> String {
        match self {
            Now::Decided(commit) => match commit.outcome() {
                Ok(outcome) => came_of(&commit.command, &outcome.decision),
                Err(error) => error.to_string(),
            },
            Now::Refused(refusal) => refusal.to_string(),
        }
    }

    /// As JSON: the outcome, or the refusal.
    pub fn to_json(&self, id: &CommandId) -> Bytes {
        match self {
            Now::Decided(commit) => commit.outcome_json().clone(),
            Now::Refused(refusal) => refusal.to_json(Some(id)).into(),
        }
    }
}

/// A recorded outcome with its events as today's code reads them; `None`: they are so, or it cannot read them.
fn in_todays_form(recorded: &Commit, service: &Service) -> Option<Vec<u8>> {
    let mut outcome = recorded.outcome().ok()?;
    let Decision::Accepted(events) = &mut outcome.decision else { return None };
    let mut is_older = false;
    for event in events {
        let today = caught(|| service.upcast(&outcome.aggregate.kind, event)).ok()??.ok()?;
        is_older |= today.schema != event.schema;
        *event = today;
    }
    if is_older { serde_json::to_vec(&outcome).ok() } else { None }
}

/// The message that asks for what was recorded, as the stream would hand it out.
fn delivery(group: &[Commit], partition: u32) -> Delivery {
    let command = &group[0].command;
    let principal = &command.identity.principal;
    let subject = CommandSubject {
        principal: principal.clone(),
        aggregate: command.aggregate.clone(),
        name: command.name.clone(),
    };
    let id = command.identity.id.as_str();
    let mut headers = vec![(header::REPLY_TO, format!("_INBOX.{principal}.again"))];
    if command.name.is_void() {
        // What is recorded is the id that it settles. Its own is not, and any other will do.
        let own = ["a-void-decided-again", "a-void-decided-again-too"].into_iter().find(|own| *own != id);
        headers.push((header::ID, own.expect("two are not the same").to_owned()));
        headers.push((header::VOID, id.to_owned()));
    } else {
        headers.push((header::ID, id.to_owned()));
    }
    headers.extend(command.expected.map(|version| (header::EXPECTED_VERSION, version.to_string())));
    headers.extend(command.not_after.map(|time| (header::NOT_AFTER, time.to_string())));
    headers.extend(command.traceparent.clone().map(|parent| (header::TRACEPARENT, parent)));
    let body = if command.is_batch() { batch_body(group) } else { command.data.clone() };
    // The time of the decision comes as the edge's clock: the stream's own, which is earlier, is not recorded.
    let (stored_at, ticket) = (Timestamp::EPOCH, Ticket(String::new()));
    Delivery { subject: subject.as_stored(partition), headers, body, stored_at, ticket }
}

/// The body of an atomic batch: its commands are the commits behind its own, its checks are in that. Never longer than the
/// one that was sent, so that it fits again: it leaves out what may be left out.
fn batch_body(group: &[Commit]) -> Bytes {
    let [head, followers @ ..] = group else { return Bytes::new() };
    let checks = Group::from_json(&head.command.data).map(|group| group.checks).unwrap_or_default();
    let item = |commit: &Commit| {
        let Command { identity, aggregate, name, expected, data, .. } = &commit.command;
        item::command(&identity.id, aggregate, name, *expected, data).expect("what is recorded is JSON")
    };
    let mut items: Vec<_> = followers.iter().map(item).collect();
    for Checked { at, aggregate, key, version, .. } in checks {
        items.insert(at.min(items.len()), item::check(&AggregateId { kind: aggregate, key }, version));
    }
    item::body(true, items.iter().map(String::as_str)).into()
}
