//! The feeder in a world that loses, repeats and delays: a stream that stores what it is told under the condition that comes
//! with it, connections that end while something is on its way, processes and brokers that die, and a second processor on
//! another copy of the store. One seed, one run.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::feeder::{Answer, Estranged, Feeder, Next, Stand};
use crate::model::{ChainHash, Position};

/// What stands at a position of a store: the copies of it have gone apart behind [`FORK`].
type Content = (u64, usize);

const COMMITS: usize = 60;

/// The last position that both copies of the store have in common.
const FORK: u64 = 20;

/// A message on its way to the stream.
#[derive(Debug, Clone)]
struct Message {
    content: Content,
    /// What must be the last before it; `None`: inside of a batch.
    expected: Option<u64>,
    /// The batch, and whether this one commits it.
    batch: Option<(u64, bool)>,
    wants_answer: bool,
}

/// A processor with a copy of the store.
struct Writer {
    number: usize,
    durable: u64,
    /// What is on its way: over the connection that is used now, and over those that nobody listens to any more.
    wires: VecDeque<VecDeque<Message>>,
    answers: VecDeque<Answer>,
    feeder: Feeder,
    /// Its feeding has ended, since the stream is another copy's.
    is_estranged: bool,
}

struct World {
    random: StdRng,
    /// How many commits are one with each, by position.
    followers: Vec<u64>,
    /// What the stream has, by sequence.
    stream: Vec<Content>,
    writers: Vec<Writer>,
    /// Halves of batches that the server keeps.
    staged: Vec<(u64, Vec<Message>)>,
    batches: u64,
    faults: Faults,
    is_faulty: bool,
    /// Whether a broker has lost the end of the stream, so that half of a batch may be left.
    is_lossy: bool,
}

/// What is wrong in a world, apart from what happens in every one.
#[derive(Clone, Copy, Default, PartialEq)]
enum Faults {
    #[default]
    None,
    /// The server does not heed what a message says must be the last before it.
    NoCondition,
    /// A sheaf is not one publish: each commit and each atomic batch in it has a condition of its own.
    SheafInParts,
}

fn hash((position, history): Content) -> ChainHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&position.to_le_bytes());
    hash[8] = u8::try_from(history).expect("it is small");
    ChainHash(hash)
}

impl Writer {
    fn new(number: usize) -> Writer {
        let (wires, answers) = (VecDeque::from([VecDeque::new()]), VecDeque::new());
        Writer { number, durable: 0, wires, answers, feeder: Feeder::new(), is_estranged: false }
    }

    fn content(&self, position: u64) -> Content {
        (position, if position <= FORK { 0 } else { self.number })
    }
}

impl World {
    fn new(seed: u64, writers: usize, faults: Faults) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let mut followers = Vec::new();
        while followers.len() < COMMITS {
            let group = if random.gen_bool(0.2) { random.gen_range(1..6) } else { 0 };
            followers.push(group);
            followers.extend(std::iter::repeat_n(0, usize::try_from(group).expect("it is small")));
        }
        World {
            random,
            followers,
            stream: Vec::new(),
            writers: (0..writers).map(Writer::new).collect(),
            staged: Vec::new(),
            batches: 0,
            faults,
            is_faulty: true,
            is_lossy: false,
        }
    }

    /// The end of the group that begins at a position, or of the commit alone.
    fn end_of(&self, position: u64) -> u64 {
        position + self.followers[position as usize - 1]
    }

    fn commit(&mut self, number: usize) {
        let durable = self.writers[number].durable;
        if (durable as usize) < self.followers.len() {
            self.writers[number].durable = self.end_of(durable + 1);
        }
    }

    fn feed(&mut self, number: usize) -> Result<(), Estranged> {
        let (durable, is_alone) = (self.writers[number].durable, self.writers.len() == 1);
        if self.writers[number].is_estranged {
            return Ok(());
        }
        match self.writers[number].feeder.next(Position::new(durable)) {
            Next::Ask => {
                if self.is_faulty && self.random.gen_bool(0.2) {
                    return Ok(()); // It does not answer.
                }
                let sequence = Position::new(self.stream.len() as u64);
                let stand = Stand { last: sequence, hash: self.stream.last().copied().map(hash), missing: 0 };
                let writer = &mut self.writers[number];
                let ours = sequence.filter(|last| last.get() <= durable).map(|last| hash(writer.content(last.get())));
                let stands = writer.feeder.stands(&stand, Position::new(durable), ours);
                writer.is_estranged = stands.is_err();
                if is_alone { stands } else { Ok(()) }
            }
            Next::Publish(from) => {
                self.publish(number, from.get());
                Ok(())
            }
            Next::Wait => {
                let writer = &mut self.writers[number];
                if let Some(answer) = writer.answers.pop_front() {
                    writer.feeder.answered(answer);
                } else if writer.wires[0].is_empty() && writer.feeder.is_waiting() {
                    writer.feeder.answered(Answer::Unknown); // It was waited for long enough.
                }
                Ok(())
            }
        }
    }

    fn publish(&mut self, number: usize, from: u64) {
        let (size, mut sheaf, mut at) = (self.random.gen_range(1..8), Vec::new(), from);
        self.batches += 1;
        while sheaf.len() < size && at <= self.writers[number].durable {
            let end = self.end_of(at);
            self.batches += u64::from(self.faults == Faults::SheafInParts);
            for position in at..=end {
                let is_first = position == if self.faults == Faults::SheafInParts { at } else { from };
                let is_part = self.faults != Faults::SheafInParts || at < end;
                let batch = is_part.then_some((self.batches, position == end));
                let content = self.writers[number].content(position);
                sheaf.push(Message { content, expected: is_first.then(|| position - 1), batch, wants_answer: false });
            }
            at = end + 1;
        }
        if self.faults != Faults::SheafInParts {
            let last = sheaf.len() - 1;
            for (index, message) in sheaf.iter_mut().enumerate() {
                message.batch = (last > 0).then_some((self.batches, index == last));
            }
        }
        let breaks = self.is_faulty && self.random.gen_bool(0.02);
        let writer = &mut self.writers[number];
        if breaks {
            sheaf.truncate(self.random.gen_range(0..sheaf.len()));
            writer.feeder.doubt();
        } else {
            sheaf.last_mut().expect("something is durable").wants_answer = true;
            writer.feeder.published(Position::new(at - 1).expect("it is 1 or more"));
        }
        writer.wires[0].extend(sheaf);
    }

    /// A message comes to the server.
    fn deliver(&mut self, number: usize, wire: usize) {
        let Some(message) = self.writers[number].wires[wire].pop_front() else { return };
        let stored = self.store(&message);
        if message.wants_answer && wire == 0 {
            let is_lost = self.is_faulty && self.random.gen_bool(0.05);
            let sequence = self.stream.len() as u64;
            let answer =
                if stored && !is_lost { Answer::Stored { sequence, duplicate: false } } else { Answer::Unknown };
            self.writers[number].answers.push_back(answer);
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
        let first = whole[0].content.0;
        let is_whole = whole.iter().zip(first..).all(|(message, position)| message.content.0 == position);
        is_whole && self.store_all(&whole)
    }

    fn store_all(&mut self, messages: &[Message]) -> bool {
        let is_conditional = self.faults != Faults::NoCondition;
        if is_conditional && messages[0].expected != Some(self.stream.len() as u64) {
            return false;
        }
        self.stream.extend(messages.iter().map(|message| message.content));
        true
    }

    fn misfortune(&mut self, number: usize) {
        let is_alone = self.writers.len() == 1;
        let writer = &mut self.writers[number];
        match self.random.gen_range(0..100) {
            // The process dies. What it has sent may still come in, over a connection that nobody listens to.
            0..3 => {
                writer.feeder = Feeder::new();
                writer.answers.clear();
                writer.wires.push_front(VecDeque::new());
            }
            // A connection ends; what is on its way is lost from somewhere on.
            3..6 => {
                let wire = self.random.gen_range(0..writer.wires.len());
                let left = self.random.gen_range(0..=writer.wires[wire].len());
                writer.wires[wire].truncate(left);
            }
            // The broker dies, and forgets what was not committed.
            6..8 => self.staged.clear(),
            // Its power fails, and with it goes the end of the stream. Who then writes there from another copy of the store is
            // not fenced from what the first one still has on its way: no number tells the two ends apart.
            8 if is_alone => {
                self.staged.clear();
                let left = self.random.gen_range(0..=self.stream.len());
                self.is_lossy |= left < self.stream.len();
                self.stream.truncate(left);
                writer.feeder.doubt(); // The connection has ended with it.
            }
            _ => {}
        }
    }

    fn judge(&self) -> Result<(), String> {
        let in_order = self.stream.iter().zip(1..).all(|((position, _), sequence)| *position == sequence);
        let durable = self.writers.iter().map(|writer| writer.durable).max().unwrap_or(0);
        if !in_order || durable < self.stream.len() as u64 {
            return Err(format!("I18: {:?}, durable up to {durable}", self.stream));
        }
        let mut behind = self.stream.iter().filter(|(position, _)| FORK < *position).map(|(_, history)| history);
        if let Some(first) = behind.next()
            && behind.any(|history| history != first)
        {
            return Err(format!("I15: both copies have fed behind position {FORK}: {:?}", self.stream));
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
            let number = self.random.gen_range(0..self.writers.len());
            match self.random.gen_range(0..10) {
                0 => self.commit(number),
                1..5 => self.feed(number).map_err(|error| error.to_string())?,
                5..9 => {
                    let wire = self.random.gen_range(0..self.writers[number].wires.len());
                    self.deliver(number, wire);
                }
                _ => self.misfortune(number),
            }
            self.judge()?;
        }
        self.is_faulty = false;
        for _ in 0..20_000 {
            for number in 0..self.writers.len() {
                self.feed(number).map_err(|error| error.to_string())?;
                (0..self.writers[number].wires.len()).for_each(|wire| self.deliver(number, wire));
            }
            self.judge()?;
        }
        // Whoever was first behind the fork has fed all that he has; the other one knows that he is another.
        let feeding: Vec<&Writer> = self.writers.iter().filter(|writer| !writer.is_estranged).collect();
        let [writer] = feeding[..] else { return Err(format!("{} feed", feeding.len())) };
        let all: Vec<Content> = (1..=writer.durable).map(|position| writer.content(position)).collect();
        let told = writer.feeder.fed().map_or(0, Position::get);
        if self.stream == all && told == writer.durable { Ok(()) } else { Err(format!("{told} of {}", writer.durable)) }
    }
}

#[test]
fn no_seed_makes_a_feed_that_is_not_the_store() {
    for seed in 0..500 {
        World::new(seed, 1, Faults::None).run().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

/// Two hosts on copies of one store, or a processor that was replaced and does not know it: one of the two has the stream,
/// and the other one adds nothing to it (I15).
#[test]
fn no_seed_lets_two_copies_of_a_store_feed_one_stream() {
    for seed in 0..500 {
        World::new(seed, 2, Faults::None).run().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

/// Without the condition that every sheaf carries, what is sent again comes twice.
#[test]
fn a_stream_that_heeds_no_condition_is_noticed() {
    assert!((0..100).any(|seed| World::new(seed, 1, Faults::NoCondition).run().is_err()));
}

/// A commit of a copy that has gone apart finds the stream at its own number, behind what it does not know.
#[test]
fn sheaves_in_parts_are_noticed() {
    let noticed = (0..100).filter_map(|seed| World::new(seed, 2, Faults::SheafInParts).run().err());
    assert!(noticed.into_iter().any(|what| what.starts_with("I15")));
}

fn position(number: u64) -> Option<Position> {
    Position::new(number)
}

#[test]
fn a_stream_that_is_not_the_stores_is_named() {
    let stand = Stand { last: position(7), hash: Some(hash((7, 0))), missing: 0 };
    assert_eq!(stand.compare(position(9), Some(hash((7, 0)))), Ok(()));
    let other = position(7).map(Estranged::Other).map_or(Ok(()), Err);
    assert_eq!(stand.compare(position(9), Some(hash((8, 0)))), other);
    assert_eq!(Stand { hash: None, ..stand }.compare(position(9), None), other);
    let behind = stand.compare(position(6), None).unwrap_err();
    assert_eq!(behind.to_string(), "the feed goes up to position 7, the store only up to position 6");
    assert_eq!(Stand { missing: 1, ..stand }.compare(position(9), Some(hash((7, 0)))), Err(Estranged::Missing(1)));
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
        feeder.published(position(9).unwrap());
        // Whatever comes, nothing is sent before it.
        assert_eq!((feeder.fed(), feeder.next(position(20))), (None, Next::Wait));
        feeder.answered(answer);
        assert_eq!((feeder.fed(), feeder.next(position(20))), (None, Next::Ask));
        assert_eq!(feeder.commits_max(), 1, "a doubled connection would let no larger sheaf through");
        feeder.stands(&empty, position(999), None).unwrap();
        for number in (1..=256).filter_map(Position::new) {
            assert_eq!(feeder.commits_max(), 1);
            feeder.published(number);
            feeder.answered(Answer::Stored { sequence: number.get(), duplicate: false });
        }
        assert!(feeder.commits_max() > 1, "at last it is tried again");
    }
}
