//! A processor in a world that is a value: broker, disk, index and clock are in memory and move only when they are told
//! to, so that any order of events can be tried without waiting for it.
//!
//! Publish and ask, then either [`Pure::settle`] everything, or move by single steps: [`Pure::deliver`],
//! [`Pure::look_up`], [`Pure::sync`], [`Pure::note`], [`Pure::tick`], [`Pure::crash`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use hapax::Service;
use hapax::index::{Index, IndexError, MemoryIndex};
use hapax::model::{AggregateId, Commit, Entry, Head, Identity, Position, Snapshot, Timestamp, header};
use hapax::processor::{Answer, BatchNumber, Delivery, Effect, Input, Processor, Question, Ticket, Wanted};
use hapax::serve::lookup::LookUp;
use hapax::store::memory::{MemoryReader, MemoryStore};
use hapax::store::{CommitReader, EventStore, StoreId};
use uuid::Uuid;

/// The store of this world.
pub const STORE: StoreId = StoreId { store: Uuid::nil(), partition: 0, partitions: 1 };

/// What takes inputs and gives effects: the processor, or something around it that falsifies one or the other.
pub trait Core {
    /// Takes one input and says what is to be done.
    fn on(&mut self, input: Input, effects: &mut Vec<Effect>);
}

impl Core for Processor {
    fn on(&mut self, input: Input, effects: &mut Vec<Effect>) {
        Processor::on(self, input, effects);
    }
}

/// The world around one processor.
pub struct Pure {
    service: Arc<Service>,
    wrap: fn(Processor) -> Box<dyn Core>,
    core: Box<dyn Core>,
    store: MemoryStore,
    index: Arc<BreakableIndex>,
    now: Timestamp,
    next_ticket: u64,
    /// Stored by the broker, and not delivered yet.
    waiting: VecDeque<Delivery>,
    /// Delivered, and not acknowledged.
    delivered: Vec<Delivery>,
    loads: VecDeque<(BatchNumber, Wanted)>,
    entries: VecDeque<Vec<Entry>>,
    replies: Vec<Answer>,
    quarantine: Vec<(Delivery, String)>,
    /// Whether [`Pure::settle`] leaves the disk alone: what is appended stays in the page cache.
    pub disk_holds: bool,
}

/// What is left after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The store as far as it is durable, and the index.
    StoreAndIndex,
    /// The store as far as it is durable.
    Store,
}

impl Pure {
    /// An empty world.
    pub fn new(service: Service) -> Pure {
        Pure::with_core(service, |processor| Box::new(processor))
    }

    /// An empty world, in which something may stand around the processor.
    pub fn with_core(service: Service, wrap: fn(Processor) -> Box<dyn Core>) -> Pure {
        let (service, store) = (Arc::new(service), MemoryStore::synced_by_hand(STORE));
        Pure {
            core: wrap(Processor::new(service.clone(), store.tip())),
            service,
            wrap,
            store,
            index: Arc::default(),
            now: Timestamp::parse("2026-11-24T20:15:01Z").unwrap(),
            next_ticket: 0,
            waiting: VecDeque::new(),
            delivered: Vec::new(),
            loads: VecDeque::new(),
            entries: VecDeque::new(),
            replies: Vec::new(),
            quarantine: Vec::new(),
            disk_holds: false,
        }
    }

    /// The broker stores a command: `cmd.<principal>.<aggregate>.<key>.<command>`. Headers that mean nothing to us stay
    /// behind, as they do at the real edge. There is no duplicate window: every copy arrives.
    pub fn publish(&mut self, subject: &str, headers: &[(String, String)], body: Bytes) {
        let rest = subject.strip_prefix("cmd.").expect("the stream takes commands only");
        let ours = |(name, value): &(String, String)| {
            header::OURS.into_iter().find(|our| our == name).map(|our| (our, value.clone()))
        };
        self.next_ticket += 1;
        self.waiting.push_back(Delivery {
            subject: format!("work.000.{rest}"),
            headers: headers.iter().filter_map(ours).collect(),
            body,
            stored_at: self.now,
            ticket: Ticket(self.next_ticket.to_string()),
        });
    }

    /// Delivers what waits as one batch, of at most `max` commands. Whether there was any.
    pub fn deliver(&mut self, max: usize) -> bool {
        let batch: Vec<Delivery> = self.waiting.drain(..max.min(self.waiting.len())).collect();
        self.delivered.extend(batch.iter().cloned());
        let now = self.later();
        !batch.is_empty() && self.on(Input::Delivered(batch, now))
    }

    /// Asks, without looking anything up yet.
    pub fn ask(&mut self, question: Question) {
        let now = self.later();
        self.on(Input::Asked(vec![question], now));
    }

    /// Answers the oldest look-up. Whether there was one.
    pub fn look_up(&mut self) -> bool {
        let Some((number, wanted)) = self.loads.pop_front() else { return false };
        let input = match self.lookup().all(wanted) {
            Ok(found) => Input::Loaded(number, found),
            Err(hapax::serve::lookup::LookUpError::Unavailable(why)) => Input::LoadFailed(number, why),
            Err(hapax::serve::lookup::LookUpError::Fatal(fatal)) => panic!("the process would end: {fatal}"),
        };
        self.on(input)
    }

    /// Makes durable what was appended. Whether there was anything.
    pub fn sync(&mut self) -> bool {
        self.store.sync();
        match self.store.durable().now_or_never() {
            Some(durable) => self.on(Input::Appended(durable.unwrap())),
            None => false,
        }
    }

    /// Notes the oldest entries in the index. Whether there were any.
    pub fn note(&mut self) -> bool {
        let Some(entries) = self.entries.pop_front() else { return false };
        self.index.note(&entries).unwrap();
        let upto = entries.last().expect("an effect is never empty").position;
        self.on(Input::Indexed(upto))
    }

    /// Lets time pass.
    pub fn tick(&mut self, duration: Duration) {
        self.now = self.now.plus(duration);
        self.on(Input::Tick(self.now));
    }

    /// Compares the clocks.
    pub fn check_clock(&mut self, agreement: Result<(), String>) {
        self.on(Input::ClockChecked(agreement));
    }

    /// Whether look-ups fail from now on.
    pub fn break_index(&mut self, broken: bool) {
        self.index.broken.store(broken, Ordering::Relaxed);
    }

    /// Does all there is to do, one command a batch.
    pub fn settle(&mut self) {
        while self.look_up() || (!self.disk_holds && self.sync()) || self.note() || self.deliver(1) {}
    }

    /// Delivers what was not acknowledged once more, as the broker does when `ack_wait` is over.
    pub fn deliver_again(&mut self) {
        for delivery in self.delivered.drain(..).rev() {
            self.waiting.push_front(delivery);
        }
    }

    /// Loses everything that is in memory or not durable, and starts again, perhaps with other code.
    pub fn crash(&mut self, left: Left, service: Service) {
        let durable: Vec<Commit> = self.commits();
        self.store = MemoryStore::synced_by_hand(STORE);
        if left == Left::Store {
            self.index = Arc::default();
        }
        // What was noted before is noted again, which changes nothing.
        self.index.note(&durable.iter().map(Entry::of).collect::<Vec<_>>()).unwrap();
        self.store.append(durable);
        self.store.sync();
        let _what_was_durable_before = self.store.durable().now_or_never();
        self.loads.clear();
        self.entries.clear();
        self.service = Arc::new(service);
        self.core = (self.wrap)(Processor::new(self.service.clone(), self.store.tip()));
        self.deliver_again();
    }

    /// The oldest reply that went to an inbox and was not taken yet.
    pub fn take_reply(&mut self, inbox: &str) -> Option<Answer> {
        let index = self.replies.iter().position(|answer| answer.to == inbox)?;
        Some(self.replies.remove(index))
    }

    /// The time of this world.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The durable commits.
    pub fn commits(&self) -> Vec<Commit> {
        self.store.reader().read(Position::FIRST).collect::<Result<_, _>>().unwrap()
    }

    /// What was put into quarantine, and why.
    pub fn quarantine(&self) -> &[(Delivery, String)] {
        &self.quarantine
    }

    /// Deliveries that are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.delivered.len()
    }

    /// Reads store and index as the processor's look-ups do.
    pub fn lookup(&self) -> LookUp<BreakableIndex, MemoryReader> {
        LookUp { service: self.service.clone(), index: self.index.clone(), reader: self.store.reader() }
    }

    /// A clock that never stands still.
    fn later(&mut self) -> Timestamp {
        self.now = self.now.plus(Duration::from_millis(1));
        self.now
    }

    fn on(&mut self, input: Input) -> bool {
        let mut effects = Vec::new();
        self.core.on(input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Load(number, wanted) => self.loads.push_back((number, wanted)),
                Effect::Append(commits) => self.store.append(commits),
                Effect::Index(entries) => self.entries.push_back(entries),
                Effect::Reply(answer) => self.replies.push(answer),
                Effect::Ack(tickets) => tickets.iter().for_each(|ticket| self.acknowledge(ticket)),
                Effect::Quarantine(delivery, why) => {
                    self.acknowledge(&delivery.ticket);
                    self.quarantine.push((delivery, why));
                }
            }
        }
        true
    }

    fn acknowledge(&mut self, ticket: &Ticket) {
        self.delivered.retain(|delivery| delivery.ticket != *ticket);
    }
}

/// An index in memory whose look-ups fail when they are told to.
#[derive(Debug, Default)]
pub struct BreakableIndex {
    index: MemoryIndex,
    broken: AtomicBool,
}

impl BreakableIndex {
    fn working(&self) -> Result<&MemoryIndex, IndexError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(IndexError::Sled(sled::Error::Io(std::io::Error::other("told to fail"))));
        }
        Ok(&self.index)
    }
}

impl Index for BreakableIndex {
    fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError> {
        self.working()?.position_of(identity)
    }

    fn head(&self, aggregate: &AggregateId) -> Result<Option<Head>, IndexError> {
        self.working()?.head(aggregate)
    }

    fn snapshot(&self, aggregate: &AggregateId) -> Result<Option<Snapshot>, IndexError> {
        self.working()?.snapshot(aggregate)
    }

    fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        self.index.note(entries)
    }
}
