//! A processor in a world that is a value: broker, disk, index and clock are in memory and move only when they are told
//! to, so that any order of events can be tried without waiting for it. The processor, the journal and the look-ups are
//! the ones that are shipped.
//!
//! Publish and ask, then either [`Pure::settle`] everything, or move by single steps: [`Pure::deliver`],
//! [`Pure::look_up`], [`Pure::sync`], [`Pure::note`], [`Pure::tick`], [`Pure::die`], [`Pure::start`]. What the processor
//! does is noted in a history.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hapax::Service;
use hapax::index::{Index, IndexError};
use hapax::model::partition::PartitionNumber;
use hapax::model::{AggregateId, Commit, Entry, Identity, Newest, Position, Timestamp, header};
use hapax::nats::feed::Feeder;
use hapax::processor::{Answer, Delivery, Effect, Found, Input, Processor, Question, Ticket, TurnNumber, Wanted};
use hapax::serve::lookup::{LookUp, LookUpError};
use hapax::store::file::disk::Disk;
use hapax::store::file::journal::Journal;
use hapax::store::file::{FileReader, OpenError};
use hapax::store::{CommitReader, StoreId};
use uuid::Uuid;

use super::breakable_index::BreakableIndex;
use super::broker::Broker;
use super::cut_disk::CutDisk;
use super::ended::{Ended, Step};
use super::feed_world::{FeedWorld, Feeds, Way};
use super::history::{Event, History, Number};

/// There is one partition.
const ONLY: PartitionNumber = PartitionNumber { number: 0, of: 1 };

/// The store of this world.
pub const STORE: StoreId = StoreId { store: Uuid::nil(), partition: 0, partitions: 1 };

/// What takes inputs and gives effects: the processor, or something around it that falsifies one or the other.
pub trait Core {
    /// Takes one input and says what is to be done.
    fn on(&mut self, input: Input, effects: &mut Vec<Effect>);

    /// Whether one more batch may be taken in.
    fn has_room(&self) -> bool;
}

impl Core for Processor {
    fn on(&mut self, input: Input, effects: &mut Vec<Effect>) {
        Processor::on(self, input, effects);
    }

    fn has_room(&self) -> bool {
        Processor::has_room(self)
    }
}

/// How a world is made. As it is, nothing is wrong with it.
#[derive(Clone, Copy)]
pub struct Build {
    /// What stands around the processor.
    pub core: fn(Processor) -> Box<dyn Core>,
    /// What stands around the disk.
    pub disk: fn(CutDisk) -> Arc<dyn Disk>,
    /// Whether a start notes in the index what the store has behind it.
    pub catches_up: bool,
    /// Whether a processor is told which ids the index cannot know.
    pub knows_newest: bool,
    /// What stands around the feeder.
    pub feeder: fn(Feeder) -> Box<dyn Feeds>,
    /// Whether the feed is shown what is appended and not durable.
    pub feeds_written: bool,
    /// Whether a start compares the store with the feed.
    pub compares_feed: bool,
    pub segment_bytes_max: u64,
}

impl Default for Build {
    fn default() -> Build {
        let core: fn(Processor) -> Box<dyn Core> = |processor| Box::new(processor);
        Build {
            core,
            disk: |disk| Arc::new(disk),
            catches_up: true,
            knows_newest: true,
            feeder: |feeder| Box::new(feeder),
            feeds_written: false,
            compares_feed: true,
            segment_bytes_max: 64 * 1024,
        }
    }
}

/// The world around one processor.
pub struct Pure {
    service: Arc<Service>,
    build: Build,
    pub disk: CutDisk,
    pub broker: Broker,
    pub history: History,
    index: Arc<BreakableIndex>,
    /// What was noted in the index, in that order.
    noted: Vec<Entry>,
    /// How much of that survives everything.
    checkpoint: usize,
    life: Option<Life>,
    writer: u64,
    pub now: Timestamp,
    /// What the processor's clock is ahead of the broker's, in microseconds.
    pub skew: i64,
    clock: Result<(), String>,
    /// On their way.
    pub replies: Vec<Answer>,
    quarantine: Vec<(Delivery, String)>,
    /// Whether acks get lost.
    pub loses_acks: bool,
    /// How many did.
    pub lost_acks: u64,
    /// Whether the quarantine takes nothing.
    pub quarantine_refuses: bool,
    /// How often it took nothing.
    pub not_put_aside: u64,
    /// Whether [`Pure::settle`] leaves the disk alone: what is appended stays in the page cache.
    pub disk_holds: bool,
    pub feed: FeedWorld,
}

/// What ends with the process.
struct Life {
    core: Box<dyn Core>,
    journal: Journal,
    loads: VecDeque<(TurnNumber, Wanted)>,
    entries: VecDeque<Vec<Entry>>,
    unsynced: bool,
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
    /// A new world, in which the processor runs.
    pub fn new(service: Service) -> Pure {
        Pure::build(service, Build::default())
    }

    /// The same, in which something may be wrong.
    pub fn build(service: Service, build: Build) -> Pure {
        let mut pure = Pure {
            service: Arc::new(service),
            build,
            disk: CutDisk::default(),
            broker: Broker::default(),
            history: History::default(),
            index: Arc::default(),
            noted: Vec::new(),
            checkpoint: 0,
            life: None,
            writer: 0,
            now: Timestamp::parse("2026-11-24T20:15:01Z").unwrap(),
            skew: 0,
            clock: Ok(()),
            replies: Vec::new(),
            quarantine: Vec::new(),
            loses_acks: false,
            lost_acks: 0,
            quarantine_refuses: false,
            not_put_aside: 0,
            disk_holds: false,
            feed: FeedWorld::new((build.feeder)(Feeder::new())),
        };
        pure.start().unwrap();
        pure
    }

    /// The processor starts, from what disk and index hold.
    pub fn start(&mut self) -> Step {
        assert!(self.life.is_none(), "it runs already");
        let fed = if self.build.compares_feed { self.feed.last() } else { None };
        let proven = Position::new(self.checkpoint as u64).max(fed);
        let disk = (self.build.disk)(self.disk.clone());
        let bytes = self.build.segment_bytes_max;
        let journal = Journal::open(disk, Path::new("journal"), STORE, proven, bytes).map_err(|error| match error {
            OpenError::Io { .. } => Ended::Disk(error.to_string()),
            _ => Ended::Damage(error.to_string()),
        })?;
        if self.build.compares_feed {
            self.feed.compare(&journal.reader())?;
        }
        if self.build.catches_up {
            self.catch_up(&journal.reader())?;
        }
        let mut newest = Newest::default();
        self.noted.iter().for_each(|entry| newest.add(&entry.identity.id));
        let told = if self.build.knows_newest { newest } else { Newest::default() };
        let core = (self.build.core)(Processor::new(self.service.clone(), ONLY, journal.tip(), told));
        let (loads, entries) = Default::default();
        self.life = Some(Life { core, journal, loads, entries, unsynced: false });
        self.writer += 1;
        self.history.note(Event::Started { writer: self.writer, newest });
        self.check_clock(self.clock.clone());
        Ok(true)
    }

    /// Notes in the index what the store holds and the index does not.
    fn catch_up(&mut self, reader: &FileReader) -> Result<(), Ended> {
        let next = Position::new(self.noted.len() as u64 + 1).expect("1 was added");
        let commits = reader.read(next).collect::<Result<Vec<Commit>, _>>().map_err(Ended::from)?;
        let entries: Vec<Entry> = commits.iter().map(Entry::of).collect();
        self.note_in_index(entries).map_err(|error| Ended::Index(error.to_string()))
    }

    fn note_in_index(&mut self, entries: Vec<Entry>) -> Result<(), IndexError> {
        self.index.note(&entries)?;
        self.noted.extend(entries);
        Ok(())
    }

    /// The process ends. What it had in memory is gone.
    pub fn die(&mut self) {
        self.feed.die();
        if self.life.take().is_some() {
            self.history.note(Event::Died(self.writer));
        }
    }

    pub fn is_alive(&self) -> bool {
        self.life.is_some()
    }

    /// What a power cut leaves of the index: what was noted up to its checkpoint, and some of the rest.
    pub fn cut_index(&mut self, behind_checkpoint: usize) {
        let left = (self.checkpoint + behind_checkpoint).min(self.noted.len());
        self.noted.truncate(left);
        self.index = Arc::default();
        self.index.note(&self.noted).unwrap();
    }

    /// The index is lost.
    pub fn lose_index(&mut self) {
        (self.noted, self.checkpoint) = Default::default();
        self.index = Arc::default();
    }

    /// What is noted in the index now survives everything.
    pub fn checkpoint(&mut self) -> bool {
        let is_more = self.checkpoint < self.noted.len();
        self.checkpoint = self.noted.len();
        is_more
    }

    /// The broker stores a command: `cmd.<principal>.<aggregate>.<key>.<command>`. Headers that mean nothing to us stay
    /// behind, as they do at the real edge. `window`: copies are absorbed for a while. Whether it was stored.
    pub fn publish(
        &mut self,
        number: Number,
        subject: &str,
        headers: &[(String, String)],
        body: Bytes,
        window: bool,
    ) -> bool {
        let rest = subject.strip_prefix("cmd.").expect("the stream takes commands only");
        let ours = |(name, value): &(String, String)| header::read(name, value);
        let delivery = Delivery {
            subject: format!("work.000.{rest}"),
            headers: headers.iter().filter_map(ours).collect(),
            body,
            stored_at: self.now,
            ticket: Ticket(String::new()),
        };
        let id = headers.iter().find(|(name, _)| window && name == header::ID).map(|(_, value)| value.as_str());
        self.broker.store(number, delivery, id)
    }

    /// Delivers what waits as one batch, of at most `max` commands. Whether there was any.
    pub fn deliver(&mut self, max: usize) -> Step {
        if !self.life.as_ref().is_some_and(|life| life.core.has_room()) {
            return Ok(false);
        }
        let batch = self.broker.deliver(max, self.now);
        let now = self.later();
        if batch.is_empty() { Ok(false) } else { self.on(Input::Delivered(batch, now)) }
    }

    /// Asks, without looking anything up yet. Whether somebody heard it.
    pub fn ask(&mut self, question: Question) -> Step {
        if !self.life.as_ref().is_some_and(|life| life.core.has_room()) {
            return Ok(false);
        }
        let now = self.later();
        self.on(Input::Asked(vec![question], now))
    }

    /// Answers the oldest look-up. Whether there was one.
    pub fn look_up(&mut self) -> Step {
        let Some(life) = &mut self.life else { return Ok(false) };
        let Some((batch, wanted)) = life.loads.pop_front() else { return Ok(false) };
        let mut identities: Vec<Identity> = wanted.identities.iter().cloned().collect();
        identities.sort();
        let writer = self.writer;
        let input = match self.find(&identities, wanted.aggregates) {
            Ok(found) => {
                self.history.note(Event::LookedUp { writer, batch, identities });
                Input::Loaded(batch, found)
            }
            Err(LookUpError::Unavailable(why)) => {
                self.history.note(Event::LookUpFailed { writer, batch, identities });
                Input::LoadFailed(batch, why)
            }
            Err(LookUpError::Fatal(fatal)) => return self.end(fatal.into()),
        };
        self.on(input)
    }

    /// One by one and sorted: which of several errors comes first must not hang on the order of a HashSet.
    fn find(&self, identities: &[Identity], aggregates: HashSet<AggregateId>) -> Result<Found, LookUpError> {
        let lookup = self.lookup();
        let mut found = Found::default();
        let mut aggregates: Vec<AggregateId> = aggregates.into_iter().collect();
        aggregates.sort();
        let identities =
            identities.iter().map(|identity| Wanted { identities: [identity.clone()].into(), ..Wanted::default() });
        let aggregates =
            aggregates.into_iter().map(|aggregate| Wanted { aggregates: [aggregate].into(), ..Wanted::default() });
        for wanted in identities.chain(aggregates) {
            let Found { commits, aggregates } = lookup.all(wanted)?;
            found.commits.extend(commits);
            found.aggregates.extend(aggregates);
        }
        Ok(found)
    }

    /// Does what the feed is to do next; see [`FeedWorld::step`]. What it cannot read ends nothing.
    pub fn feed(&mut self, way: Way) -> Step {
        let Some(life) = &self.life else { return Ok(false) };
        match self.feed.step(&life.journal.reader(), way) {
            Err(Ended::Disk(_)) => Ok(false),
            Err(ended) => self.end(ended),
            step => step,
        }
    }

    /// Makes durable what was appended. Whether there was anything.
    pub fn sync(&mut self) -> Step {
        let Some(life) = self.life.as_mut().filter(|life| life.unsynced) else { return Ok(false) };
        life.unsynced = false;
        match life.journal.sync() {
            Ok(Some(durable)) => self.on(Input::Appended(durable)),
            Ok(None) => Ok(false),
            Err(error) => self.end(Ended::Disk(error.to_string())),
        }
    }

    /// What an idle journal does. Whether there was reason to.
    pub fn state_synced(&mut self) -> Step {
        let Some(life) = self.life.as_mut().filter(|life| life.journal.unstated().is_some()) else { return Ok(false) };
        match life.journal.state_synced() {
            Ok(()) => Ok(true),
            Err(error) => self.end(Ended::Disk(error.to_string())),
        }
    }

    /// Whether the journal's files themselves say that all that is durable is so.
    pub fn is_stated(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.journal.unstated().is_none())
    }

    /// Notes the oldest entries in the index. Whether there were any.
    pub fn note(&mut self) -> Step {
        let Some(entries) = self.life.as_mut().and_then(|life| life.entries.pop_front()) else { return Ok(false) };
        let upto = entries.last().expect("an effect is never empty").position;
        match self.note_in_index(entries) {
            Ok(()) => self.on(Input::Indexed(upto)),
            Err(error) => self.end(Ended::Index(error.to_string())),
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, duration: Duration) -> Step {
        self.now = self.now.plus(duration);
        let now = self.processors_now();
        self.on(Input::Tick(now))
    }

    /// Compares the clocks.
    pub fn check_clock(&mut self, agreement: Result<(), String>) {
        self.clock.clone_from(&agreement);
        let _ends_nothing = self.on(Input::ClockChecked(agreement));
    }

    /// Whether look-ups fail from now on.
    pub fn break_index(&mut self, broken: bool) {
        self.index.break_it(broken);
    }

    /// How often something was looked up in the index so far.
    pub fn index_reads(&self) -> u64 {
        self.index.reads()
    }

    /// Does all there is to do, one command a batch.
    pub fn settle(&mut self) {
        let mut step = || -> Step {
            Ok(self.look_up()? || (!self.disk_holds && self.sync()?) || self.note()? || self.deliver(1)?)
        };
        while step().unwrap_or_else(|ended| panic!("the process would end: {ended:?}")) {}
    }

    /// Loses everything that is in memory or not durable, and starts again, perhaps with other code.
    pub fn crash(&mut self, left: Left, service: Service) {
        self.die();
        self.disk.cut(1);
        if left == Left::Store {
            self.lose_index();
        }
        self.service = Arc::new(service);
        self.start().unwrap();
        self.broker.redeliver_all();
    }

    /// The oldest reply that went to an inbox and was not taken yet.
    pub fn take_reply(&mut self, inbox: &str) -> Option<Answer> {
        let index = self.replies.iter().position(|answer| answer.to == inbox)?;
        Some(self.replies.remove(index))
    }

    /// The durable commits.
    pub fn commits(&self) -> Vec<Commit> {
        self.running().journal.reader().read(Position::FIRST).collect::<Result<_, _>>().unwrap()
    }

    /// What was put into quarantine, and why.
    pub fn quarantine(&self) -> &[(Delivery, String)] {
        &self.quarantine
    }

    /// Reads store and index as the processor's look-ups do.
    pub fn lookup(&self) -> LookUp<BreakableIndex, FileReader> {
        let reader = self.running().journal.reader();
        LookUp { service: self.service.clone(), index: self.index.clone(), reader }
    }

    /// The service, the index, and up to where that must know everything.
    pub fn evidence(&self) -> (&Service, &dyn Index, Option<Position>) {
        (&self.service, &*self.index, Position::new(self.noted.len() as u64))
    }

    fn running(&self) -> &Life {
        self.life.as_ref().expect("the processor runs")
    }

    /// A clock that never stands still.
    fn later(&mut self) -> Timestamp {
        self.now = self.now.plus(Duration::from_millis(1));
        self.processors_now()
    }

    fn processors_now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.now.unix_micros() + self.skew).expect("it stays in our time")
    }

    fn end(&mut self, ended: Ended) -> Step {
        self.die();
        Err(ended)
    }

    fn on(&mut self, input: Input) -> Step {
        let Some(mut life) = self.life.take() else { return Ok(false) };
        let mut effects = Vec::new();
        life.core.on(input, &mut effects);
        let mut failed = None;
        for effect in effects {
            match effect {
                Effect::Load(number, wanted) => life.loads.push_back((number, wanted)),
                Effect::Append(commits) => {
                    life.unsynced = true;
                    failed = life.journal.append(&commits).err().map(|error| Ended::Disk(error.to_string()));
                    if self.build.feeds_written {
                        self.feed.show_written(&commits);
                    }
                    let writer = self.writer;
                    let appended = commits.into_iter().map(|commit| Event::Appended { writer, commit });
                    self.history.events.extend(appended);
                    if failed.is_some() {
                        break;
                    }
                }
                Effect::Index(entries) => life.entries.push_back(entries),
                Effect::Reply(answer) => self.reply(answer),
                Effect::Ack(tickets) => tickets.iter().for_each(|ticket| self.acknowledge(ticket)),
                Effect::Quarantine(delivery, why) => self.put_aside(delivery, why),
            }
        }
        self.life = Some(life);
        failed.map_or(Ok(true), |ended| self.end(ended))
    }

    fn reply(&mut self, answer: Answer) {
        if std::str::from_utf8(&answer.body).is_ok_and(|text| text.contains(REFUSED))
            && let Some(number) = self.broker.sending_with(&answer.to)
        {
            self.history.note(Event::Refused(number));
        }
        self.replies.push(answer);
    }

    fn acknowledge(&mut self, ticket: &Ticket) {
        if self.loses_acks {
            self.lost_acks += 1;
        } else if let Some(number) = self.broker.ack(ticket) {
            self.history.note(Event::Acked(number));
        }
    }

    fn put_aside(&mut self, delivery: Delivery, why: String) {
        if self.quarantine_refuses {
            self.not_put_aside += 1;
            return; // Then it is not acknowledged either.
        }
        if let Some(number) = self.broker.sending_of(&delivery.ticket) {
            self.history.note(Event::Quarantined(number));
        }
        self.acknowledge(&delivery.ticket);
        self.quarantine.push((delivery, why));
    }
}

const REFUSED: &str = r#""status":"refused""#;
