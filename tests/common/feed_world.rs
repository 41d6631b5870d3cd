//! The stream of a feed in memory, and the processor's part of it, moved by single steps. What else may happen to messages on
//! their way is tried where the feeder is (`src/nats/feed`); here it is about the store that is fed.

use std::collections::VecDeque;

use hapax::Position;
use hapax::model::{ChainHash, Commit};
use hapax::nats::feed::{Answer, Estranged, Feeder, Next, Stand};
use hapax::store::file::FileReader;
use hapax::store::{CommitReader, ReadError};

use super::ended::{Ended, Step};
use super::feed::Fed;

/// Commits that are published at once, unless an atomic batch needs more.
const SHEAF: usize = 5;

/// What says what is fed next: the feeder, or something around it that is wrong.
pub trait Feeds {
    /// The feeder that is shipped.
    fn right(&self) -> &Feeder;

    /// The same, to be changed.
    fn right_mut(&mut self) -> &mut Feeder;

    fn next(&self, durable: Option<Position>) -> Next {
        self.right().next(durable)
    }

    fn published(&mut self, upto: Position) {
        self.right_mut().published(upto);
    }

    fn answered(&mut self, answer: Answer) {
        self.right_mut().answered(answer);
    }

    fn stands(&mut self, stand: &Stand, store: Option<Position>, ours: Option<ChainHash>) -> Result<(), Estranged> {
        self.right_mut().stands(stand, store, ours)
    }

    fn doubt(&mut self) {
        self.right_mut().doubt();
    }

    /// The process has ended, and with it what is in memory.
    fn died(&mut self) {
        *self.right_mut() = Feeder::new();
    }

    /// What a sheaf says must be the last message before it; `None`: it says nothing.
    fn condition(&self, from: Position) -> Option<u64> {
        Some(from.get() - 1)
    }

    /// Whether a sheaf may end within an atomic batch.
    fn divides_batches(&self) -> bool {
        false
    }
}

impl Feeds for Feeder {
    fn right(&self) -> &Feeder {
        self
    }

    fn right_mut(&mut self) -> &mut Feeder {
        self
    }
}

/// What happens to a sheaf on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Acknowledged,
    /// It arrives, and its acknowledgement does not.
    Unacknowledged,
    /// It arrives when nobody waits for it any more.
    Late,
    Lost,
}

/// Commits that are stored as a whole or not at all.
struct Sheaf {
    condition: Option<u64>,
    messages: Vec<Fed>,
    /// Whether it ends within an atomic batch.
    is_torn: bool,
}

pub struct FeedWorld {
    pub stream: Vec<Fed>,
    feeder: Box<dyn Feeds>,
    /// Nothing more is fed, since the stream is not this store's.
    is_estranged: bool,
    late: VecDeque<Sheaf>,
    /// What is appended and not durable, as far as the feed is shown that.
    written: Vec<Commit>,
    /// How many sheaves of the feeder were refused since one was stored, without those that came late: their refusal tells
    /// nothing about where the feeder goes on.
    refused_in_a_row: u32,
    /// Where the stream could be read while it ended within an atomic batch.
    pub torn_at: Option<usize>,
    /// How many sheaves came late, and how many were refused.
    pub late_sheaves: u64,
    pub refused_sheaves: u64,
}

impl FeedWorld {
    pub fn new(feeder: Box<dyn Feeds>) -> FeedWorld {
        FeedWorld {
            stream: Vec::new(),
            feeder,
            is_estranged: false,
            late: VecDeque::new(),
            written: Vec::new(),
            refused_in_a_row: 0,
            torn_at: None,
            late_sheaves: 0,
            refused_sheaves: 0,
        }
    }

    /// The last position of the stream, which the store must have.
    pub fn last(&self) -> Option<Position> {
        Position::new(self.stream.len() as u64)
    }

    /// The process has ended.
    pub fn die(&mut self) {
        self.feeder.died();
        self.is_estranged = false;
        self.written.clear();
    }

    /// Shows the feed what is appended, and not durable yet.
    pub fn show_written(&mut self, commits: &[Commit]) {
        self.written.extend_from_slice(commits);
    }

    /// The broker has lost the end, of which no atomic batch is torn.
    pub fn lose_end(&mut self, messages: usize) -> bool {
        let mut left = self.stream.len().saturating_sub(messages);
        while 0 < left && left < self.stream.len() && !self.is_whole(left) {
            left -= 1;
        }
        let is_less = left < self.stream.len();
        self.stream.truncate(left);
        self.feeder.doubt();
        is_less
    }

    /// Whether no atomic batch is half in so many messages.
    fn is_whole(&self, messages: usize) -> bool {
        let mut owed = 0_u32;
        for fed in &self.stream[..messages] {
            let hash = fed.chain_hash.parse().expect("it is one of ours");
            let commit = Commit::from_json(fed.body.clone(), hash).expect("it is one of ours");
            owed = owed.checked_sub(1).unwrap_or(commit.followers);
        }
        owed == 0
    }

    /// What a start checks.
    pub fn compare(&self, reader: &FileReader) -> Result<(), Ended> {
        let ours = self.last().filter(|last| Some(*last) <= reader.last());
        let ours = ours.map(|last| reader.get(last)).transpose()?.map(|commit| commit.hash);
        self.stand().compare(reader.last(), ours).map_err(|error| Ended::Damage(error.to_string()))
    }

    fn stand(&self) -> Stand {
        let hash = self.stream.last().and_then(|fed| fed.chain_hash.parse().ok());
        Stand { last: self.last(), hash, missing: 0 }
    }

    /// Does what is to be done next. Whether there was anything, and anything will come of it: a feeder that goes on where the
    /// stream does not stand is refused for ever.
    pub fn step(&mut self, reader: &FileReader, way: Way) -> Step {
        if self.is_estranged {
            return Ok(false);
        }
        let written = self.written.last().map(|commit| commit.position);
        let store = reader.last().max(written);
        match self.feeder.next(store) {
            Next::Wait => Ok(false),
            Next::Ask => {
                let ours = self.last().filter(|last| Some(*last) <= store);
                let ours = ours.and_then(|last| self.read(reader, last).next()).transpose()?.map(|commit| commit.hash);
                self.is_estranged = self.feeder.stands(&self.stand(), store, ours).is_err();
                Ok(!self.is_estranged)
            }
            Next::Publish(from) => self.publish(reader, from, way),
        }
    }

    fn publish(&mut self, reader: &FileReader, from: Position, way: Way) -> Step {
        let (mut upto, mut messages, mut owed) = (from, Vec::new(), 0_u32);
        for commit in self.read(reader, from) {
            let commit = commit?;
            upto = commit.position;
            owed = owed.checked_sub(1).unwrap_or(commit.followers);
            messages.push(fed(&commit));
            if SHEAF < messages.len() && (owed == 0 || self.feeder.divides_batches()) {
                break;
            }
        }
        let sheaf = Sheaf { condition: self.feeder.condition(from), messages, is_torn: owed > 0 };
        self.feeder.published(upto);
        let arrived = match way {
            Way::Acknowledged | Way::Unacknowledged => {
                let is_stored = self.store(sheaf);
                self.refused_in_a_row += u32::from(!is_stored);
                is_stored
            }
            Way::Late => {
                self.late.push_back(sheaf);
                false
            }
            Way::Lost => false,
        };
        let sequence = self.stream.len() as u64;
        let is_told = arrived && way == Way::Acknowledged;
        self.feeder.answered(if is_told { Answer::Stored { sequence, duplicate: false } } else { Answer::Unknown });
        Ok(self.refused_in_a_row <= 1)
    }

    /// A sheaf arrives that nobody waits for any more. Whether there was one.
    pub fn late_arrives(&mut self) -> bool {
        let Some(sheaf) = self.late.pop_front() else { return false };
        self.late_sheaves += 1;
        self.store(sheaf);
        true
    }

    /// What the server does.
    fn store(&mut self, sheaf: Sheaf) -> bool {
        let Sheaf { condition, messages, is_torn } = sheaf;
        if condition.is_some_and(|last| last != self.stream.len() as u64) {
            self.refused_sheaves += 1;
            return false;
        }
        self.refused_in_a_row = 0;
        for message in messages {
            let sequence = self.stream.len() as u64 + 1;
            self.stream.push(Fed { sequence, ..message });
        }
        if is_torn {
            self.torn_at.get_or_insert(self.stream.len());
        }
        true
    }

    /// What the feed sees of the store, from a position on.
    fn read(&self, reader: &FileReader, from: Position) -> impl Iterator<Item = Result<Commit, ReadError>> {
        let durable = reader.last();
        let is_next = move |commit: &&Commit| durable < Some(commit.position) && from <= commit.position;
        reader.read(from).chain(self.written.iter().filter(is_next).cloned().map(Ok))
    }
}

/// A commit as it stands in the feed.
pub fn fed(commit: &Commit) -> Fed {
    let kind = if commit.accepted { "evt" } else { "rej" };
    let aggregate = &commit.command.aggregate;
    Fed {
        sequence: commit.position.get(),
        subject: format!("{kind}.0.{}.{}", aggregate.kind, aggregate.key),
        chain_hash: commit.hash.to_string(),
        traceparent: commit.command.traceparent.clone(),
        body: commit.json().clone(),
    }
}
