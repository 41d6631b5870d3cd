//! When may an answer leave, and its delivery be acknowledged? When the position that it was computed from is durable.

use std::collections::VecDeque;

use super::intake::{Delivery, Ticket};
use super::reply::Answer;
use crate::model::Position;
use crate::store::Durable;

/// What is ready to be said and acknowledged, but computed from a position that is not durable yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<(Position, Settled)>,
    durable: Option<Position>,
}

/// What ends a delivery or a question.
#[derive(Debug)]
pub(super) struct Settled {
    /// The answer; `None`: nobody asked for one.
    pub(super) answer: Option<Answer>,
    /// What becomes of the delivery.
    pub(super) end: End,
}

/// What becomes of a delivery once its answer has left.
#[derive(Debug)]
pub(super) enum End {
    /// It is settled.
    Ack(Ticket),
    /// It is put aside for somebody to look at.
    Quarantine(Box<Delivery>, String),
    /// Nothing: a question has none, and one that nobody could be told about shall come again.
    Leave,
}

impl Outbox {
    pub(super) fn new(durable: Option<Position>) -> Outbox {
        Outbox { waiting: VecDeque::new(), durable }
    }

    /// Holds `settled` until `computed_from` is durable; `None`: it was computed from nothing. What may leave at once is
    /// given back.
    pub(super) fn put(&mut self, computed_from: Option<Position>, settled: Settled) -> Option<Settled> {
        let Some(position) = computed_from.filter(|position| Some(*position) > self.durable) else {
            return Some(settled);
        };
        // In order of positions, so that releasing is popping from the front: waiting longer than needed is harmless.
        let upto = self.waiting.back().map_or(position, |(last, _)| position.max(*last));
        self.waiting.push_back((upto, settled));
        None
    }

    /// What may leave now.
    pub(super) fn release(&mut self, durable: Durable<Position>) -> impl Iterator<Item = Settled> + '_ {
        self.durable = self.durable.max(Some(durable.get()));
        let count = self.waiting.partition_point(|(upto, _)| *upto <= durable.get());
        self.waiting.drain(..count).map(|(_, settled)| settled)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
