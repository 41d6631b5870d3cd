//! A story's processor in this process: the shipped one, with the shipped look-ups, between a store and an index. Nothing
//! runs beside it; what it says is to be done is done at once.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::home::{Given, Home, Live, Trouble};
use super::message::Message;
use crate::aggregate::Service;
use crate::index::{Index, MemoryIndex};
use crate::model::error::with_sources;
use crate::model::partition::PartitionNumber;
use crate::model::{AggregateId, Commit, Entry, Newest, Position, Timestamp};
use crate::processor::{Answer, Ask, Effect, Input, Processor, Question};
use crate::serve::lookup::{LookUp, LookUpError};
use crate::store::memory::{MemoryReader, MemoryStore};
use crate::store::{CommitReader, EventStore, StoreId, Tip};

const ONLY: PartitionNumber = PartitionNumber { number: 0, of: 1 };
const STORE: StoreId = StoreId { store: uuid::Uuid::nil(), partition: 0, partitions: 1 };

/// What a processor stands on.
pub(super) trait Ground {
    type Store: EventStore;
    type Index: Index;

    fn store(&mut self) -> &mut Self::Store;
    fn reader(&self) -> <Self::Store as EventStore>::Reader;
    fn index(&self) -> Arc<Self::Index>;

    /// Leaves what a `kill -9` leaves, and opens that.
    fn crash(&mut self) -> Result<(), Trouble>;
}

pub(super) struct Machine<G> {
    service: Arc<Service>,
    ground: G,
    tip: Tip,
    processor: Processor,
    replies: Vec<Answer>,
}

impl<G: Ground> Machine<G> {
    /// A processor on an empty ground.
    pub(super) fn new(service: Arc<Service>, ground: G, tip: Tip) -> Machine<G> {
        let processor = Processor::new(service.clone(), ONLY, tip, Newest::default());
        Machine { service, ground, tip, processor, replies: Vec::new() }
    }

    fn processor_behind_the_store(&self) -> Result<Processor, Trouble> {
        let mut newest = Newest::default();
        for commit in self.ground.reader().read(Position::FIRST) {
            newest.add(&commit.map_err(|error| with_sources(&error))?.command.identity.id);
        }
        Ok(Processor::new(self.service.clone(), ONLY, self.tip, newest))
    }

    /// Does all that comes of an input.
    fn on(&mut self, input: Input) -> Result<(), Trouble> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.processor.on(input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Load(number, wanted) => inputs.push_back(match self.look_up().all(wanted) {
                        Ok(found) => Input::Loaded(number, found),
                        Err(LookUpError::Unavailable(why)) => Input::LoadFailed(number, why),
                        Err(LookUpError::Fatal(fatal)) => return Err(with_sources(&fatal)),
                    }),
                    Effect::Append(commits) => inputs.push_back(self.append(commits)?),
                    Effect::Index(entries) => inputs.extend(self.note(&entries)?),
                    Effect::Reply(answer) => self.replies.push(answer),
                    // Nobody delivers anything again: a command that is put aside has had its reply.
                    Effect::Ack(_) | Effect::Quarantine(..) => {}
                }
            }
        }
        Ok(())
    }

    fn look_up(&self) -> LookUp<G::Index, <G::Store as EventStore>::Reader> {
        LookUp { service: self.service.clone(), index: self.ground.index(), reader: self.ground.reader() }
    }

    fn append(&mut self, commits: Vec<Commit>) -> Result<Input, Trouble> {
        self.tip = commits.last().map_or(self.tip, Tip::of);
        let store = self.ground.store();
        store.append(commits);
        let durable = futures::executor::block_on(store.durable());
        durable.map(Input::Appended).map_err(|error| with_sources(&error))
    }

    fn note(&self, entries: &[Entry]) -> Result<Option<Input>, Trouble> {
        self.ground.index().note(entries).map_err(|error| with_sources(&error))?;
        Ok(entries.last().map(|entry| Input::Indexed(entry.position)))
    }

    /// The one answer to an input.
    fn answer(&mut self, input: Input) -> Result<Answer, Trouble> {
        self.replies.clear();
        self.on(input)?;
        match (self.replies.pop(), self.replies.pop()) {
            (Some(answer), None) => Ok(answer),
            (None, _) => Err("the processor has not answered".to_owned()),
            (Some(_), Some(_)) => Err("the processor has answered twice".to_owned()),
        }
    }
}

impl<G: Ground> Home for Machine<G> {
    fn give(&mut self, given: Given) -> Result<(), Trouble> {
        let commit = given.commit(&self.tip, &self.commits()?);
        let entry = Entry::of(&commit);
        self.append(vec![commit])?;
        self.note(&[entry])?;
        // One that goes on behind it: a running one would take it for a gap.
        self.processor = self.processor_behind_the_store()?;
        Ok(())
    }

    fn send(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble> {
        Ok(self.answer(Input::Delivered(vec![message.delivery(now)], now))?.body)
    }

    fn remind(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble> {
        self.send(message, now)
    }

    fn state(&mut self, aggregate: &AggregateId, now: Timestamp) -> Result<Live, Trouble> {
        let question =
            Question { reply_to: "_INBOX.story.state".to_owned(), ask: Ask::State { aggregate: aggregate.clone() } };
        Live::read(&self.answer(Input::Asked(vec![question], now))?.body)
    }

    fn commits(&self) -> Result<Vec<Commit>, Trouble> {
        let commits = self.ground.reader().read(Position::FIRST).collect::<Result<_, _>>();
        commits.map_err(|error| with_sources(&error))
    }

    fn crash(&mut self) -> Result<(), Trouble> {
        self.ground.crash()?;
        self.processor = self.processor_behind_the_store()?;
        Ok(())
    }
}

/// In memory. The store outlives a crash, as a disk does; the index is built anew.
pub(super) struct Memory {
    store: MemoryStore,
    index: Arc<MemoryIndex>,
}

impl Memory {
    /// A processor on nothing.
    pub(super) fn home(service: Arc<Service>) -> Machine<Memory> {
        let ground = Memory { store: MemoryStore::new(STORE), index: Arc::default() };
        Machine::new(service, ground, Tip::empty(STORE))
    }
}

impl Ground for Memory {
    type Store = MemoryStore;
    type Index = MemoryIndex;

    fn store(&mut self) -> &mut MemoryStore {
        &mut self.store
    }

    fn reader(&self) -> MemoryReader {
        self.store.reader()
    }

    fn index(&self) -> Arc<MemoryIndex> {
        self.index.clone()
    }

    fn crash(&mut self) -> Result<(), Trouble> {
        self.index = Arc::default();
        let reader = self.reader();
        let commits = reader.read(Position::FIRST).collect::<Result<Vec<Commit>, _>>();
        let entries = commits.map_err(|error| with_sources(&error))?.iter().map(Entry::of).collect::<Vec<_>>();
        self.index.note(&entries).map_err(|error| with_sources(&error))
    }
}
