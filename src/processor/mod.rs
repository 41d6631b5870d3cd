//! One command's way: intake, dedupe, guard, append, index, reply, ack. A value: input in, effects out.
//!
//! ```text
//! Delivered ─► intake ─► Load ─► Loaded ─► dedupe ─► guard ─► append ─► Appended ─► index, reply, ack
//! ```
//!
//! No I/O, no clock, no thread, no await, so that a simulation can run it from one seed. Read first, decide after: a
//! batch emits one [`Effect::Load`] with all ids and aggregates that memory does not know, and is decided when that
//! returns. While its commits are on their way to the disk, the next batch is decided on the speculative state; nothing
//! of it is visible before its own position is durable.
//!
//! What keeps a command from being decided twice, in three rules:
//! 1. Batches are decided in the order in which they were delivered, and memory wins over what a `Load` found.
//! 2. A commit leaves memory only when it is in the index *and* every batch that was taken in before we knew that has been
//!    decided: an older `Load` may have missed it.
//! 3. An id that is neither in memory nor among what was looked up is looked up (again). Absence is always an answer, and
//!    a look-up that failed is a refusal, never an absence (I9).

#![deny(clippy::disallowed_methods)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::aggregate::{Folded, Service};
use crate::model::limits::{
    IN_FLIGHT_COMMANDS_MAX, LIVE_AGGREGATES_MAX, LIVE_BYTES_MAX, UNINDEXED_BYTES_MAX, UNINDEXED_COMMITS_MAX,
};
use crate::model::{AggregateId, Commit, Decision, Entry, Identity, Position, Refusal, Timestamp};
use crate::store::{Durable, Tip};

pub mod intake;
mod dedupe;
mod guard;
mod append;
mod index;
pub mod reply;
mod ack;
mod question;
mod live;
mod recent;
#[cfg(test)]
mod tests;

pub use intake::{Delivery, Ticket};
pub use question::{Ask, Question};
pub use reply::Answer;

use ack::{End, Outbox, Settled};
use append::Ledger;
use dedupe::{Seen, dedupe};
use guard::{Verdict, guard};
use index::Unindexed;
use intake::{Intake, Intent, intake};
use live::LiveAggregates;
use question::Waiters;
use recent::Recent;

/// Batches that may be taken in and not decided yet. While the first is decided, the loader has work; many more would only
/// make commands wait here instead of at the broker.
const BATCHES_MAX: usize = 4;

/// What happened outside.
#[derive(Debug)]
pub enum Input {
    /// The broker delivered messages. `now` is the edge's clock when they were taken in.
    Delivered(Vec<Delivery>, Timestamp),
    /// Somebody asks.
    Asked(Vec<Question>, Timestamp),
    /// A [`Effect::Load`] was answered in full.
    Loaded(BatchNumber, Found),
    /// A [`Effect::Load`] failed: nothing that it asked for is known.
    LoadFailed(BatchNumber, String),
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
    Load(BatchNumber, Wanted),
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

/// Which batch.
pub type BatchNumber = u64;

/// What memory does not know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Ids of which the index says whether they are known.
    pub identities: HashSet<Identity>,
    /// Aggregates whose state is to be folded.
    pub aggregates: HashSet<AggregateId>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.aggregates.is_empty()
    }
}

/// What a look-up found: an answer for everything that was wanted.
#[derive(Debug, Default)]
pub struct Found {
    /// The commit of each id; `None`: the index does not know it.
    pub commits: HashMap<Identity, Option<Commit>>,
    /// The state of each aggregate, or why it cannot be folded.
    pub aggregates: HashMap<AggregateId, Result<Folded, String>>,
}

/// What was drained from the broker at once.
#[derive(Debug)]
struct Batch {
    number: BatchNumber,
    items: Vec<Item>,
    now: Timestamp,
    found: Found,
    /// Whether a `Load` is under way for it.
    awaits: bool,
    failed: Option<String>,
}

#[derive(Debug)]
enum Item {
    Command(Box<Intent>),
    Question(Question),
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
    batches: VecDeque<Batch>,
    next_batch: BatchNumber,
    ledger: Ledger,
    recent: Recent,
    live: LiveAggregates,
    unindexed: Unindexed,
    outbox: Outbox,
    waiters: Waiters,
    /// What the index has said it answers for, each with the batch from which on every look-up knew it (rule 2).
    indexed: VecDeque<(BatchNumber, Position)>,
    forgettable: Option<Position>,
    clock_fault: Option<String>,
    counts: Counts,
    /// Commits and settled deliveries of the input at hand.
    appending: Vec<Commit>,
    settled: Vec<Settled>,
}

impl Processor {
    /// A processor that goes on behind `tip`. The index must answer for everything up to it.
    pub fn new(service: Arc<Service>, tip: Tip) -> Processor {
        Processor {
            service,
            batches: VecDeque::new(),
            next_batch: 0,
            recent: Recent::default(),
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
                self.enqueue(questions.into_iter().map(Item::Question).collect(), now, effects);
            }
            Input::Loaded(number, found) => self.resume(number, |batch| {
                batch.found.commits.extend(found.commits);
                batch.found.aggregates.extend(found.aggregates);
            }),
            Input::LoadFailed(number, why) => self.resume(number, |batch| batch.failed = Some(why)),
            Input::Appended(durable) => {
                self.settled.extend(self.outbox.release(durable));
                let entries = self.unindexed.take_upto(durable.get());
                if !entries.is_empty() {
                    effects.push(Effect::Index(entries));
                }
            }
            Input::Indexed(position) => self.indexed.push_back((self.next_batch, position)),
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

    /// Whether one more batch may be taken in.
    pub fn has_room(&self) -> bool {
        let in_flight: usize = self.batches.iter().map(|batch| batch.items.len()).sum();
        self.batches.len() < BATCHES_MAX
            && in_flight + self.outbox.len() < IN_FLIGHT_COMMANDS_MAX
            && self.recent.len() < UNINDEXED_COMMITS_MAX
            && self.recent.bytes() < UNINDEXED_BYTES_MAX
    }

    /// Whether everything taken in is answered and durable. Who attached may still wait.
    pub fn is_idle(&self) -> bool {
        self.batches.is_empty() && self.outbox.len() == 0
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
                Intake::Refused { refusal, reply_to: Some(reply_to), delivery } => {
                    let answer = reply::refusal(reply_to, &refusal, None);
                    self.refuse(None, Some(answer), End::Ack(delivery.ticket));
                }
                // Nobody can be told, so it is kept for somebody to look at.
                Intake::Refused { refusal, reply_to: None, delivery } => {
                    self.quarantine(None, None, delivery, refusal.message);
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

    /// Puts a batch behind the others, and asks at once for what memory lacks: by its turn the answer may be here.
    fn enqueue(&mut self, items: Vec<Item>, now: Timestamp, effects: &mut Vec<Effect>) {
        if items.is_empty() {
            return;
        }
        let number = self.next_batch;
        self.next_batch += 1;
        let mut batch = Batch { number, items, now, found: Found::default(), awaits: false, failed: None };
        let wanted = batch.lacks(&self.recent, &self.live, &self.service);
        if !wanted.is_empty() {
            batch.awaits = true;
            effects.push(Effect::Load(number, wanted));
        }
        self.batches.push_back(batch);
    }

    /// A batch that waited for a look-up goes on.
    fn resume(&mut self, number: BatchNumber, with: impl FnOnce(&mut Batch)) {
        let first = self.batches.front().map_or(number, |batch| batch.number);
        let offset = usize::try_from(number - first).expect("batches under way are few");
        let batch = self.batches.get_mut(offset).expect("a batch leaves only after its look-up has returned");
        assert!(batch.awaits && batch.number == number, "batch {number} did not ask");
        with(batch);
        batch.awaits = false;
    }

    /// Decides the batches at the front that lack nothing.
    fn decide_ready(&mut self, effects: &mut Vec<Effect>) {
        while let Some(batch) = self.batches.front_mut() {
            if batch.awaits {
                break;
            }
            // Looked at again: since it was taken in, memory may have let go of something (rule 3).
            let wanted = batch.lacks(&self.recent, &self.live, &self.service);
            if batch.failed.is_none() && !wanted.is_empty() {
                batch.awaits = true;
                effects.push(Effect::Load(batch.number, wanted));
                break;
            }
            if let Some(batch) = self.batches.pop_front() {
                self.decide(batch);
            }
        }
    }

    fn decide(&mut self, mut batch: Batch) {
        for (aggregate, folded) in std::mem::take(&mut batch.found.aggregates) {
            match folded {
                Ok(folded) => self.live.take_in(aggregate, folded),
                Err(why) => drop(batch.found.aggregates.insert(aggregate, Err(why))),
            }
        }
        for item in std::mem::take(&mut batch.items) {
            match item {
                Item::Command(intent) => self.answer_command(*intent, &batch),
                Item::Question(question) => self.answer_question(question, &batch),
            }
        }
    }

    /// Dedupe before every guard: a retry gets its first outcome even when state, rights or code have moved on.
    fn answer_command(&mut self, intent: Intent, batch: &Batch) {
        let identity = &intent.command.identity;
        let recorded = match self.recorded(identity, batch) {
            Ok(recorded) => recorded,
            Err(why) => return self.unavailable(intent, &why),
        };
        match dedupe(recorded.as_ref(), &intent) {
            Seen::New => self.answer_new(intent, batch),
            Seen::Before(commit) => {
                let answer = intent.reply_to.map(|reply_to| reply::outcome(reply_to, commit, true));
                self.counts.replayed += 1;
                self.settle(Some(commit.position), Settled { answer, end: End::Ack(intent.delivery.ticket) });
            }
            Seen::Reused(commit) => {
                let first = format!("{} to {}", commit.command.name, commit.command.aggregate);
                self.refuse_intent(Some(commit.position), intent, &Refusal::id_reused(first));
            }
        }
    }

    fn answer_new(&mut self, mut intent: Intent, batch: &Batch) {
        if let Some(fault) = intent.fault.take() {
            return self.refuse_intent(None, intent, &fault.refusal);
        }
        if let Some(why) = self.clock_fault.clone() {
            return self.unavailable(intent, &why);
        }
        let aggregate = &intent.command.aggregate;
        if !self.service.serves(&aggregate.kind) {
            let refusal = self.not_served(aggregate);
            return self.refuse_intent(None, intent, &refusal);
        }
        let time = self.ledger.time(batch.now, intent.delivery.stored_at);
        let Some(folded) = self.live.get(aggregate) else {
            let why = batch.why_not_folded(aggregate);
            return self.unavailable(intent, &why);
        };
        let computed_from = folded.last;
        match guard(folded, &intent.command, time) {
            Verdict::Accepted { events, next } => {
                let previous = folded.last;
                folded.state = next;
                folded.version.0 += events.len() as u64;
                if !events.is_empty() {
                    folded.last = Some(Position::after(self.ledger.last()));
                }
                self.record(intent, Decision::Accepted(events), previous, time);
            }
            Verdict::Rejected(rejection) => {
                self.record(intent, Decision::Rejected(rejection), computed_from, time);
            }
            Verdict::Refused(refusal) => self.refuse_intent(None, intent, &refusal),
            Verdict::Panicked(panic) => {
                let refusal = Refusal::decide_panicked(&panic);
                let id = &intent.command.identity.id;
                let answer = intent.reply_to.map(|reply_to| reply::refusal(reply_to, &refusal, Some(id)));
                self.quarantine(computed_from, answer, intent.delivery, refusal.message);
            }
        }
    }

    /// Makes the commit, and answers everybody who asked for it, once it is durable.
    fn record(&mut self, intent: Intent, decision: Decision, previous: Option<Position>, time: Timestamp) {
        let Intent { command, reply_to, delivery, .. } = intent;
        let folded = self.live.get(&command.aggregate).expect("it was just decided on");
        let commit = self.ledger.record(command, decision, folded.version, previous, time);
        self.unindexed.add(&commit, &self.service, folded);
        if commit.event_count > 0 {
            self.live.changed(&commit.command.aggregate, commit.outcome_json().len());
        }
        self.counts.decided += 1;
        let answer = reply_to.map(|reply_to| reply::outcome(reply_to, &commit, false));
        self.settle(Some(commit.position), Settled { answer, end: End::Ack(delivery.ticket) });
        for answer in self.waiters.answer(&commit) {
            self.say(Some(commit.position), answer);
        }
        self.appending.push(commit.clone());
        self.recent.add(commit);
    }

    fn answer_question(&mut self, question: Question, batch: &Batch) {
        let Question { reply_to, ask } = question;
        let refused = |why: &str| reply::refusal(String::new(), &Refusal::unavailable(why), None);
        let (computed_from, answer) = match ask {
            Ask::Outcome { identity, aggregate, content, wait_until } => match self.recorded(&identity, batch) {
                Err(why) => (None, refused(&why)),
                Ok(Some(commit)) => {
                    let answer = question::outcome_for(reply_to.clone(), &aggregate, content.as_ref(), &commit);
                    (Some(commit.position), answer)
                }
                Ok(None) => match wait_until {
                    Some(wait_until) if self.waiters.has_room() => {
                        return self.waiters.add(identity, reply_to, aggregate, content, wait_until);
                    }
                    _ => (self.ledger.last(), reply::unknown(reply_to.clone(), self.ledger.last())),
                },
            },
            Ask::State { aggregate } => match self.live.get(&aggregate) {
                None if !self.service.serves(&aggregate.kind) => {
                    (None, reply::refusal(String::new(), &self.not_served(&aggregate), None))
                }
                None => (None, refused(&batch.why_not_folded(&aggregate))),
                Some(folded) => match reply::state(&aggregate, folded) {
                    None => (None, refused("the state is not JSON")),
                    Some(body) => (folded.last, Answer { to: reply_to.clone(), body, replayed: false }),
                },
            },
        };
        self.say(computed_from, Answer { to: reply_to, ..answer });
    }

    /// The commit of an id, from memory first.
    fn recorded(&self, identity: &Identity, batch: &Batch) -> Result<Option<Commit>, String> {
        if let Some(commit) = self.recent.get(identity) {
            return Ok(Some(commit.clone()));
        }
        match batch.found.commits.get(identity) {
            Some(found) => Ok(found.clone()),
            None => Err(batch.failed.clone().unwrap_or_else(|| "the id was not looked up".to_owned())),
        }
    }

    fn not_served(&self, aggregate: &AggregateId) -> Refusal {
        Refusal::unknown_aggregate(aggregate, &self.service.types().collect::<Vec<_>>().join(", "))
    }

    fn unavailable(&mut self, intent: Intent, why: &str) {
        if intent.reply_to.is_some() {
            self.refuse_intent(None, intent, &Refusal::unavailable(why));
        } else {
            // Nobody would hear the refusal and send again, so the broker does: it stays unacknowledged.
            self.refuse(None, None, End::Leave);
        }
    }

    fn refuse_intent(&mut self, computed_from: Option<Position>, intent: Intent, refusal: &Refusal) {
        let Intent { command, reply_to, delivery, .. } = intent;
        match reply_to {
            Some(reply_to) => {
                let answer = reply::refusal(reply_to, refusal, Some(&command.identity.id));
                self.refuse(computed_from, Some(answer), End::Ack(delivery.ticket));
            }
            // Nobody can be told, so it is kept for somebody to look at.
            None => self.quarantine(computed_from, None, delivery, refusal.message.clone()),
        }
    }

    fn refuse(&mut self, computed_from: Option<Position>, answer: Option<Answer>, end: End) {
        self.counts.refused += 1;
        self.settle(computed_from, Settled { answer, end });
    }

    fn quarantine(&mut self, computed_from: Option<Position>, answer: Option<Answer>, delivery: Delivery, why: String) {
        self.counts.quarantined += 1;
        self.settle(computed_from, Settled { answer, end: End::Quarantine(Box::new(delivery), why) });
    }

    fn say(&mut self, computed_from: Option<Position>, answer: Answer) {
        self.settle(computed_from, Settled { answer: Some(answer), end: End::Leave });
    }

    fn settle(&mut self, computed_from: Option<Position>, settled: Settled) {
        self.settled.extend(self.outbox.put(computed_from, settled));
    }

    /// Rule 2: what the index answers for leaves memory once every look-up that may have missed it is through.
    fn forget(&mut self) {
        let oldest = self.batches.front().map_or(self.next_batch, |batch| batch.number);
        while let Some((_, position)) = self.indexed.pop_front_if(|(batch, _)| *batch <= oldest) {
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

impl Batch {
    /// What neither memory nor this batch's own look-ups know.
    fn lacks(&self, recent: &Recent, live: &LiveAggregates, service: &Service) -> Wanted {
        let mut wanted = Wanted::default();
        for item in &self.items {
            let (identity, aggregate) = item.needs();
            if let Some(identity) = identity
                && recent.get(identity).is_none()
                && !self.found.commits.contains_key(identity)
            {
                wanted.identities.insert(identity.clone());
            }
            if let Some(aggregate) = aggregate
                && !live.contains(aggregate)
                && !self.found.aggregates.contains_key(aggregate)
                && service.serves(&aggregate.kind)
            {
                wanted.aggregates.insert(aggregate.clone());
            }
        }
        wanted
    }

    fn why_not_folded(&self, aggregate: &AggregateId) -> String {
        match (self.found.aggregates.get(aggregate), &self.failed) {
            (Some(Err(why)), _) | (None, Some(why)) => why.clone(),
            _ => "the aggregate was not looked up".to_owned(),
        }
    }
}

impl Item {
    fn needs(&self) -> (Option<&Identity>, Option<&AggregateId>) {
        match self {
            Item::Command(intent) => (Some(&intent.command.identity), Some(&intent.command.aggregate)),
            Item::Question(Question { ask: Ask::Outcome { identity, .. }, .. }) => (Some(identity), None),
            Item::Question(Question { ask: Ask::State { aggregate }, .. }) => (None, Some(aggregate)),
        }
    }
}
