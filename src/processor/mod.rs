//! One command's way: intake, dedupe, guard, append, index, reply, ack. A value: input in, effects out.
//!
//! ```text
//! Delivered ─► intake ─► Load ─► Loaded ─► dedupe ─► guard ─► append ─► Appended ─► index, reply, ack
//! ```
//!
//! No I/O, no clock, no thread, no await, so that a simulation can run it from one seed. Read first, decide after: what
//! was taken in at once, a turn, emits one [`Effect::Load`] with all ids and aggregates that memory does not know, and is
//! decided when that returns. While its commits are on their way to the disk, the next turn is decided on the speculative
//! state; nothing of it is visible before its own position is durable.
//!
//! What keeps a command from being decided twice, in three rules:
//! 1. Turns are decided in the order in which they were taken in, and memory wins over what a `Load` found.
//! 2. A commit leaves memory only when it is in the index *and* every turn that was taken in before we knew that has been
//!    decided: an older `Load` may have missed it.
//! 3. An id that is neither in memory nor among what was looked up is looked up (again), unless it is newer than all that
//!    have left memory (`model::Newest`). Absence is always an answer, and a look-up that failed is a refusal, never an
//!    absence (I9).

#![deny(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::sync::Arc;

use crate::aggregate::Service;
use crate::aggregate::service::State;
use crate::model::limits::{
    IN_FLIGHT_COMMANDS_MAX, LIVE_AGGREGATES_MAX, LIVE_BYTES_MAX, UNINDEXED_BYTES_MAX, UNINDEXED_COMMITS_MAX,
};
use crate::model::partition::PartitionNumber;
use crate::model::{
    AggregateId, Command, CommandId, Commit, Decision, Entry, Identity, Newest, Position, RecordedEvent, Refusal,
    Rejection, Timestamp, Version,
};
use crate::store::{Durable, Tip};

// The stages, in their order.
pub mod intake;
mod dedupe;
mod guard;
mod append;
mod index;
pub mod reply;
mod ack;

// What is on that way together, or beside it.
mod turn;
mod batch;
mod question;

// What they remember.
mod live;
mod recent;

#[cfg(test)]
mod tests;

pub use intake::{Delivery, Ticket};
pub use question::{Ask, Question};
pub use reply::Answer;
pub use turn::{Found, Recorded, TurnNumber, Wanted};

use ack::{End, Outbox, Settled};
use append::Ledger;
use dedupe::{Seen, dedupe};
use guard::{Verdict, guard};
use index::Unindexed;
use intake::{Fault, Intake, Intent, intake};
use live::LiveAggregates;
use question::Waiters;
use recent::Recent;
use turn::{Item, Memory, Next, Turn, Turns};

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// The broker delivered messages. `now` is the edge's clock when they were taken in.
    Delivered(Vec<Delivery>, Timestamp),
    /// Somebody asks.
    Asked(Vec<Question>, Timestamp),
    /// A [`Effect::Load`] was answered in full.
    Loaded(TurnNumber, Found),
    /// A [`Effect::Load`] failed: nothing that it asked for is known.
    LoadFailed(TurnNumber, String),
    /// The store holds everything up to here. The only thing that releases replies.
    Appended(Durable<Position>),
    /// The index answers for everything up to here.
    Indexed(Position),
    /// Time has passed, for those who wait.
    Tick(Timestamp),
    /// Whether our clock agrees with the broker's; if not, why nothing is decided.
    ClockChecked(Result<(), String>),
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Effect {
    /// Look all of this up, then say [`Input::Loaded`] or [`Input::LoadFailed`].
    Load(TurnNumber, Wanted),
    /// Append these to the store; they follow the last ones.
    Append(Vec<Commit>),
    /// Note these in the index; their commits are durable.
    Index(Vec<Entry>),
    /// Send this.
    Reply(Answer),
    /// These deliveries are settled.
    Ack(Vec<Ticket>),
    /// Put the delivery aside with the reason, and only then acknowledge it.
    Quarantine(Delivery, String),
}

/// What has come of a command, and the position that must be durable before anybody is told.
#[derive(Debug)]
struct Resolution {
    computed_from: Option<Position>,
    what: What,
}

/// What has come of a command, or of an atomic batch.
#[derive(Debug)]
enum What {
    Recorded {
        recorded: Recorded,
        replayed: bool,
    },
    Refused(Refusal),
    /// It cannot be decided now, and why.
    Unavailable(String),
    /// The aggregate's code panicked; the delivery goes into quarantine.
    Panicked(Refusal),
}

/// Counts of what happened, for health and logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions recorded.
    pub decided: u64,
    /// Copies that got an earlier outcome.
    pub replayed: u64,
    /// Copies that were refused.
    pub refused: u64,
    /// Deliveries whose reply address was not their principal's: not decided, and nobody was told.
    pub silent: u64,
    /// Deliveries put into quarantine.
    pub quarantined: u64,
}

/// The processor of one partition.
#[derive(Debug)]
pub struct Processor {
    service: Arc<Service>,
    partition: PartitionNumber,
    turns: Turns,
    ledger: Ledger,
    recent: Recent,
    live: LiveAggregates,
    unindexed: Unindexed,
    outbox: Outbox,
    waiters: Waiters,
    /// What the index has said it answers for, each with the turn from which on every look-up knew it (rule 2).
    indexed: VecDeque<(TurnNumber, Position)>,
    forgettable: Option<Position>,
    clock_fault: Option<String>,
    counts: Counts,
    /// Commits and settled deliveries of the input at hand.
    appending: Vec<Commit>,
    settled: Vec<Settled>,
}

impl Processor {
    /// A processor that goes on behind `tip`. The index must answer for everything up to it; `newest` is of the ids in it.
    pub fn new(service: Arc<Service>, partition: PartitionNumber, tip: Tip, newest: Newest) -> Processor {
        Processor {
            service,
            partition,
            turns: Turns::default(),
            recent: Recent::new(newest),
            live: LiveAggregates::new(LIVE_AGGREGATES_MAX, LIVE_BYTES_MAX),
            unindexed: Unindexed::default(),
            outbox: Outbox::new(tip.position),
            waiters: Waiters::default(),
            indexed: VecDeque::new(),
            forgettable: tip.position,
            ledger: Ledger::new(tip),
            clock_fault: None,
            counts: Counts::default(),
            appending: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// Takes one input and says what is to be done.
    pub fn on(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Delivered(deliveries, now) => {
                let items = self.take_in(deliveries);
                self.enqueue(items, now, effects);
            }
            Input::Asked(questions, now) => {
                self.enqueue(
                    questions.into_iter().map(|question| Item::Question(Box::new(question))).collect(),
                    now,
                    effects,
                );
            }
            Input::Loaded(number, found) => self.turns.resume(number, |turn| {
                turn.found.commits.extend(found.commits);
                turn.found.aggregates.extend(found.aggregates);
            }),
            Input::LoadFailed(number, why) => self.turns.resume(number, |turn| turn.failed = Some(why)),
            Input::Appended(durable) => {
                self.settled.extend(self.outbox.release(durable));
                let entries = self.unindexed.take_upto(durable.get());
                if !entries.is_empty() {
                    effects.push(Effect::Index(entries));
                }
            }
            Input::Indexed(position) => self.indexed.push_back((self.turns.upcoming(), position)),
            Input::Tick(now) => {
                let as_of = self.ledger.last();
                for answer in self.waiters.expire(now, as_of) {
                    self.say(as_of, answer);
                }
            }
            Input::ClockChecked(agreement) => self.clock_fault = agreement.err(),
        }
        self.decide_ready(effects);
        self.forget();
        self.flush(effects);
    }

    /// Whether one more turn may be taken in.
    pub fn has_room(&self) -> bool {
        self.turns.has_room()
            && self.turns.item_count() + self.outbox.len() < IN_FLIGHT_COMMANDS_MAX
            && self.recent.len() < UNINDEXED_COMMITS_MAX
            && self.recent.bytes() < UNINDEXED_BYTES_MAX
    }

    /// Whether everything taken in is answered and durable. Who attached may still wait.
    pub fn is_idle(&self) -> bool {
        self.turns.is_empty() && self.outbox.len() == 0
    }

    /// Whether somebody waits for a decision, so that time matters.
    pub fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The last position given out, durable or not; `None`: the store is empty.
    pub fn last(&self) -> Option<Position> {
        self.ledger.last()
    }

    /// Reads deliveries; what cannot be read is settled here.
    fn take_in(&mut self, deliveries: Vec<Delivery>) -> Vec<Item> {
        let mut items = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match intake(delivery) {
                Intake::Ask(intent) => items.push(Item::Command(intent)),
                Intake::AskAll(batch) => items.push(Item::Batch(batch)),
                Intake::Refused { refusal, reply_to: Some(reply_to), delivery } => {
                    let answer = Some(reply::refusal(reply_to, &refusal, None));
                    let end = self.refused(delivery);
                    self.settle(None, Settled { answer, end });
                }
                // Nobody can be told, so it is kept for somebody to look at.
                Intake::Refused { refusal, reply_to: None, delivery } => {
                    let end = self.put_aside(delivery, refusal.message);
                    self.settle(None, Settled { answer: None, end });
                }
                Intake::Silent { reply_to, delivery } => {
                    self.counts.silent += 1;
                    // Anybody may send as many as he likes: the log grows with their logarithm.
                    if self.counts.silent.is_power_of_two() {
                        let (so_far, subject) = (self.counts.silent, &delivery.subject);
                        tracing::warn!(
                            so_far,
                            subject,
                            reply_to,
                            "not decided: its reply subject is no inbox of its principal"
                        );
                    }
                    self.settle(None, Settled { answer: None, end: End::Ack(delivery.ticket) });
                }
            }
        }
        items
    }

    fn enqueue(&mut self, items: Vec<Item>, now: Timestamp, effects: &mut Vec<Effect>) {
        if items.is_empty() {
            return;
        }
        let memory = Memory { recent: &self.recent, live: &self.live, service: &self.service };
        if let Some((number, wanted)) = self.turns.enqueue(items, now, memory) {
            effects.push(Effect::Load(number, wanted));
        }
    }

    /// Decides the turns at the front that lack nothing.
    fn decide_ready(&mut self, effects: &mut Vec<Effect>) {
        loop {
            let memory = Memory { recent: &self.recent, live: &self.live, service: &self.service };
            match self.turns.next(memory) {
                None => break,
                Some(Next::Load(number, wanted)) => effects.push(Effect::Load(number, wanted)),
                Some(Next::Decide(turn)) => self.decide(turn),
            }
        }
    }

    fn decide(&mut self, mut turn: Turn) {
        for (aggregate, folded) in std::mem::take(&mut turn.found.aggregates) {
            match folded {
                Ok(folded) => self.live.take_in(aggregate, folded),
                Err(why) => drop(turn.found.aggregates.insert(aggregate, Err(why))),
            }
        }
        for item in std::mem::take(&mut turn.items) {
            match item {
                Item::Command(intent) => self.answer_command(*intent, &turn),
                Item::Batch(intent) => self.answer_batch(*intent, &turn),
                Item::Question(question) => self.answer_question(*question, &turn),
            }
        }
    }

    fn answer_command(&mut self, intent: Intent, turn: &Turn) {
        let Intent { command, fault, reply_to, delivery } = intent;
        let id = command.identity.id.clone();
        let resolution = self.resolve(command, fault, delivery.stored_at, turn);
        self.finish(&id, reply_to, delivery, resolution);
    }

    /// Dedupe before every guard: a retry gets its first outcome even when state, rights or code have moved on.
    fn resolve(&mut self, command: Command, fault: Option<Fault>, stored_at: Timestamp, turn: &Turn) -> Resolution {
        let recorded = match self.recorded(&command.identity, turn) {
            Ok(recorded) => recorded,
            Err(why) => return Resolution { computed_from: None, what: What::Unavailable(why) },
        };
        match dedupe(recorded, &command, fault.as_ref()) {
            Seen::New => self.resolve_new(command, fault, stored_at, turn),
            Seen::Before(recorded) => {
                let computed_from = Some(recorded.last());
                Resolution { computed_from, what: What::Recorded { recorded, replayed: true } }
            }
            Seen::Reused(recorded) => {
                let first = format!("{} to {}", recorded.commit.command.name, recorded.commit.command.aggregate);
                let computed_from = Some(recorded.last());
                Resolution { computed_from, what: What::Refused(Refusal::id_reused(first)) }
            }
        }
    }

    fn resolve_new(&mut self, command: Command, fault: Option<Fault>, stored_at: Timestamp, turn: &Turn) -> Resolution {
        let at_once = |what| Resolution { computed_from: None, what };
        if let Some(fault) = fault {
            return at_once(What::Refused(fault.refusal));
        }
        if let Some(why) = &self.clock_fault {
            return at_once(What::Unavailable(why.clone()));
        }
        let aggregate = &command.aggregate;
        let time = self.ledger.time(turn.now, stored_at);
        let commit = if aggregate.kind.is_batch() && command.name.is_void() {
            self.record(command, Decision::Rejected(Rejection::voided()), Version(0), None, time)
        } else if !self.service.serves(&aggregate.kind) {
            return at_once(What::Refused(self.not_served(aggregate)));
        } else {
            let Some(folded) = self.live.get(aggregate) else {
                return at_once(What::Unavailable(turn.why_not_folded(aggregate)));
            };
            let computed_from = folded.last;
            match guard(folded, &command, time) {
                Verdict::Accepted { events, next } => self.accept(command, events, next, time),
                Verdict::Rejected(rejection) => self.reject(command, rejection, time),
                Verdict::Refused(refusal) => return at_once(What::Refused(refusal)),
                Verdict::Panicked(panic) => {
                    return Resolution { computed_from, what: What::Panicked(Refusal::decide_panicked(&panic)) };
                }
            }
        };
        let recorded = Recorded::from(commit);
        self.tell_waiters(&recorded);
        Resolution { computed_from: Some(recorded.last()), what: What::Recorded { recorded, replayed: false } }
    }

    /// Lets the events have happened, and makes the commit.
    fn accept(
        &mut self,
        command: Command,
        events: Vec<RecordedEvent>,
        next: Box<dyn State>,
        time: Timestamp,
    ) -> Commit {
        let folded = self.live.get(&command.aggregate).expect("it was just decided on");
        let previous = folded.last;
        folded.state = next;
        folded.version.0 += events.len() as u64;
        if !events.is_empty() {
            folded.last = Some(Position::after(self.ledger.last()));
        }
        let version = folded.version;
        self.record(command, Decision::Accepted(events), version, previous, time)
    }

    fn reject(&mut self, command: Command, rejection: Rejection, time: Timestamp) -> Commit {
        let folded = self.live.get(&command.aggregate).expect("it was just decided on");
        let (version, previous) = (folded.version, folded.last);
        self.record(command, Decision::Rejected(rejection), version, previous, time)
    }

    fn record(
        &mut self,
        command: Command,
        decision: Decision,
        version: Version,
        previous: Option<Position>,
        time: Timestamp,
    ) -> Commit {
        let commit = self.ledger.record(command, decision, version, previous, time);
        self.unindexed.add(&commit, &self.service, &mut self.live);
        if commit.event_count > 0 {
            self.live.changed(&commit.command.aggregate, commit.outcome_json().len());
        }
        self.counts.decided += 1;
        self.appending.push(commit.clone());
        self.recent.add(commit.clone());
        commit
    }

    /// Answers everybody who has waited for this.
    fn tell_waiters(&mut self, recorded: &Recorded) {
        if self.waiters.is_empty() {
            return;
        }
        let computed_from = Some(recorded.last());
        for answer in recorded.parts().flat_map(|part| self.waiters.answer(&part)).collect::<Vec<_>>() {
            self.say(computed_from, answer);
        }
    }

    /// Tells the sender of a command, or of an atomic batch, what has come of it.
    fn finish(&mut self, id: &CommandId, reply_to: Option<String>, delivery: Delivery, resolution: Resolution) {
        let Resolution { computed_from, what } = resolution;
        let refused = |refusal: &Refusal| reply_to.clone().map(|to| reply::refusal(to, refusal, Some(id)));
        let (answer, end) = match what {
            What::Recorded { recorded, replayed } => {
                self.counts.replayed += u64::from(replayed);
                (reply_to.map(|to| reply::outcome(to, &recorded, replayed)), End::Ack(delivery.ticket))
            }
            What::Refused(refusal) => {
                let answer = refused(&refusal);
                // Nobody can be told, so it is kept for somebody to look at.
                let end = match answer {
                    Some(_) => self.refused(delivery),
                    None => self.put_aside(delivery, refusal.message),
                };
                (answer, end)
            }
            What::Unavailable(why) => {
                self.counts.refused += 1;
                let answer = refused(&Refusal::unavailable(why));
                // Nobody would hear the refusal and send again, so the broker does: it stays unacknowledged.
                let end = if answer.is_some() { End::Ack(delivery.ticket) } else { End::Leave };
                (answer, end)
            }
            What::Panicked(refusal) => (refused(&refusal), self.put_aside(delivery, refusal.message)),
        };
        self.settle(computed_from, Settled { answer, end });
    }

    /// What is recorded under an id, from memory first.
    fn recorded(&self, identity: &Identity, turn: &Turn) -> Result<Option<Recorded>, String> {
        if let Some(recorded) = self.recent.recorded(identity) {
            return Ok(Some(recorded));
        }
        if self.recent.excludes(identity) {
            return Ok(None);
        }
        match turn.found.commits.get(identity) {
            Some(found) => Ok(found.clone()),
            None => Err(turn.failed.clone().unwrap_or_else(|| "the id was not looked up".to_owned())),
        }
    }

    fn not_served(&self, aggregate: &AggregateId) -> Refusal {
        Refusal::unknown_aggregate(aggregate, &self.service.types().collect::<Vec<_>>().join(", "))
    }

    fn refused(&mut self, delivery: Delivery) -> End {
        self.counts.refused += 1;
        End::Ack(delivery.ticket)
    }

    fn put_aside(&mut self, delivery: Delivery, why: String) -> End {
        self.counts.quarantined += 1;
        End::Quarantine(Box::new(delivery), why)
    }

    fn say(&mut self, computed_from: Option<Position>, answer: Answer) {
        self.settle(computed_from, Settled { answer: Some(answer), end: End::Leave });
    }

    fn settle(&mut self, computed_from: Option<Position>, settled: Settled) {
        self.settled.extend(self.outbox.put(computed_from, settled));
    }

    /// Rule 2: what the index answers for leaves memory once every look-up that may have missed it is through.
    fn forget(&mut self) {
        let oldest = self.turns.oldest();
        while let Some((_, position)) = self.indexed.pop_front_if(|(turn, _)| *turn <= oldest) {
            self.forgettable = Some(position);
            self.recent.forget_upto(position);
        }
        self.live.trim(self.forgettable);
    }

    fn flush(&mut self, effects: &mut Vec<Effect>) {
        if !self.appending.is_empty() {
            effects.push(Effect::Append(std::mem::take(&mut self.appending)));
        }
        let mut tickets = Vec::new();
        for Settled { answer, end } in self.settled.drain(..) {
            effects.extend(answer.map(Effect::Reply));
            match end {
                End::Ack(ticket) => tickets.push(ticket),
                End::Quarantine(delivery, why) => effects.push(Effect::Quarantine(*delivery, why)),
                End::Leave => {}
            }
        }
        if !tickets.is_empty() {
            effects.push(Effect::Ack(tickets)); // Behind every reply: a crash between the two is a replay.
        }
    }
}
