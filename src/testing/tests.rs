//! Faults below the aggregate, which no aggregate can have: of the place that a story runs in. Each is found by the check that
//! is there for it. Faults of aggregates are in `tests/stories/planted.rs`.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::home::{Given, Home, Live, Trouble};
use super::machine::{Machine, Memory};
use super::message::Message;
use super::story::{Place, Story};
use crate::aggregate::{Aggregate, Context, Service, Upcaster};
use crate::model::error::caught;
use crate::model::outcome::Reply;
use crate::model::{AggregateId, Commit, Timestamp};

/// What money has gone into. Its first form counted whole units.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Till {
    cents: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Paid {
    Paid { cents: u64 },
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unpaid {
    #[error("that is no money")]
    Nothing,
}

fn were_units(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(units) = fields.get("cents").and_then(Value::as_u64) {
        fields.insert("cents".to_owned(), (units * 100).into());
    }
    fields
}

impl Aggregate for Till {
    const TYPE: &'static str = "till";
    const UPCASTERS: &'static [Upcaster] =
        &[Upcaster { event: "paid", schema: 1, becomes: "paid", fields: were_units }];
    type Command = Paid;
    type Event = Paid;
    type Rejection = Unpaid;

    fn decide(&self, command: Paid, _: &Context<'_>) -> Result<Vec<Paid>, Unpaid> {
        match command {
            Paid::Paid { cents: 0 } => Err(Unpaid::Nothing),
            command @ Paid::Paid { .. } => Ok(vec![command]),
        }
    }

    fn evolve(self, event: &Paid) -> Till {
        let Paid::Paid { cents } = event;
        Till { cents: self.cents + cents }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Who asks for an outcome gets the same value, written otherwise.
    OtherBytesOnRequest,
    /// Who sends a command again does.
    OtherBytesAgain,
    /// What is sent again is recorded again.
    TwiceInStore,
    /// A crash takes the last commit with it.
    LostInCrash,
    /// What was rejected leaves another state behind.
    OtherStateAfterRejection,
    /// The processor behind the crash answers with the state of the one before.
    OldState,
    /// Events are recorded with a schema that they had once.
    OldSchema,
}

struct Faulty {
    sound: Machine<Memory>,
    fault: Fault,
    sent: u32,
    rejected: bool,
    crashes: u32,
}

fn otherwise(body: &Bytes) -> Bytes {
    [body, b" ".as_slice()].concat().into()
}

impl Home for Faulty {
    fn give(&mut self, given: Given) -> Result<(), Trouble> {
        self.sound.give(given)
    }

    fn send(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble> {
        self.sent += 1;
        let body = self.sound.send(message, now)?;
        let reply = Reply::from_json(&body).expect("a sound place has sent it");
        self.rejected = matches!(reply, Reply::Outcome(outcome) if !outcome.is_accepted());
        Ok(match self.fault {
            Fault::OtherBytesAgain if self.sent > 1 => otherwise(&body),
            Fault::OldSchema => {
                String::from_utf8(body.into()).expect("it is JSON").replace("\"schema\":2", "\"schema\":1").into()
            }
            _ => body,
        })
    }

    fn remind(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble> {
        let body = self.sound.remind(message, now)?;
        Ok(if self.fault == Fault::OtherBytesOnRequest { otherwise(&body) } else { body })
    }

    fn state(&mut self, aggregate: &AggregateId, now: Timestamp) -> Result<Live, Trouble> {
        let live = self.sound.state(aggregate, now)?;
        Ok(match self.fault {
            Fault::OldState if self.crashes > 0 => Live { version: live.version, state: nothing_paid() },
            Fault::OtherStateAfterRejection if self.rejected => Live { version: live.version, state: nothing_paid() },
            _ => live,
        })
    }

    fn commits(&self) -> Result<Vec<Commit>, Trouble> {
        let mut commits = self.sound.commits()?;
        if self.fault == Fault::LostInCrash && self.crashes > 0 {
            commits.pop();
        }
        if self.fault == Fault::TwiceInStore && self.sent > 1 {
            commits.extend(commits.last().cloned());
        }
        Ok(commits)
    }

    fn crash(&mut self) -> Result<(), Trouble> {
        self.crashes += 1;
        self.sound.crash()
    }
}

fn nothing_paid() -> Box<RawValue> {
    RawValue::from_string("{\"cents\":0}".to_owned()).expect("it is JSON")
}

/// Pays once, sends that again, pays nothing, which is rejected, and crashes.
fn tell(fault: Fault) -> Result<String, String> {
    let service = Arc::new(Service::new().with::<Till>());
    let place = Faulty { sound: Memory::home(service.clone()), fault, sent: 0, rejected: false, crashes: 0 };
    let story = Story::told(Box::new(place), service, Place::Memory);
    let till = || Till::at("1");
    let told = || {
        let paid = story.when(till(), Paid::Paid { cents: 5 }).again("c1");
        paid.when(till(), Paid::Paid { cents: 0 }).rejected("nothing").crash().to_string()
    };
    caught(told)
}

#[test]
fn a_fault_of_the_place_is_found_and_named() {
    tell(Fault::None).expect("without a fault the story can be told");
    for (fault, named) in [
        (Fault::OtherBytesOnRequest, "c1: c1 was answered otherwise the second time\n   first  {"),
        (Fault::OtherBytesAgain, "c1: c1 was answered otherwise the second time\n   first  {"),
        (Fault::TwiceInStore, "c1: c1: another number of commits than before\n   before  1\n   now     2"),
        (Fault::LostInCrash, "crash: what was decided before the crash: another number of commits than before"),
        (
            Fault::OtherStateAfterRejection,
            "c2: the live state of till/1 is not what its stored events make\n   live    v1 {\"cents\":0}",
        ),
        (
            Fault::OldState,
            "crash: the live state of till/1 is not what its stored events make\n   live    v1 {\"cents\":0}",
        ),
        (
            Fault::OldSchema,
            "c1: an upcaster of till changes an event of today, \"paid\"\n   decided   Paid { cents: 5 }",
        ),
    ] {
        let failure = tell(fault).expect_err(named);
        assert!(failure.starts_with(named), "{failure}");
    }
}
