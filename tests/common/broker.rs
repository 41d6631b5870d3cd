//! A work-queue stream with one consumer, as a value: it keeps what is published, delivers it until it is acknowledged, and
//! fails in the ways that a broker may when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hapax::model::Timestamp;
use hapax::processor::{Delivery, Ticket};

use super::history::Number;

/// How long the consumer waits for an ack before it delivers again.
pub const ACK_WAIT: Duration = Duration::from_secs(5);

/// How long the stream absorbs a message by its id.
pub const DUPLICATE_WINDOW: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct Broker {
    /// Stored and not delivered, or to be delivered again, in the order of delivery.
    waiting: VecDeque<Message>,
    /// Delivered and not acknowledged, in that order.
    delivered: Vec<(Message, Timestamp)>,
    /// Acknowledged lately. A broker that loses what it had not synced may have them back.
    gone: VecDeque<Message>,
    /// When each id was stored.
    window: BTreeMap<String, Timestamp>,
    next: u64,
    /// It has lost messages, or taken one for a copy of another.
    pub is_lossy: bool,
}

#[derive(Clone)]
struct Message {
    /// The sending that it is.
    number: Number,
    delivery: Delivery,
}

impl Broker {
    /// Stores a message. `id`: absorbed if one with it was stored within the window. Whether it was stored.
    pub fn store(&mut self, number: Number, mut delivery: Delivery, id: Option<&str>) -> bool {
        let now = delivery.stored_at;
        if let Some(id) = id {
            let before = self.window.get(id);
            if before.is_some_and(|before| now.since(*before) < DUPLICATE_WINDOW) {
                self.is_lossy = true;
                return false;
            }
            self.window.insert(id.to_owned(), now);
        }
        self.next += 1;
        delivery.ticket = Ticket(self.next.to_string());
        self.waiting.push_back(Message { number, delivery });
        true
    }

    /// Delivers what waits, of at most `max` messages.
    pub fn deliver(&mut self, max: usize, now: Timestamp) -> Vec<Delivery> {
        let batch: Vec<Message> = self.waiting.drain(..max.min(self.waiting.len())).collect();
        let deliveries = batch.iter().map(|message| message.delivery.clone()).collect();
        self.delivered.extend(batch.into_iter().map(|message| (message, now)));
        deliveries
    }

    /// Lets go of a message. The sending that it was; `None`: it is gone already.
    pub fn ack(&mut self, ticket: &Ticket) -> Option<Number> {
        let is_meant = |message: &Message| message.delivery.ticket == *ticket;
        let message = match self.delivered.iter().position(|(message, _)| is_meant(message)) {
            Some(index) => self.delivered.remove(index).0,
            // The ack of an earlier delivery counts too.
            None => self.waiting.remove(self.waiting.iter().position(is_meant)?)?,
        };
        let number = message.number;
        self.gone.push_back(message);
        if self.gone.len() > 20 {
            self.gone.pop_front();
        }
        Some(number)
    }

    /// The sending whose outcome goes to an inbox, if it is under way.
    pub fn sending_with(&self, inbox: &str) -> Option<Number> {
        self.under_way(|message| message.delivery.headers.iter().any(|(_, value)| value == inbox))
    }

    /// What a ticket stands for, if it is under way.
    pub fn sending_of(&self, ticket: &Ticket) -> Option<Number> {
        self.under_way(|message| message.delivery.ticket == *ticket)
    }

    /// What was delivered may wait to be delivered again.
    fn under_way(&self, is_meant: impl Fn(&Message) -> bool) -> Option<Number> {
        let mut messages = self.delivered.iter().map(|(message, _)| message).chain(&self.waiting);
        messages.find(|message| is_meant(message)).map(|message| message.number)
    }

    /// Delivers again what was not acknowledged in time. How many.
    pub fn redeliver_overdue(&mut self, now: Timestamp) -> usize {
        let overdue = |at: &Timestamp| ACK_WAIT <= now.since(*at);
        self.redeliver(|at| overdue(at))
    }

    /// Delivers again all that was not acknowledged, in front of the others.
    pub fn redeliver_all(&mut self) -> usize {
        self.redeliver(|_| true)
    }

    fn redeliver(&mut self, mut is_due: impl FnMut(&Timestamp) -> bool) -> usize {
        let due: Vec<_> = self.delivered.extract_if(.., |(_, at)| is_due(at)).collect();
        let count = due.len();
        for (message, _) in due.into_iter().rev() {
            self.waiting.push_front(message);
        }
        count
    }

    /// What waits changes places. Whether there was something to change.
    pub fn reorder(&mut self, first: usize, second: usize) -> bool {
        let count = self.waiting.len();
        if count < 2 || first % count == second % count {
            return false;
        }
        self.waiting.swap(first % count, second % count);
        true
    }

    /// Delivers once more what has just been delivered. Whether there was something.
    pub fn duplicate(&mut self, which: usize) -> bool {
        let Some(index) = which.checked_rem(self.delivered.len()) else { return false };
        let message = self.delivered[index].0.clone();
        self.waiting.push_back(message);
        true
    }

    /// Forgets which ids it has stored lately.
    pub fn forget_window(&mut self) -> bool {
        let known = !self.window.is_empty();
        self.window.clear();
        known
    }

    /// The stream is deleted and made again.
    pub fn recreate(&mut self) -> bool {
        let count = self.outstanding();
        (self.waiting, self.delivered, self.window) = Default::default();
        self.gone.clear();
        self.is_lossy |= count > 0;
        count > 0
    }

    /// A power cut of the broker: the last messages are gone, and the last acks too, so that what was acknowledged comes
    /// again.
    pub fn truncate(&mut self, messages: usize, acks: usize) -> bool {
        let (lost, back) = (messages.min(self.waiting.len()), acks.min(self.gone.len()));
        self.waiting.truncate(self.waiting.len() - lost);
        self.is_lossy |= lost > 0;
        for message in self.gone.drain(self.gone.len() - back..).rev() {
            self.waiting.push_front(message);
        }
        self.window.clear();
        lost + back > 0
    }

    /// Messages that are not acknowledged.
    pub fn outstanding(&self) -> usize {
        self.waiting.len() + self.delivered.len()
    }
}
