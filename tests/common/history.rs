//! What happened in a run, in real-time order: what clients did and saw, and, where a run can look inside, what the
//! processor did. The checker judges it; the index of an event is its time.
//!
//! A client notes a sending before it publishes and an answer after it came, so that "this was answered before that was
//! sent" is never claimed wrongly. A run against the real binary has what clients see, a simulation has all of it.

use std::collections::HashSet;
use std::fmt::{self, Write};

use bytes::Bytes;
use hapax::model::outcome::Reply;
use hapax::model::{AggregateId, CommandName, Commit, Identity, Newest, Principal, Timestamp, Version, header};
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

impl Sent {
    pub fn subject(&self) -> String {
        let AggregateId { kind, key } = &self.aggregate;
        format!("cmd.{}.{kind}.{key}.{}", self.identity.principal, self.name)
    }

    /// `own_id`: what a void is sent under.
    pub fn headers(&self, own_id: &str) -> Vec<(String, String)> {
        let id = self.identity.id.to_string();
        let mut headers = match self.name.is_void() {
            true => vec![(header::ID, own_id.to_owned()), (header::VOID, id)],
            false => vec![(header::ID, id)],
        };
        headers.extend(self.reply_to.clone().map(|inbox| (header::REPLY_TO, inbox)));
        headers.extend(self.expected.map(|version| (header::EXPECTED_VERSION, version.to_string())));
        headers.extend(self.not_after.map(|time| (header::NOT_AFTER, time.to_string())));
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
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
    Started {
        writer: u64,
        /// Which ids the index cannot know.
        newest: Newest,
    },
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

/// One line, for people.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |Identity { principal, key, id }: &Identity| format!("{principal} {key} {id}");
        let all = |identities: &[Identity]| identities.iter().map(who).collect::<Vec<_>>().join(", ");
        match self {
            Event::Sent(Sent { identity, aggregate, name, expected, body, reply_to, .. }) => {
                let body = String::from_utf8_lossy(body);
                write!(f, "sent {} {aggregate} {name} {body:?} expected {expected:?} to {reply_to:?}", who(identity))
            }
            Event::Asked(Asked { principal, about: About::Outcome { identity, .. } }) => {
                write!(f, "asked by {principal}: outcome of {}", who(identity))
            }
            Event::Asked(Asked { principal, about: About::State(aggregate) }) => {
                write!(f, "asked by {principal}: state of {aggregate}")
            }
            Event::Answered(Answered { to, body, replayed, .. }) => {
                write!(f, "answered {to} (replayed: {replayed}): {}", String::from_utf8_lossy(body))
            }
            Event::Started { writer, .. } => write!(f, "writer {writer} starts"),
            Event::Died(writer) => write!(f, "writer {writer} ends"),
            Event::LookedUp { batch, identities, .. } => write!(f, "looked up for {batch}: {}", all(identities)),
            Event::LookUpFailed { batch, identities, .. } => {
                write!(f, "look-up failed for {batch}: {}", all(identities))
            }
            Event::Appended { writer, commit } => {
                write!(f, "writer {writer} appends {}: {}", commit.position, who(&commit.command.identity))
            }
            Event::Refused(number) => write!(f, "refused {number}"),
            Event::Quarantined(number) => write!(f, "quarantined {number}"),
            Event::Acked(number) => write!(f, "acked {number}"),
            Event::World(what) => write!(f, "--- {what}"),
        }
    }
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

    /// Which commands have an outcome that came to a copy sent from a time on.
    pub fn answered(&self, from: Number) -> HashSet<&Identity> {
        let sendings = self.outcomes().filter(|answer| from <= answer.to).filter_map(|answer| self.sending(answer.to));
        sendings.map(|sent| &sent.identity).collect()
    }

    /// How many commands have been sent and have no outcome.
    pub fn unanswered(&self) -> usize {
        let sent: HashSet<&Identity> = self.sendings().map(|(_, sent)| &sent.identity).collect();
        sent.difference(&self.answered(0)).count()
    }

    /// How many outcomes have been replied that a store has not, as they were replied.
    pub fn not_in(&self, commits: &[Commit]) -> usize {
        let recorded: HashSet<&Bytes> = commits.iter().map(|commit| commit.outcome_json()).collect();
        let replied: HashSet<&Bytes> = self.outcomes().map(|answer| &answer.body).collect();
        replied.difference(&recorded).count()
    }

    fn outcomes(&self) -> impl Iterator<Item = &Answered> {
        let answers = self.answers().map(|(_, answer)| answer);
        answers.filter(|answer| matches!(Reply::from_json(&answer.body), Ok(Reply::Outcome(_))))
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
