//! A test aggregate whose rules can be changed, and a store in which it was asked for everything that a commit can record.

use bytes::Bytes;
use hapax::model::header;
use hapax::samples::Account;
use hapax::{Aggregate, Commit, Context, Service};
use serde::{Deserialize, Serialize};

use crate::common::pure::Pure;

/// The code as it was.
pub(crate) const AS_IT_WAS: u8 = 0;
/// At most 100 are taken at once.
pub(crate) const OTHER_RULE: u8 = 1;
/// What is taken counts twice, and nobody has raised `FOLD`.
pub(crate) const OTHER_FOLD: u8 = 2;
/// The same, and somebody has.
pub(crate) const RAISED_FOLD: u8 = 3;
/// An event has another name.
pub(crate) const OTHER_EVENT: u8 = 4;
/// `decide` panics when something is taken.
pub(crate) const PANICS: u8 = 5;
/// The rejection has other words.
pub(crate) const OTHER_WORDS: u8 = 6;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Till<const CODE: u8> {
    owner: String,
    total: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    Open { owner: String },
    Put { amount: i64 },
    Take { amount: i64 },
    Split { parts: Vec<i64> },
    Engrave { letters: usize },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Opened {
        owner: String,
    },
    #[serde(rename = "put")]
    Put {
        amount: i64,
    },
    Taken {
        amount: i64,
    },
    Engraved {
        text: String,
    },
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rejection {
    #[error("{owner} has {total}, not {amount}")]
    TooMuch { owner: String, total: i64, amount: i64 },
    #[error("at most 100 at once")]
    AtMost100,
}

impl<const CODE: u8> Aggregate for Till<CODE> {
    const TYPE: &'static str = "till";
    const FOLD: u32 = if CODE == RAISED_FOLD { 2 } else { 1 };
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, _: &Context<'_>) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Open { owner } if self.owner == owner => Ok(Vec::new()),
            Command::Open { owner } => Ok(vec![Event::Opened { owner }]),
            Command::Put { amount } => Ok(vec![Event::Put { amount }]),
            Command::Take { .. } if CODE == PANICS => panic!("a release with a bug"),
            Command::Take { amount } if CODE == OTHER_RULE && amount > 100 => Err(Rejection::AtMost100),
            Command::Take { amount } if amount > self.total => {
                let owner = if CODE == OTHER_WORDS { "somebody".into() } else { self.owner.clone() };
                Err(Rejection::TooMuch { owner, total: self.total, amount })
            }
            Command::Take { amount } => Ok(vec![Event::Taken { amount }]),
            Command::Split { parts } => Ok(parts.into_iter().map(|amount| Event::Taken { amount }).collect()),
            Command::Engrave { letters } => Ok(vec![Event::Engraved { text: "x".repeat(letters) }]),
        }
    }

    fn evolve(mut self, event: &Event) -> Till<CODE> {
        match event {
            Event::Opened { owner } => self.owner.clone_from(owner),
            Event::Put { .. } if CODE == OTHER_EVENT => panic!("this event has another name now"),
            Event::Put { amount } => self.total += amount,
            Event::Taken { amount } if matches!(CODE, OTHER_FOLD | RAISED_FOLD) => self.total -= 2 * amount,
            Event::Taken { amount } => self.total -= amount,
            Event::Engraved { .. } => {}
        }
        self
    }
}

pub(crate) fn service<const CODE: u8>() -> Service {
    Service::new().with::<Till<CODE>>().with::<Account>()
}

/// A processor in memory, and what is said to it.
pub(crate) struct Desk {
    pure: Pure,
}

impl Desk {
    pub(crate) fn new(service: Service) -> Desk {
        Desk { pure: Pure::new(service) }
    }

    /// Sends to `<principal>.<aggregate>.<key>.<command>`. The id is padded to the length of one.
    pub(crate) fn send(&mut self, to: &str, id: &str, body: &str) {
        self.send_with(to, id, body, &[]);
    }

    pub(crate) fn send_with(&mut self, to: &str, id: &str, body: &str, more: &[(&str, &str)]) {
        let mut headers = vec![(header::ID.to_owned(), format!("{id:->16}"))];
        headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.pure.publish(0, &format!("cmd.{to}"), &headers, Bytes::from(body.to_owned()), false);
        self.pure.settle();
    }

    pub(crate) fn commits(&self) -> Vec<Commit> {
        self.pure.commits()
    }
}

pub(crate) fn item(id: &str, aggregate: &str, key: &str, command: &str, data: &str) -> String {
    format!(r#"{{"id":"{id:->16}","aggregate":"{aggregate}","key":"{key}","command":"{command}","data":{data}}}"#)
}

pub(crate) fn check(key: &str, version: u64) -> String {
    format!(r#"{{"check":{{"aggregate":"till","key":"{key}","version":{version}}}}}"#)
}

pub(crate) fn batch(atomic: bool, items: &[String]) -> String {
    format!(r#"{{"atomic":{atomic},"commands":[{}]}}"#, items.join(","))
}

/// Everything that a commit can record: 21 of them. Positions are in the tests.
pub(crate) fn story() -> Vec<Commit> {
    let mut desk = Desk::new(service::<AS_IT_WAS>());
    let trace = [(header::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    desk.send_with("ann.till.1.open", "1", r#"{"owner":"ann"}"#, &trace);
    desk.send("ann.till.1.put", "2", r#"{"amount":500}"#);
    desk.send("bob.till.1.take", "3", r#"{ "amount": 200 }"#);
    desk.send("bob.till.1.take", "4", r#"{"amount":900}"#); // Rejected by rule.
    desk.send_with("bob.till.1.take", "5", r#"{"amount":1}"#, &[(header::EXPECTED_VERSION, "9")]);
    desk.send_with("bob.till.1.take", "6", r#"{"amount":1}"#, &[(header::EXPECTED_VERSION, "3")]);
    desk.send_with("bob.till.1.take", "7", r#"{"amount":1}"#, &[(header::NOT_AFTER, "2020-01-01T00:00:00Z")]);
    desk.send_with("bob.till.1._void", "own", "", &[(header::VOID, "-------given-up")]); // Too short: refused.
    desk.send_with("bob.till.1._void", "own", "", &[(header::VOID, "--------given-up")]);
    desk.send("ann.till.1.open", "9", r#"{"owner":"ann"}"#); // Already so.
    desk.send("ann.till.1.engrave", "10", r#"{"letters":600000}"#); // Too large.
    desk.send("ann.till.1.split", "11", r#"{"parts":[10,20,30]}"#);
    let both =
        [item("12", "till", "2", "open", r#"{"owner":"eve"}"#), item("13", "till", "1", "take", r#"{"amount":9}"#)];
    desk.send("ann._batch.2.run", "each", &batch(false, &both));
    let moved = [
        check("2", 1),
        item("15", "till", "1", "take", r#"{"amount":150}"#),
        item("16", "till", "2", "put", r#"{"amount":150}"#),
        check("3", 0),
    ];
    desk.send_with("ann._batch.1.run", "all", &batch(true, &moved), &[(header::NOT_AFTER, "2100-01-01T00:00:00Z")]);
    let overdrawn = [
        item("18", "till", "1", "take", r#"{"amount":5000}"#),
        item("19", "till", "2", "put", "{\"amount\":5000}"),
        check("2", 7),
    ];
    desk.send("ann._batch.1.run", "none", &batch(true, &overdrawn));
    desk.send_with("ann._batch.1._void", "own2", "", &[(header::VOID, "---given-up-batch")]);
    desk.send("ann.account.1.open", "21", r#"{"owner":"ann"}"#);
    let commits = desk.commits();
    assert_eq!(commits.len(), 21, "the tests name positions");
    commits
}
