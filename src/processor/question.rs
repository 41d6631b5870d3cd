//! What is asked without a command: the outcome of an id, or a state. Questions take the way of commands, so that an
//! answer is never older than what its asker has already been told.

use std::collections::BTreeMap;

use super::reply;
use super::reply::Answer;
use crate::model::limits::WAITERS_MAX;
use crate::model::{AggregateId, Commit, Content, Identity, Position, Refusal, Timestamp};

/// A question.
#[derive(Debug, Clone)]
pub struct Question {
    /// The inbox of the asker; checked to be its principal's.
    pub reply_to: String,
    /// What it asks.
    pub ask: Ask,
}

/// What a question asks.
#[derive(Debug, Clone)]
pub enum Ask {
    /// The outcome of a command.
    Outcome {
        /// The command.
        identity: Identity,
        /// The aggregate that its sender addressed.
        aggregate: AggregateId,
        /// What its sender asked for, if the outcome of something else under the same id is not wanted: the stream may
        /// have absorbed the sender's own copy without a word.
        content: Option<Content>,
        /// Until when the answer may wait for the decision; `None`: not at all.
        wait_until: Option<Timestamp>,
    },
    /// The state of an aggregate, now.
    State {
        /// The aggregate.
        aggregate: AggregateId,
    },
}

/// The outcome under an identity, for somebody who asks for it by its aggregate. Where the id was used for another one,
/// it is not shown: rights are bound to the subject that names the aggregate (I17).
pub(super) fn outcome_for(
    reply_to: String,
    aggregate: &AggregateId,
    content: Option<&Content>,
    commit: &Commit,
) -> Answer {
    let recorded = &commit.command;
    let refusal = if recorded.aggregate != *aggregate {
        Refusal::id_reused(format_args!("it was sent to another aggregate than {aggregate}"))
    } else if content.is_none_or(|content| recorded.has_content(content)) || recorded.name.is_void() {
        return reply::outcome(reply_to, commit, true);
    } else {
        Refusal::id_reused(format_args!("{} to {aggregate}", recorded.name))
    };
    reply::refusal(reply_to, &refusal, Some(&recorded.identity.id))
}

/// Askers that wait for a decision. Bounded in number and time.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// In an order of their own: the same inputs give the same effects, in the same order, in every process.
    waiting: BTreeMap<Identity, Vec<Waiter>>,
    count: usize,
}

#[derive(Debug)]
struct Waiter {
    reply_to: String,
    aggregate: AggregateId,
    content: Option<Content>,
    wait_until: Timestamp,
}

impl Waiters {
    pub(super) fn has_room(&self) -> bool {
        self.count < WAITERS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(
        &mut self,
        identity: Identity,
        reply_to: String,
        aggregate: AggregateId,
        content: Option<Content>,
        wait_until: Timestamp,
    ) {
        self.waiting.entry(identity).or_default().push(Waiter { reply_to, aggregate, content, wait_until });
        self.count += 1;
    }

    /// The answers to those who waited for this commit.
    pub(super) fn answer(&mut self, commit: &Commit) -> Vec<Answer> {
        if self.count == 0 {
            return Vec::new();
        }
        let waiters = self.waiting.remove(&commit.command.identity).unwrap_or_default();
        self.count -= waiters.len();
        let answer = |waiter: Waiter| outcome_for(waiter.reply_to, &waiter.aggregate, waiter.content.as_ref(), commit);
        waiters.into_iter().map(answer).collect()
    }

    /// The answers to those who have waited long enough.
    pub(super) fn expire(&mut self, now: Timestamp, as_of: Option<Position>) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.waiting.retain(|_, waiters| {
            let expired = waiters.extract_if(.., |waiter| waiter.wait_until <= now);
            answers.extend(expired.map(|waiter| reply::unknown(waiter.reply_to, as_of)));
            !waiters.is_empty()
        });
        self.count -= answers.len();
        answers
    }
}
