//! Several commands in one message. Each for itself: the same way as commands of their own, and one reply. Or all or
//! none: one decision across aggregates, recorded as a group of commits that nothing ever separates.

use std::collections::HashMap;

use bytes::Bytes;

use super::ack::{End, Settled};
use super::guard::{Verdict, guard, rejection_bytes};
use super::intake::{Delivery, Fault};
use super::reply::{self, Answer};
use super::turn::{Recorded, Turn};
use super::{Processor, Resolution, What};
use crate::aggregate::Folded;
use crate::aggregate::service::State;
use crate::model::batch::{Batch, Check, Checked, Group, Item, ItemCommand};
use crate::model::limits::BATCH_OUTCOME_BYTES_MAX;
use crate::model::{
    AggregateId, Command, CommandName, Content, Decision, Identity, Position, RecordedEvent, Refusal, Rejection,
    Timestamp, Version,
};

/// A batch, as it was taken in.
#[derive(Debug)]
pub(super) struct BatchIntent {
    /// Its own identity. Recorded only if it is atomic.
    pub(super) identity: Identity,
    /// Its subject's aggregate: `_batch`, and the key that it went to.
    pub(super) aggregate: AggregateId,
    pub(super) batch: Batch,
    /// Of each of its commands.
    pub(super) not_after: Option<Timestamp>,
    /// Of each of its commands.
    pub(super) traceparent: Option<String>,
    /// What is wrong with it besides.
    pub(super) fault: Option<Refusal>,
    pub(super) reply_to: Option<String>,
    pub(super) delivery: Delivery,
}

impl BatchIntent {
    /// Under which identity one of its commands is recorded.
    pub(super) fn identity_of(&self, item: &ItemCommand) -> Identity {
        Identity { principal: self.identity.principal.clone(), key: item.aggregate.key.clone(), id: item.id.clone() }
    }

    fn command(&self, item: &ItemCommand) -> (Command, Option<Fault>) {
        let (data, fault) = match &item.data {
            Ok(data) => (data.clone(), None),
            Err(refusal) => ("{}".into(), Some(Fault { refusal: refusal.clone(), in_content: true })),
        };
        let command = Command {
            identity: self.identity_of(item),
            aggregate: item.aggregate.clone(),
            name: item.name.clone(),
            data,
            expected: item.expected,
            not_after: self.not_after,
            traceparent: self.traceparent.clone(),
        };
        (command, fault)
    }
}

/// What comes of an atomic batch.
enum Plan {
    /// Recorded: each item's part, in order.
    Decided(Vec<Part>),
    /// Nothing is recorded.
    Refused(Refusal),
    /// An item could not be decided now.
    Unavailable(String),
    /// The code of an item's aggregate panicked.
    Panicked(Refusal),
}

/// An item's part of an atomic batch.
#[expect(clippy::large_enum_variant, reason = "nearly every item is a command")]
enum Part {
    Command(Command, Result<(Vec<RecordedEvent>, Box<dyn State>), Rejection>),
    Check(Checked),
}

impl Part {
    fn is_fine(&self) -> bool {
        match self {
            Part::Command(_, decision) => decision.is_ok(),
            Part::Check(checked) => checked.holds(),
        }
    }
}

impl Processor {
    pub(super) fn answer_batch(&mut self, intent: BatchIntent, turn: &Turn) {
        if intent.batch.atomic { self.answer_atomic(intent, turn) } else { self.answer_each(intent, turn) }
    }

    /// Each for itself: known ones are replayed, so that a sender simply sends the whole batch again.
    fn answer_each(&mut self, intent: BatchIntent, turn: &Turn) {
        let (mut computed_from, mut bytes) = (None, 0);
        let (mut panicked, mut refused, mut unavailable) = (None, None, false);
        let mut entries = Vec::with_capacity(intent.batch.items.len());
        // Of what was decided: a refusal speaks of this copy only.
        let (mut is_recorded, mut replayed) = (false, true);
        for (index, item) in intent.batch.items.iter().enumerate() {
            let Item::Command(item) = item else { continue }; // Checks are read in atomic batches only.
            let (command, mut fault) = intent.command(item);
            if let Some(refusal) = &intent.fault {
                fault.get_or_insert(Fault { refusal: refusal.clone(), in_content: false });
            }
            let resolution = if bytes > BATCH_OUTCOME_BYTES_MAX {
                let why = "the outcomes of this batch are large; send it again for the rest";
                Resolution { computed_from: None, what: What::Unavailable(why.into()) }
            } else if !self.partition.owns(&item.aggregate.key) {
                let refusal = Refusal::other_partition(&item.aggregate.key);
                Resolution { computed_from: None, what: What::Refused(refusal) }
            } else {
                self.resolve(command, fault, intent.delivery.stored_at, turn)
            };
            computed_from = computed_from.max(resolution.computed_from);
            let refusal = match resolution.what {
                What::Recorded { recorded, replayed: before } => {
                    self.counts.replayed += u64::from(before);
                    (is_recorded, replayed) = (true, replayed && before);
                    // What was recorded before is in memory anyhow, and sending again must come to an end.
                    bytes += if before { 0 } else { recorded.commit.outcome_json().len() };
                    entries.push(reply::BatchEntry::Recorded(recorded.commit.outcome_json().clone()));
                    continue;
                }
                What::Refused(refusal) => {
                    refused.get_or_insert_with(|| format!("commands[{index}]: {}", refusal.message));
                    refusal
                }
                What::Panicked(refusal) => {
                    panicked.get_or_insert_with(|| format!("commands[{index}]: {}", refusal.message));
                    refusal
                }
                What::Unavailable(why) => {
                    unavailable = true;
                    Refusal::unavailable(why)
                }
            };
            self.counts.refused += 1;
            entries.push(reply::BatchEntry::Refused(item.id.clone(), refusal));
        }
        let BatchIntent { identity, reply_to, delivery, .. } = intent;
        let nobody_hears = reply_to.is_none();
        let answer = reply_to.map(|to| Answer {
            to,
            body: reply::batch(&identity.id, &entries),
            replayed: is_recorded && replayed,
        });
        let end = match (panicked, refused) {
            (Some(why), _) => self.put_aside(delivery, why),
            // As with commands of their own: nobody can be told, so the broker sends it again, or somebody looks at it.
            _ if nobody_hears && unavailable => End::Leave,
            (None, Some(why)) if nobody_hears => self.put_aside(delivery, why),
            (None, _) => End::Ack(delivery.ticket),
        };
        self.settle(computed_from, Settled { answer, end });
    }

    /// All or none.
    fn answer_atomic(&mut self, intent: BatchIntent, turn: &Turn) {
        let resolution = self.resolve_atomic(&intent, turn);
        let BatchIntent { identity, reply_to, delivery, .. } = intent;
        self.finish(&identity.id, reply_to, delivery, resolution);
    }

    fn resolve_atomic(&mut self, intent: &BatchIntent, turn: &Turn) -> Resolution {
        let at_once = |what| Resolution { computed_from: None, what };
        match self.recorded(&intent.identity, turn) {
            Err(why) => return at_once(What::Unavailable(why)),
            Ok(Some(recorded)) => {
                let computed_from = recorded.last();
                let what = if recorded.commit.command.name.is_void() || recorded.is(&intent.batch) {
                    What::Recorded { recorded, replayed: true }
                } else {
                    let Command { name, aggregate, .. } = &recorded.commit.command;
                    What::Refused(Refusal::id_reused(format_args!("{name} to {aggregate}")))
                };
                return Resolution { computed_from: Some(computed_from), what };
            }
            Ok(None) => {}
        }
        if let Some(fault) = &intent.fault {
            return at_once(What::Refused(fault.clone()));
        }
        if let Some(why) = &self.clock_fault {
            return at_once(What::Unavailable(why.clone()));
        }
        let time = self.ledger.time(turn.now, intent.delivery.stored_at);
        let computed_from = self.ledger.last();
        let what = match self.plan(intent, time, turn) {
            Plan::Decided(parts) => return self.record_group(intent, parts, time),
            Plan::Refused(refusal) => What::Refused(refusal),
            Plan::Unavailable(why) => What::Unavailable(why),
            Plan::Panicked(refusal) => What::Panicked(refusal),
        };
        Resolution { computed_from, what }
    }

    /// Decides its items one after the other, each on the state that those before it would leave.
    fn plan(&mut self, intent: &BatchIntent, time: Timestamp, turn: &Turn) -> Plan {
        let mut states: HashMap<AggregateId, Folded> = HashMap::new();
        let mut parts = Vec::with_capacity(intent.batch.items.len());
        let mut bytes = 0;
        for (index, item) in intent.batch.items.iter().enumerate() {
            let (Item::Command(ItemCommand { aggregate, .. }) | Item::Check(Check { aggregate, .. })) = item;
            if !self.partition.owns(&aggregate.key) {
                return Plan::Refused(Refusal::other_partition(&aggregate.key).of_item(index));
            }
            if !self.service.serves(&aggregate.kind) {
                return Plan::Refused(self.not_served(aggregate).of_item(index));
            }
            if !states.contains_key(aggregate) {
                let Some(folded) = self.live.get(aggregate) else {
                    return Plan::Unavailable(turn.why_not_folded(aggregate));
                };
                states.insert(aggregate.clone(), folded.clone());
            }
            let folded = states.get_mut(aggregate).expect("it was just put there");
            let item = match item {
                Item::Check(check) => {
                    parts.push(Part::Check(Checked::new(index, check, folded.version)));
                    continue;
                }
                Item::Command(item) => item,
            };
            let (command, fault) = intent.command(item);
            match self.recorded(&command.identity, turn) {
                Err(why) => return Plan::Unavailable(why),
                Ok(Some(known)) => {
                    let Command { name, aggregate, .. } = &known.commit.command;
                    let known = format_args!("{name} to {aggregate}, outside this batch");
                    return Plan::Refused(Refusal::id_reused(known).of_item(index));
                }
                Ok(None) if command.identity == intent.identity => {
                    let message = "this is the batch's own id; an item needs one of its own";
                    return Plan::Refused(Refusal::malformed(format!("commands[{index}].id"), message));
                }
                Ok(None) => {}
            }
            if let Some(fault) = fault {
                return Plan::Refused(fault.refusal.of_item(index));
            }
            let decision = match guard(folded, &command, time) {
                Verdict::Accepted { events, next } => {
                    bytes += events.iter().map(|event| event.data.get().len()).sum::<usize>();
                    if bytes > BATCH_OUTCOME_BYTES_MAX {
                        Err(Rejection::outcome_too_large(bytes, BATCH_OUTCOME_BYTES_MAX))
                    } else {
                        folded.state = next.clone();
                        folded.version.0 += events.len() as u64;
                        Ok((events, next))
                    }
                }
                Verdict::Rejected(rejection) => {
                    bytes += rejection_bytes(&rejection);
                    let is_too_large = bytes > BATCH_OUTCOME_BYTES_MAX;
                    let too_large = || Rejection::outcome_too_large(bytes, BATCH_OUTCOME_BYTES_MAX);
                    Err(if is_too_large { too_large() } else { rejection })
                }
                Verdict::Refused(refusal) => return Plan::Refused(refusal.of_item(index)),
                Verdict::Panicked(panic) => return Plan::Panicked(Refusal::decide_panicked(&panic).of_item(index)),
            };
            parts.push(Part::Command(command, decision));
        }
        Plan::Decided(parts)
    }

    /// The commit of the batch, and behind it one for each of its commands.
    fn record_group(&mut self, intent: &BatchIntent, parts: Vec<Part>, time: Timestamp) -> Resolution {
        let accepted = parts.iter().all(Part::is_fine);
        let checks = parts.iter().filter_map(|part| match part {
            Part::Check(checked) => Some(checked.clone()),
            Part::Command(..) => None,
        });
        let group = Group {
            commands: u32::try_from(intent.batch.command_count()).expect("a batch has a thousand items"),
            checks: checks.collect(),
        };
        let head = Command {
            identity: intent.identity.clone(),
            aggregate: intent.aggregate.clone(),
            name: CommandName::run(),
            data: group.to_json(),
            expected: None,
            not_after: intent.not_after,
            traceparent: intent.traceparent.clone(),
        };
        let decision =
            if accepted { Decision::Accepted(Vec::new()) } else { Decision::Rejected(Rejection::batch_aborted()) };
        let commit = self.record(head, decision, Version(0), None, time);
        let mut followers = Vec::with_capacity(intent.batch.items.len());
        for part in parts {
            let Part::Command(command, decision) = part else { continue };
            followers.push(match decision {
                Ok((events, next)) if accepted => self.accept(command, events, next, time),
                Ok(_) => self.reject(command, Rejection::batch_aborted(), time),
                Err(rejection) => self.reject(command, rejection, time),
            });
        }
        let recorded = Recorded { commit, followers };
        self.tell_waiters(&recorded);
        Resolution { computed_from: Some(recorded.last()), what: What::Recorded { recorded, replayed: false } }
    }
}

impl Recorded {
    /// Whether it is this batch: the same commands and checks, in the same order.
    pub(super) fn is(&self, batch: &Batch) -> bool {
        let head = &self.commit.command;
        let Some(group) = head.is_batch().then(|| Group::from_json(&head.data).ok()).flatten() else { return false };
        let (mut commands, mut checks) = (self.followers.iter(), group.checks.iter());
        let same = |(at, item): (usize, &Item)| match item {
            Item::Check(check) => checks.next().is_some_and(|checked| checked.is(at, check)),
            Item::Command(item) => commands.next().is_some_and(|commit| {
                let command = &commit.command;
                let ItemCommand { id, aggregate, name, expected, data } = item;
                let same_content = |data: &Bytes| {
                    command.has_content(&Content { name: name.clone(), expected: *expected, data: data.clone() })
                };
                command.identity.id == *id && command.aggregate == *aggregate && data.as_ref().is_ok_and(same_content)
            }),
        };
        batch.atomic && batch.items.iter().enumerate().all(same) && commands.next().is_none() && checks.next().is_none()
    }

    /// Everything in it that has an identity of its own.
    pub(super) fn parts(&self) -> impl Iterator<Item = Recorded> {
        [self.clone()].into_iter().chain(self.followers.iter().cloned().map(Recorded::from))
    }

    /// The position from which all of it is there.
    pub(super) fn last(&self) -> Position {
        self.followers.last().unwrap_or(&self.commit).position
    }
}
