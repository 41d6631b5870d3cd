//! Stages and the core, one by one. Here: an aggregate that can misbehave, deliveries made by hand, and a rig that puts a
//! processor between a store whose syncs are ours and an index that knows as much as we say.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;
use crate::aggregate::{Aggregate, Context};
use crate::model::outcome::Reply;
use crate::model::{
    AggregateType, Command, CommandId, CommandName, Key, Outcome, Principal, RecordedEvent, Version, header,
};
use crate::store::memory::MemoryStore;
use crate::store::{EventStore, StoreId};

mod intake;
mod dedupe;
mod guard;
mod append;
mod index;
mod reply;
mod ack;
mod question;
mod live;
mod recent;
mod batch;
mod core;
mod faults;

const STORE: StoreId = StoreId { store: Uuid::from_u128(7), partition: 0, partitions: 1 };
const ONLY: PartitionNumber = PartitionNumber { number: 0, of: 1 };

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    count: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum CounterCommand {
    Add {
        amount: u64,
    },
    /// So many events at once.
    Burst {
        events: u64,
    },
    /// One event of so many bytes.
    Fill {
        bytes: usize,
    },
    /// A rejection with a message of so many line breaks and bells.
    Complain {
        lines: usize,
        bells: usize,
    },
    /// Accepted, and nothing happens.
    Look,
    Panic,
    /// An event that `evolve` panics on.
    Break,
    /// An event that is not JSON.
    Garble,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CounterEvent {
    Added { amount: u64 },
    Ticked,
    Filled { text: String },
    Broken,
    Garbled { map: std::collections::BTreeMap<Vec<u8>, u8> },
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CounterRejection {
    #[error("{count} and {amount} are more than 1000")]
    TooMuch { count: u64, amount: u64 },
    #[error("{text}")]
    Complaint {
        #[serde(skip)]
        text: String,
    },
}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = CounterCommand;
    type Event = CounterEvent;
    type Rejection = CounterRejection;

    fn decide(&self, command: CounterCommand, _: &Context<'_>) -> Result<Vec<CounterEvent>, CounterRejection> {
        match command {
            CounterCommand::Add { amount } if self.count + amount > 1000 => {
                Err(CounterRejection::TooMuch { count: self.count, amount })
            }
            CounterCommand::Add { amount } => Ok(vec![CounterEvent::Added { amount }]),
            CounterCommand::Burst { events } => Ok((0..events).map(|_| CounterEvent::Ticked).collect()),
            CounterCommand::Fill { bytes } => Ok(vec![CounterEvent::Filled { text: "x".repeat(bytes) }]),
            CounterCommand::Complain { lines, bells } => {
                Err(CounterRejection::Complaint { text: "\n".repeat(lines) + &"\x07".repeat(bells) })
            }
            CounterCommand::Look => Ok(Vec::new()),
            CounterCommand::Panic => panic!("decide fell over"),
            CounterCommand::Break => Ok(vec![CounterEvent::Broken]),
            CounterCommand::Garble => Ok(vec![CounterEvent::Garbled { map: [(vec![1], 1)].into() }]),
        }
    }

    fn evolve(self, event: &CounterEvent) -> Counter {
        match event {
            CounterEvent::Added { amount } => Counter { count: self.count + amount },
            CounterEvent::Broken => panic!("evolve fell over"),
            CounterEvent::Ticked | CounterEvent::Filled { .. } | CounterEvent::Garbled { .. } => self,
        }
    }
}

fn service() -> Arc<Service> {
    Arc::new(Service::new().with::<Counter>())
}

/// A second of the day on which all of this happens.
fn second(second: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_000_000 * (1_795_000_000 + second)).unwrap()
}

fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

fn id(number: u64) -> CommandId {
    CommandId::parse(&format!("command-{number:010}")).unwrap()
}

fn counter(key: &str) -> AggregateId {
    AggregateId { kind: AggregateType::parse("counter").unwrap(), key: Key::parse(key).unwrap() }
}

fn identity(key: &str, number: u64) -> Identity {
    Identity { principal: Principal::parse("alice").unwrap(), key: Key::parse(key).unwrap(), id: id(number) }
}

fn command(key: &str, number: u64, name: &str, data: &'static str) -> Command {
    Command {
        identity: identity(key, number),
        aggregate: counter(key),
        name: CommandName::parse(name).unwrap(),
        data: Bytes::from_static(data.as_bytes()),
        expected: None,
        not_after: None,
        traceparent: None,
    }
}

/// The command `number`, to be answered at `_INBOX.alice.<number>`; its ticket is the number, too.
fn delivery(key: &str, number: u64, name: &str, body: &'static str) -> Delivery {
    Delivery {
        subject: format!("work.0.alice.counter.{key}.{name}"),
        headers: vec![(header::ID, id(number).to_string()), (header::REPLY_TO, format!("_INBOX.alice.{number}"))],
        body: Bytes::from_static(body.as_bytes()),
        stored_at: second(0),
        ticket: Ticket(number.to_string()),
    }
}

fn add(key: &str, number: u64) -> Delivery {
    delivery(key, number, "add", r#"{"amount":1}"#)
}

impl Delivery {
    fn with(mut self, name: &'static str, value: &str) -> Delivery {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Delivery {
        self.headers.retain(|(of, _)| *of != name);
        self
    }

    /// Another copy of it, with the ticket and the inbox `number`.
    fn copy(&self, number: u64) -> Delivery {
        let ticket = Ticket(number.to_string());
        Delivery { ticket, ..self.clone() }
            .without(header::REPLY_TO)
            .with(header::REPLY_TO, &format!("_INBOX.alice.{number}"))
    }
}

/// A commit that accepts `command` with `events` events, as a store would have it.
fn commit(command: Command, at: u64, version: u64, events: u64) -> Commit {
    let event = RecordedEvent { kind: "ticked".into(), schema: 1, data: serde_json::from_str("{}").unwrap() };
    let outcome = Outcome {
        id: command.identity.id.clone(),
        aggregate: command.aggregate.clone(),
        version: Version(version),
        position: position(at),
        decided_at: second(1),
        decision: Decision::Accepted((0..events).map(|_| event.clone()).collect()),
    };
    Commit::record(command, &outcome, None, &Tip::empty(STORE).hash)
}

/// A processor, and around it what a test decides about.
struct Rig {
    processor: Processor,
    store: MemoryStore,
    /// Everything that was appended.
    commits: Vec<Commit>,
    now: Timestamp,
}

/// Two batches wait for their ids. The second is about an aggregate that is live now, and that the first one will push
/// out of a cache of one before its turn.
fn state_leaves_the_cache() -> (Rig, Vec<Effect>, Vec<Effect>) {
    let mut rig = Rig::new();
    rig.processor.live = LiveAggregates::new(1, usize::MAX);
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    rig.index(1);
    let other = rig.deliver(vec![add("2", 2)]);
    let again = rig.deliver(vec![add("1", 3)]);
    (rig, other, again)
}

impl Rig {
    fn new() -> Rig {
        let processor = Processor::new(service(), ONLY, Tip::empty(STORE), Newest::default());
        Rig { processor, store: MemoryStore::synced_by_hand(STORE), commits: Vec::new(), now: second(0) }
    }

    /// Hands in an input. What is to be appended is given to the store, which checks that it follows.
    fn on(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.processor.on(input, &mut effects);
        for effect in &effects {
            if let Effect::Append(commits) = effect {
                self.store.append(commits.clone());
                self.commits.extend(commits.clone());
            }
        }
        effects
    }

    fn deliver(&mut self, deliveries: Vec<Delivery>) -> Vec<Effect> {
        self.on(Input::Delivered(deliveries, self.now))
    }

    fn ask(&mut self, ask: Ask) -> Vec<Effect> {
        self.on(Input::Asked(vec![Question { reply_to: "_INBOX.alice.asker".into(), ask }], self.now))
    }

    /// Delivers, and answers the look-up from everything that was appended.
    fn decide(&mut self, deliveries: Vec<Delivery>) -> Vec<Effect> {
        let effects = self.deliver(deliveries);
        if !effects.iter().any(|effect| matches!(effect, Effect::Load(..))) {
            return effects;
        }
        let loaded = self.answer(&effects, self.commits.len());
        self.on(loaded)
    }

    /// Makes everything durable, and says so.
    fn sync(&mut self) -> Vec<Effect> {
        self.store.sync();
        let durable = self.store.durable().now_or_never().expect("something new is durable").unwrap();
        self.on(Input::Appended(durable))
    }

    fn index(&mut self, upto: u64) -> Vec<Effect> {
        self.on(Input::Indexed(position(upto)))
    }

    /// The answer to the one `Load` among the effects, of an index that knows the first `known` commits.
    fn answer(&self, effects: &[Effect], known: usize) -> Input {
        let mut loads = effects.iter().filter_map(|effect| match effect {
            Effect::Load(number, wanted) => Some((*number, wanted)),
            _ => None,
        });
        let (number, wanted) = loads.next().expect("something is looked up");
        assert!(loads.next().is_none(), "one look-up at a time");
        let commits = &self.commits[..known];
        let recorded = |identity: &Identity| {
            let at = commits.iter().position(|commit| commit.command.identity == *identity)?;
            let followers = commits[at + 1..][..commits[at].followers as usize].to_vec();
            Some(Recorded { commit: commits[at].clone(), followers })
        };
        let fold = |aggregate: &AggregateId| {
            let mut folded = service().start(&aggregate.kind).expect("only what is served is looked up");
            for commit in commits.iter().filter(|commit| commit.command.aggregate == *aggregate) {
                folded.apply(commit).map_err(|error| error.to_string())?;
            }
            Ok(folded)
        };
        let found = Found {
            commits: wanted.identities.iter().map(|identity| (identity.clone(), recorded(identity))).collect(),
            aggregates: wanted.aggregates.iter().map(|aggregate| (aggregate.clone(), fold(aggregate))).collect(),
        };
        Input::Loaded(number, found)
    }
}

/// Effects as text: who is told what, in which order.
fn told(effects: &[Effect]) -> Vec<String> {
    effects.iter().map(tell).collect()
}

fn tell(effect: &Effect) -> String {
    let numbers = |all: Vec<String>| all.join(" ");
    match effect {
        Effect::Load(number, wanted) => {
            format!("load {number}: {} ids, {} aggregates", wanted.identities.len(), wanted.aggregates.len())
        }
        Effect::Append(commits) => {
            format!("append {}", numbers(commits.iter().map(|commit| commit.position.to_string()).collect()))
        }
        Effect::Index(entries) => {
            format!("index {}", numbers(entries.iter().map(|entry| entry.position.to_string()).collect()))
        }
        Effect::Reply(answer) => format!("reply {}", tell_answer(answer)),
        Effect::Ack(tickets) => format!("ack {}", numbers(tickets.iter().map(|ticket| ticket.0.clone()).collect())),
        Effect::Quarantine(delivery, _) => format!("quarantine {}", delivery.ticket.0),
    }
}

/// To whom, and what: `7: 200 at 3`, `8: 409 too_much at 4 (replayed)`, `9: 503 unavailable`.
fn tell_answer(answer: &Answer) -> String {
    let to = answer.to.strip_prefix("_INBOX.alice.").expect("everybody is alice");
    let replayed = if answer.replayed { " (replayed)" } else { "" };
    let what = match Reply::from_json(&answer.body) {
        Ok(Reply::Outcome(outcome)) => match outcome.decision {
            Decision::Accepted(_) => format!("200 at {}", outcome.position),
            Decision::Rejected(rejection) => format!("{} {} at {}", rejection.code, rejection.reason, outcome.position),
        },
        Ok(Reply::Refused(refusal)) => format!("{} {}", refusal.code, refusal.reason),
        Ok(Reply::Unknown { as_of, .. }) => format!("unknown as of {}", as_of.map_or(0, Position::get)),
        Ok(Reply::Batch(_)) | Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    format!("{to}: {what}{replayed}")
}
