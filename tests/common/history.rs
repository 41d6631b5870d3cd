//! What happened in a run, in real-time order: what clients did and saw, and, where a run can look inside, what the
//! processor did. The checker judges it; the index of an event is its time.
//!
//! A client notes a sending before it publishes and an answer after it came, so that "this was answered before that was
//! sent" is never claimed wrongly. A run against the real binary has what clients see, a simulation has all of it.

use std::fmt::Write;

use bytes::Bytes;
use hapax::model::{AggregateId, CommandName, Commit, Identity, Principal, Timestamp, Version};
use sha2::{Digest, Sha256};

/// The time of an event: how many came before it. It also names a sending or a question, for what answers it.
pub type Number = usize;

/// One copy of a command, on its way to the broker.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The command that it asks for; of a void, the one that it voids.
    pub identity: Identity,
    pub aggregate: AggregateId,
    pub name: CommandName,
    pub expected: Option<Version>,
    pub not_after: Option<Timestamp>,
    /// As it was written, whether it is JSON or not.
    pub body: Bytes,
    /// Where the outcome is to go; `None`: the sender asks for it.
    pub reply_to: Option<String>,
}

/// A question, on its way to the processor.
#[derive(Debug, Clone)]
pub struct Asked {
    pub principal: Principal,
    pub about: About,
}

/// What a question is about.
#[derive(Debug, Clone)]
pub enum About {
    Outcome { identity: Identity, aggregate: AggregateId },
    State(AggregateId),
}

/// What came to an inbox.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The sending or the question that has this inbox.
    pub to: Number,
    pub inbox: String,
    pub body: Bytes,
    pub replayed: bool,
}

#[derive(Debug, Clone)]
pub enum Event {
    Sent(Sent),
    Asked(Asked),
    Answered(Answered),
    /// A processor begins, as the store's writer with this number. Whoever wrote before may not any more.
    Started(u64),
    /// The processor of a writer ends without a word.
    Died(u64),
    /// A look-up for a batch has an answer for each of these ids.
    LookedUp {
        writer: u64,
        batch: u64,
        identities: Vec<Identity>,
    },
    /// A look-up for a batch failed.
    LookUpFailed {
        writer: u64,
        batch: u64,
        identities: Vec<Identity>,
    },
    /// A commit is on its way to the disk.
    Appended {
        writer: u64,
        commit: Commit,
    },
    /// The processor has refused a copy; whether its sender heard it is another matter.
    Refused(Number),
    /// A copy is in quarantine.
    Quarantined(Number),
    /// The consumer has let go of a copy: it is not delivered again.
    Acked(Number),
    /// Something the world did, for people who read a history: a power cut, a lost message.
    World(String),
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub events: Vec<Event>,
}

impl History {
    /// Notes what happened now.
    pub fn note(&mut self, event: Event) -> Number {
        self.events.push(event);
        self.events.len() - 1
    }

    /// The sending with a number.
    pub fn sending(&self, number: Number) -> Option<&Sent> {
        match self.events.get(number) {
            Some(Event::Sent(sent)) => Some(sent),
            _ => None,
        }
    }

    /// The question with a number.
    pub fn question(&self, number: Number) -> Option<&Asked> {
        match self.events.get(number) {
            Some(Event::Asked(asked)) => Some(asked),
            _ => None,
        }
    }

    pub fn sendings(&self) -> impl Iterator<Item = (Number, &Sent)> {
        self.numbered(|event| match event {
            Event::Sent(sent) => Some(sent),
            _ => None,
        })
    }

    pub fn answers(&self) -> impl Iterator<Item = (Number, &Answered)> {
        self.numbered(|event| match event {
            Event::Answered(answered) => Some(answered),
            _ => None,
        })
    }

    pub fn numbered<'a, T: 'a>(
        &'a self,
        of: impl Fn(&'a Event) -> Option<T> + 'a,
    ) -> impl Iterator<Item = (Number, T)> {
        self.events.iter().enumerate().filter_map(move |(number, event)| Some((number, of(event)?)))
    }

    /// Stands for the whole history: the same seed must give the same one.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut line = String::new();
        for event in &self.events {
            line.clear();
            write!(line, "{event:?}").unwrap();
            hash.update(&line);
        }
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
