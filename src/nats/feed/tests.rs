//! The feeder in a world that loses, repeats and delays: a stream that stores what it is told under the condition that comes
//! with it, connections that end while something is on its way, processes and brokers that die. One seed, one run.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::feeder::{Answer, Estranged, Feeder, Next, Stand};
use crate::model::{ChainHash, Position};

/// A message on its way to the stream.
#[derive(Debug, Clone)]
struct Message {
    position: u64,
    /// What must be the last before it; `None`: inside of a batch.
    expected: Option<u64>,
    /// The batch, and whether this one commits it.
    batch: Option<(u64, bool)>,
    wants_answer: bool,
}

struct World {
    random: StdRng,
    /// How many commits are one with each, by position.
    followers: Vec<u64>,
    durable: u64,
    /// The positions that the stream has, by sequence.
    stream: Vec<u64>,
    /// What is on its way: over the connection that is used now, and over those that nobody listens to any more.
    wires: VecDeque<VecDeque<Message>>,
    /// Halves of batches that the server keeps.
    staged: Vec<(u64, Vec<Message>)>,
    answers: VecDeque<Answer>,
    feeder: Feeder,
    batches: u64,
    /// Whether the server heeds what a message says must be the last before it.
    is_conditional: bool,
    is_faulty: bool,
    /// Whether a broker has lost the end of the stream, so that half of a batch may be left.
    is_lossy: bool,
}

fn hash(position: u64) -> ChainHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&position.to_le_bytes());
    ChainHash(hash)
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let mut followers = Vec::new();
        while followers.len() < 60 {
            let group = if random.gen_bool(0.2) { random.gen_range(1..6) } else { 0 };
            followers.push(group);
            followers.extend(std::iter::repeat_n(0, usize::try_from(group).expect("it is small")));
        }
        World {
            random,
            followers,
            durable: 0,
            stream: Vec::new(),
            wires: VecDeque::from([VecDeque::new()]),
            staged: Vec::new(),
            answers: VecDeque::new(),
            feeder: Feeder::new(),
            batches: 0,
            is_conditional: true,
            is_faulty: true,
            is_lossy: false,
        }
    }

    /// The end of the group that begins at a position, or of the commit alone.
    fn end_of(&self, position: u64) -> u64 {
        position + self.followers[position as usize - 1]
    }

    fn commit(&mut self) {
        if (self.durable as usize) < self.followers.len() {
            self.durable = self.end_of(self.durable + 1);
        }
    }

    fn feed(&mut self) -> Result<(), Estranged> {
        match self.feeder.next(Position::new(self.durable)) {
            Next::Ask => {
                if self.is_faulty && self.random.gen_bool(0.2) {
                    return Ok(()); // It does not answer.
                }
                let last = self.stream.last().copied();
                let sequence = Position::new(self.stream.len() as u64);
                let stand = Stand { last: sequence, hash: last.map(hash), missing: 0 };
                let ours = sequence.filter(|last| last.get() <= self.durable).map(|last| hash(last.get()));
                self.feeder.stands(&stand, Position::new(self.durable), ours)
            }
            Next::Publish(from) => {
                self.publish(from.get());
                Ok(())
            }
            Next::Wait => {
                if let Some(answer) = self.answers.pop_front() {
                    self.feeder.answered(answer);
                } else if self.wires[0].is_empty() && self.feeder.on_their_way() > 0 {
                    self.feeder.answered(Answer::Unknown); // It was waited for long enough.
                }
                Ok(())
            }
        }
    }

    fn publish(&mut self, from: u64) {
        let (size, mut sheaf, mut at) = (self.random.gen_range(1..8), Vec::new(), from);
        while sheaf.len() < size && at <= self.durable {
            let end = self.end_of(at);
            self.batches += 1;
            for position in at..=end {
                let batch = (at < end).then_some((self.batches, position == end));
                let expected = (position == at).then_some(position - 1);
                sheaf.push(Message { position, expected, batch, wants_answer: false });
            }
            at = end + 1;
        }
        let breaks = self.is_faulty && self.random.gen_bool(0.02);
        if breaks {
            sheaf.truncate(self.random.gen_range(0..sheaf.len()));
            self.feeder.doubt();
        } else {
            sheaf.last_mut().expect("something is durable").wants_answer = true;
            self.feeder.published(Position::new(at - 1).expect("it is 1 or more"));
        }
        self.wires[0].extend(sheaf);
    }

    /// A message comes to the server.
    fn deliver(&mut self, wire: usize) {
        let Some(message) = self.wires[wire].pop_front() else { return };
        let stored = self.store(&message);
        if message.wants_answer && wire == 0 && !(self.is_faulty && self.random.gen_bool(0.05)) {
            let sequence = self.stream.len() as u64;
            self.answers.push_back(if stored {
                Answer::Stored { sequence, duplicate: false }
            } else {
                Answer::Unknown
            });
        } else if message.wants_answer && wire == 0 {
            self.answers.push_back(Answer::Unknown); // It was lost.
        }
    }

    fn store(&mut self, message: &Message) -> bool {
        let Some((batch, commits)) = message.batch else {
            return self.store_all(std::slice::from_ref(message));
        };
        if message.expected.is_some() {
            self.staged.push((batch, vec![message.clone()]));
            return false;
        }
        let Some(place) = self.staged.iter().position(|(staged, _)| *staged == batch) else { return false };
        self.staged[place].1.push(message.clone());
        if !commits {
            return false;
        }
        let (_, whole) = self.staged.remove(place);
        let first = whole[0].position;
        let is_whole = whole.iter().zip(first..).all(|(message, position)| message.position == position);
        is_whole && self.store_all(&whole)
    }

    fn store_all(&mut self, messages: &[Message]) -> bool {
        if self.is_conditional && messages[0].expected != Some(self.stream.len() as u64) {
            return false;
        }
        self.stream.extend(messages.iter().map(|message| message.position));
        true
    }

    fn misfortune(&mut self) {
        match self.random.gen_range(0..100) {
            // The process dies. What it has sent may still come in, over a connection that nobody listens to.
            0..3 => {
                self.feeder = Feeder::new();
                self.answers.clear();
                self.wires.push_front(VecDeque::new());
            }
            // A connection ends; what is on its way is lost from somewhere on.
            3..6 => {
                let wire = self.random.gen_range(0..self.wires.len());
                let left = self.random.gen_range(0..=self.wires[wire].len());
                self.wires[wire].truncate(left);
            }
            // The broker dies, and forgets what was not committed.
            6..8 => self.staged.clear(),
            // Its power fails, and with it goes the end of the stream.
            8 => {
                self.staged.clear();
                let left = self.random.gen_range(0..=self.stream.len());
                self.is_lossy |= left < self.stream.len();
                self.stream.truncate(left);
                self.feeder.doubt(); // The connection has ended with it.
            }
            _ => {}
        }
    }

    fn judge(&self) -> Result<(), String> {
        let in_order = self.stream.iter().zip(1..).all(|(position, sequence)| *position == sequence);
        if !in_order || self.durable < self.stream.len() as u64 {
            return Err(format!("I18: {:?}, durable up to {}", self.stream, self.durable));
        }
        let mut end = 0;
        while end < self.stream.len() as u64 {
            end = self.end_of(end + 1);
        }
        if !self.is_lossy && end != self.stream.len() as u64 {
            return Err(format!("half of an atomic batch can be seen: {:?}", self.stream));
        }
        Ok(())
    }

    fn run(mut self) -> Result<(), String> {
        for _ in 0..2_000 {
            match self.random.gen_range(0..10) {
                0 => self.commit(),
                1..5 => self.feed().map_err(|error| error.to_string())?,
                5..9 => {
                    let wire = self.random.gen_range(0..self.wires.len());
                    self.deliver(wire);
                }
                _ => self.misfortune(),
            }
            self.judge()?;
        }
        self.is_faulty = false;
        for _ in 0..20_000 {
            self.feed().map_err(|error| error.to_string())?;
            (0..self.wires.len()).for_each(|wire| self.deliver(wire));
            self.judge()?;
        }
        let all: Vec<u64> = (1..=self.durable).collect();
        let told = self.feeder.fed().map_or(0, Position::get);
        if self.stream == all && told == self.durable { Ok(()) } else { Err(format!("{told} of {}", self.durable)) }
    }
}

#[test]
fn no_seed_makes_a_feed_that_is_not_the_store() {
    for seed in 0..500 {
        World::new(seed).run().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

/// Without the condition that every message carries, what is sent again comes twice.
#[test]
fn a_stream_that_heeds_no_condition_is_noticed() {
    let noticed = |seed| World { is_conditional: false, ..World::new(seed) }.run().is_err();
    assert!((0..100).any(noticed));
}

fn position(number: u64) -> Option<Position> {
    Position::new(number)
}

#[test]
fn a_stream_that_is_not_the_stores_is_named() {
    let stand = Stand { last: position(7), hash: Some(hash(7)), missing: 0 };
    assert_eq!(stand.compare(position(9), Some(hash(7))), Ok(()));
    let other = position(7).map(Estranged::Other).map_or(Ok(()), Err);
    assert_eq!(stand.compare(position(9), Some(hash(8))), other);
    assert_eq!(Stand { hash: None, ..stand }.compare(position(9), None), other);
    let behind = stand.compare(position(6), None).unwrap_err();
    assert_eq!(behind.to_string(), "the feed goes up to position 7, the store only up to position 6");
    assert_eq!(Stand { missing: 1, ..stand }.compare(position(9), Some(hash(7))), Err(Estranged::Missing(1)));
    assert_eq!(Stand { last: None, hash: None, missing: 0 }.compare(None, None), Ok(()));
}

#[test]
fn an_answer_counts_only_if_it_is_the_position() {
    let empty = Stand { last: None, hash: None, missing: 0 };
    for answer in [
        Answer::Unknown,
        Answer::Stored { sequence: 3, duplicate: true },
        Answer::Stored { sequence: 4, duplicate: false },
    ] {
        let mut feeder = Feeder::new();
        assert_eq!(feeder.next(position(9)), Next::Ask);
        feeder.stands(&empty, position(9), None).unwrap();
        assert_eq!(feeder.next(position(9)), Next::Publish(Position::FIRST));
        feeder.published(position(3).unwrap());
        feeder.published(position(9).unwrap());
        feeder.answered(answer);
        // What is on its way is waited for first.
        assert_eq!((feeder.fed(), feeder.next(position(20))), (None, Next::Wait));
        feeder.answered(Answer::Stored { sequence: 9, duplicate: false });
        assert_eq!((feeder.fed(), feeder.next(position(20))), (position(9), Next::Ask));
    }
}
