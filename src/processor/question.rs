//! What is asked without a command: the outcome of an id, or a state. Questions take the way of commands, so that an
//! answer is never older than what its asker has already been told.

use std::collections::BTreeMap;

use super::Processor;
use super::reply::{self, Answer};
use super::turn::{Recorded, Turn};
use crate::model::batch::Batch;
use crate::model::limits::WAITERS_MAX;
use crate::model::{AggregateId, Content, Identity, Position, Refusal, Timestamp};

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
    found: &Recorded,
) -> Answer {
    let recorded = &found.commit.command;
    let refusal = if recorded.aggregate != *aggregate {
        Refusal::id_reused(format_args!("it was sent to another aggregate than {aggregate}"))
    } else if content.is_none_or(|content| has_content(found, content)) || recorded.name.is_void() {
        return reply::outcome(reply_to, found, true);
    } else {
        Refusal::id_reused(format_args!("{} to {aggregate}", recorded.name))
    };
    reply::refusal(reply_to, &refusal, Some(&recorded.identity.id))
}

fn has_content(found: &Recorded, content: &Content) -> bool {
    let command = &found.commit.command;
    if command.is_batch() {
        return content.name == command.name && Batch::from_json(&content.data).is_ok_and(|batch| found.is(&batch));
    }
    command.has_content(content)
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

    /// The answers to those who waited for this.
    pub(super) fn answer(&mut self, recorded: &Recorded) -> Vec<Answer> {
        if self.count == 0 {
            return Vec::new();
        }
        let waiters = self.waiting.remove(&recorded.commit.command.identity).unwrap_or_default();
        self.count -= waiters.len();
        let answer =
            |waiter: Waiter| outcome_for(waiter.reply_to, &waiter.aggregate, waiter.content.as_ref(), recorded);
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

impl Processor {
    pub(super) fn answer_question(&mut self, question: Question, turn: &Turn) {
        let Question { reply_to, ask } = question;
        let refused = |why: &str| reply::refusal(String::new(), &Refusal::unavailable(why), None);
        let (computed_from, answer) = match ask {
            Ask::Outcome { identity, aggregate, content, wait_until } => match self.recorded(&identity, turn) {
                Err(why) => (None, refused(&why)),
                Ok(Some(recorded)) => {
                    let answer = outcome_for(reply_to.clone(), &aggregate, content.as_ref(), &recorded);
                    (Some(recorded.last()), answer)
                }
                Ok(None) => match wait_until {
                    Some(wait_until) if self.waiters.has_room() => {
                        return self.waiters.add(identity, reply_to, aggregate, content, wait_until);
                    }
                    _ => (self.ledger.last(), reply::unknown(reply_to.clone(), self.ledger.last())),
                },
            },
            Ask::State { aggregate } => match self.live.get(&aggregate) {
                None if !self.service.serves(&aggregate.kind) => {
                    (None, reply::refusal(String::new(), &self.not_served(&aggregate), None))
                }
                None => (None, refused(&turn.why_not_folded(&aggregate))),
                Some(folded) => match reply::state(&aggregate, folded) {
                    None => (None, refused("the state is not JSON")),
                    Some(body) => (folded.last, Answer { to: reply_to.clone(), body, replayed: false }),
                },
            },
        };
        self.say(computed_from, Answer { to: reply_to, ..answer });
    }
}
