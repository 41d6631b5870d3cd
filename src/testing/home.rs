//! Where a story runs. What it says there is the same everywhere; only what is underneath differs.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::Message;
use crate::model::outcome::Reply;
use crate::model::{
    AggregateId, ChainHash, Command, CommandId, CommandName, Commit, Decision, Identity, Outcome, Position, Principal,
    RecordedEvent, Rejection, Timestamp, Version,
};
use crate::store::Tip;

/// What a place could not do. That is no "no" of the aggregate, and ends the story.
pub(super) type Trouble = String;

/// A place, as a story uses it. Everything is durable and indexed when a call returns.
pub(super) trait Home {
    /// Appends what nobody has sent: what was there before the story's first command.
    fn give(&mut self, given: Given) -> Result<(), Trouble>;

    /// Sends a message, and waits for its reply. `now` is the story's time.
    fn send(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble>;

    /// What is recorded for a message that was decided, as somebody gets it who has lost the reply.
    fn remind(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble>;

    /// The live state of an aggregate.
    fn state(&mut self, aggregate: &AggregateId, now: Timestamp) -> Result<Live, Trouble>;

    /// What the store holds of the story: see [`is_of_the_clock`].
    fn commits(&self) -> Result<Vec<Commit>, Trouble>;

    /// Ends the processor as `kill -9` does, and starts another on what is left.
    fn crash(&mut self) -> Result<(), Trouble>;
}

/// A state, as a processor answers a question for it.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) version: Version,
    pub(super) state: Box<RawValue>,
}

impl Live {
    pub(super) fn read(answer: &[u8]) -> Result<Live, Trouble> {
        #[derive(Deserialize)]
        struct Form<'a> {
            version: Version,
            #[serde(borrow)]
            state: &'a RawValue,
        }
        match (serde_json::from_slice::<Form<'_>>(answer), Reply::from_json(answer)) {
            (Ok(Form { version, state }), _) => Ok(Live { version, state: state.to_owned() }),
            (Err(_), Ok(Reply::Refused(refusal))) => Err(refusal.message),
            (Err(error), _) => Err(format!("the answer to a question for a state cannot be read: {error}")),
        }
    }
}

/// Something that is recorded without having been sent.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// For its id.
    pub(super) number: u32,
    pub(super) time: Timestamp,
    pub(super) what: GivenWhat,
}

#[derive(Debug, Clone)]
pub(super) enum GivenWhat {
    /// These events have happened.
    Events(AggregateId, Vec<RecordedEvent>),
    /// It has become this late: a processor decides nothing earlier than the commit before.
    Time,
}

impl Given {
    /// Its commit, behind all of a store's.
    pub(super) fn commit(self, tip: &Tip, commits: &[Commit]) -> Commit {
        let Given { number, time, what } = self;
        let (aggregate, name, decision) = match what {
            GivenWhat::Events(aggregate, events) => (aggregate, "given", Decision::Accepted(events)),
            // What a processor records for a batch that was never decided: it changes nothing.
            GivenWhat::Time => {
                let batch: AggregateId = "_batch/story".parse().expect("both are tokens");
                (batch, CommandName::VOID, Decision::Rejected(Rejection::voided()))
            }
        };
        let changed =
            commits.iter().rev().find(|commit| commit.event_count > 0 && commit.command.aggregate == aggregate);
        let id = id("given", number);
        let command = Command {
            identity: Identity { principal: storyteller(), key: aggregate.key.clone(), id: id.clone() },
            aggregate: aggregate.clone(),
            name: CommandName::parse(name).expect("it is a token"),
            data: "{}".into(),
            expected: None,
            not_after: None,
            traceparent: None,
        };
        let mut outcome = Outcome {
            id,
            aggregate,
            version: changed.map_or(Version(0), |commit| commit.version),
            position: Position::after(tip.position),
            decided_at: time,
            decision,
        };
        outcome.version.0 += outcome.event_count();
        let chain: &ChainHash = &tip.hash;
        Commit::record(command, &outcome, changed.map(|commit| commit.position), chain)
    }
}

/// Whether a commit is there only since it had to become later. A story that counts what is recorded for a message must not
/// count it: on a nats-server it is put there with the first message behind an `after`, and a copy of an earlier one would
/// seem to be recorded a second time.
pub(super) fn is_of_the_clock(commit: &Commit) -> bool {
    let Command { identity, aggregate, name, .. } = &commit.command;
    identity.principal == storyteller() && aggregate.kind.is_batch() && name.is_void()
}

/// Whose the given things are.
fn storyteller() -> Principal {
    Principal::parse("story").expect("it is a token")
}

/// So many, that no id is the beginning of another.
pub(super) const ID_DIGITS: usize = 6;

/// An id of a story, the same in every run, and as long as the contract wants it.
pub(super) fn id(kind: &str, number: u32) -> CommandId {
    CommandId::parse(&format!("story-{kind}-{number:0ID_DIGITS$}")).expect("letters, digits and hyphens, long enough")
}
