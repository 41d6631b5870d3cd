//! One command under way, until its outcome is known or the caller's deadline has passed.
//!
//! ```text
//! send ─► listen ──────────────────────────────────────────► outcome
//!          │ silence, or the connection was lost        ▲
//!          ▼                                            │
//!         ask: attach to the outcome query ─────────────┤
//!          │ unknown                                    │
//!          ▼                                            │
//!         send the same again, with a PubAck ─► listen ─┘
//! ```
//! A retriable refusal goes straight to the last step, after the time it names. Whatever step we are in, we listen: an
//! earlier copy may be answered at any time.
//!
//! The same id is sent again only after an outcome query has said that it is unknown; or, if nobody answers the query,
//! until a PubAck says that the stream holds the command. Independent commands in one batch are asked for by one of them,
//! and sent again in any case: what was decided is replayed. More copies would do no harm, since they are deduplicated, but
//! they would not help either, and least of all a processor that is behind.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Client;
use super::command::Parcel;
use super::error::{Cause, NotSent, SendError};
use super::inbox::Ticket;
use super::outcome::{Answer, RawBatch, RawOutcome};
use super::retry::{Backoff, again_after, at_leisure, wants_new_id};
use crate::model::limits::WAIT_MS_MAX;
use crate::model::outcome::Reply;
use crate::model::{Refusal, header};

/// How long a reply is waited for before it is asked for. Under full load it takes some 30 ms.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// No copy sooner than that after another: the stream swallows one that comes within its duplicate window (100 ms, seen
/// up to 152), and such a copy gets no reply of its own.
const COPY_GAP_MIN: Duration = Duration::from_millis(250);

/// How much longer than `wait_ms` an answer to a query may take.
pub(super) const QUERY_GRACE: Duration = Duration::from_secs(1);

/// What was heard of a command.
enum Heard {
    Answer(Answer),
    Refused(Refusal),
    /// An outcome query says that it is not decided, and to come back not sooner than that.
    Unknown(Duration),
    /// Nothing yet.
    Silence,
    /// There will be nothing: the connection has ended for good.
    Closed,
}

/// A command, or a batch, whose first copy has been published.
pub(super) struct InFlight<'a> {
    client: &'a Client,
    parcel: Parcel,
    ticket: Ticket,
    deadline: Instant,
    backoff: Backoff,
    last_sent: Instant,
    copies: u32,
    /// Whether a PubAck has said that the stream holds the last copy.
    stored: bool,
    cause: Cause,
    _room: OwnedSemaphorePermit,
}

impl<'a> InFlight<'a> {
    /// Publishes the first copy, without a PubAck. An error means that nothing was published.
    pub(super) async fn start(client: &'a Client, mut parcel: Parcel, deadline: Instant) -> Result<Self, NotSent> {
        let room = timeout_at(deadline, client.inbox.room()).await.map_err(|_| NotSent::Disconnected)?;
        if client.nats.connection_state() != State::Connected {
            // A flush is answered once there is a connection. Published now, the command would lie in a buffer that may
            // be sent at any time, and we could not say any more that nothing was published.
            let flushed = timeout_at(deadline, client.nats.flush()).await.map_err(|_| NotSent::Disconnected)?;
            flushed.map_err(|_| NotSent::Closed)?;
        }
        let ticket = client.inbox.ticket();
        parcel.headers.insert(header::REPLY_TO, ticket.subject()); // The same for all copies: any of them may be answered.
        let (subject, headers) = (parcel.subject.clone(), parcel.headers.clone());
        // Before: the server's complaint about it may be here before this task goes on.
        let last_sent = Instant::now();
        let publish = client.nats.publish_with_headers(subject, headers, parcel.body.clone());
        // A publish that is given up here has not been queued.
        timeout_at(deadline, publish).await.map_err(|_| NotSent::Disconnected)?.map_err(|_| NotSent::Closed)?;
        Ok(InFlight {
            client,
            parcel,
            ticket,
            deadline,
            backoff: Backoff::default(),
            last_sent,
            copies: 1,
            stored: false,
            cause: Cause::Silence,
            _room: room,
        })
    }

    /// Goes on until the outcome is known, or the deadline has passed.
    pub(super) async fn settle(mut self) -> Result<Answer, SendError> {
        let mut heard = self.listen(self.patience()).await;
        loop {
            heard = match heard {
                Heard::Answer(answer) => return Ok(answer),
                Heard::Refused(refusal) => match again_after(&refusal) {
                    None => return Err(SendError::Refused { id: self.parcel.id, refusal }),
                    Some(pause) => {
                        self.cause = Cause::Refused(refusal);
                        let pause = pause + self.backoff.next(rand::random());
                        self.send_again(Instant::now() + pause).await
                    }
                },
                Heard::Closed => return Err(self.unknown(Cause::Closed)),
                Heard::Silence | Heard::Unknown(_) if self.deadline <= Instant::now() => return Err(self.give_up()),
                Heard::Silence => match self.denied() {
                    Some(denied) => return Err(denied),
                    None => self.ask().await,
                },
                Heard::Unknown(pause) => self.send_again(Instant::now() + pause).await,
            };
        }
    }

    /// Until when a reply is waited for before it is asked for: a third of what is left at most, so that there is time
    /// to ask.
    fn patience(&self) -> Instant {
        let left = self.deadline.saturating_duration_since(self.last_sent);
        self.last_sent + PATIENCE_MAX.min(left / 3)
    }

    fn give_up(mut self) -> SendError {
        let subjects = [&self.parcel.subject, &self.parcel.question, self.ticket.inbox()];
        let complaint = subjects.into_iter().find_map(|subject| self.client.complaint.about(subject));
        let cause = complaint.map(|(_, text)| Cause::Server(text));
        let cause = cause.unwrap_or_else(|| std::mem::replace(&mut self.cause, Cause::Silence));
        self.unknown(cause)
    }

    fn unknown(self, cause: Cause) -> SendError {
        SendError::Unknown { id: self.parcel.id, cause }
    }

    /// Whether the broker has said since we sent our one copy that this user may not: then it was not taken.
    fn denied(&self) -> Option<SendError> {
        let (at, text) = self.client.complaint.about(&self.parcel.subject)?;
        (self.copies == 1 && self.last_sent <= at).then_some(SendError::NotSent(NotSent::NotPermitted(text)))
    }

    /// Waits for a reply to any of our copies.
    async fn listen(&mut self, until: Instant) -> Heard {
        let until = until.min(self.deadline);
        loop {
            match timeout_at(until, self.ticket.next()).await {
                Err(_) => return Heard::Silence,
                Ok(None) => return Heard::Closed,
                Ok(Some(message)) => match self.read(message) {
                    Ok(heard) => return heard,
                    Err(cause) => self.cause = cause,
                },
            }
        }
    }

    /// Attaches to the command's outcome, for as long as we would pause anyway. If nobody answers, the rest of the pause
    /// is spent listening.
    async fn ask(&mut self) -> Heard {
        if self.client.nats.connection_state() != State::Connected {
            self.cause = Cause::Disconnected;
            let client = self.client;
            tokio::select! {
                biased;
                heard = self.listen(self.deadline) => return heard,
                // Answered once there is a connection.
                flushed = client.nats.flush() => if flushed.is_err() { return Heard::Closed },
            }
        }
        // What the stream holds will be decided, unless the stream loses it: no hurry to send it again.
        let random = rand::random();
        let pause = if self.stored { at_leisure(random) } else { self.backoff.next(random) };
        let until = (Instant::now() + pause).min(self.deadline);
        let mut answer = self.client.inbox.ticket();
        if let Err(heard) = self.publish_question(&answer, until).await {
            return heard;
        }
        let answered_by = (until + QUERY_GRACE).min(self.deadline);
        let cause = loop {
            let (message, asked) = tokio::select! {
                biased;
                message = self.ticket.next() => (message, false),
                message = answer.next() => (message, true),
                // Cut short by the deadline, the silence would prove nothing.
                () = sleep_until(answered_by), if answered_by < self.deadline => break Cause::NoProcessor,
                () = sleep_until(self.deadline) => return Heard::Silence,
            };
            let Some(message) = message else { return Heard::Closed };
            if message.status == Some(StatusCode::NO_RESPONDERS) {
                break Cause::NoProcessor;
            }
            match if asked { self.read_answer(message) } else { self.read(message) } {
                // Our question was refused, which says nothing of the command; unless it is a new id that would help.
                Ok(Heard::Refused(refusal)) if asked && !wants_new_id(&refusal) => break Cause::Refused(refusal),
                // A processor with too many who wait answers at once; the pause is kept all the same.
                Ok(Heard::Unknown(after)) => {
                    return Heard::Unknown(after.max(until.saturating_duration_since(Instant::now())));
                }
                Ok(heard) => return heard,
                Err(cause) if asked => break cause,
                Err(cause) => self.cause = cause,
            }
        };
        // What the stream says about the command is more to the point than that nobody answered.
        if !matches!(self.cause, Cause::NoStream | Cause::NotStored(_)) {
            self.cause = cause;
        }
        match self.listen(until).await {
            Heard::Silence if !self.stored => Heard::Unknown(Duration::ZERO),
            heard => heard,
        }
    }

    /// Asks for the outcome, and to be answered at `until` if it is not decided before.
    async fn publish_question(&self, answer: &Ticket, until: Instant) -> Result<(), Heard> {
        let wait = until.saturating_duration_since(Instant::now());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(WAIT_MS_MAX).min(WAIT_MS_MAX);
        let body = Bytes::from(format!(r#"{{"wait_ms":{wait_ms}{}}}"#, self.parcel.content));
        let question = self.parcel.question.clone();
        let publish = self.client.nats.publish_with_reply(question, answer.subject().to_owned(), body);
        timeout_at(self.deadline, publish).await.map_err(|_| Heard::Silence)?.map_err(|_| Heard::Closed)
    }

    /// Publishes another copy, not before `at`, and asks for its PubAck, to learn what is wrong.
    async fn send_again(&mut self, at: Instant) -> Heard {
        match self.listen(at.max(self.last_sent + COPY_GAP_MIN)).await {
            Heard::Silence => {}
            heard => return heard,
        }
        if self.deadline <= Instant::now() || self.client.nats.connection_state() != State::Connected {
            return Heard::Silence;
        }
        let mut ack = self.client.inbox.ticket();
        let Parcel { subject, headers, body, .. } = &self.parcel;
        let publish = self.client.nats.publish_with_reply_and_headers(
            subject.clone(),
            ack.subject().to_owned(),
            headers.clone(),
            body.clone(),
        );
        match timeout_at(self.deadline, publish).await {
            Err(_) => return Heard::Silence,
            Ok(Err(_)) => return Heard::Closed,
            Ok(Ok(())) => {}
        }
        self.last_sent = Instant::now();
        self.copies += 1;
        self.stored = false;
        let patience = self.patience();
        tokio::select! {
            biased;
            heard = self.listen(patience) => return heard,
            message = ack.next() => match message {
                Some(message) => self.note_ack(&message),
                None => return Heard::Closed,
            },
        }
        self.listen(patience).await
    }

    /// What a PubAck tells: never what was decided, only whether the stream holds this copy.
    fn note_ack(&mut self, message: &Message) {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            self.cause = Cause::NoStream;
            return;
        }
        match serde_json::from_slice(&message.payload) {
            Ok(PubAck { error: Some(error), .. }) => self.cause = Cause::NotStored(error.description),
            // A duplicate may be one of another sender's message with the same id, so it proves nothing.
            Ok(PubAck { duplicate, .. }) => {
                self.stored = !duplicate;
                self.cause = Cause::Silence;
            }
            Err(error) => self.cause = Cause::UnreadableReply(error.to_string()),
        }
    }

    /// Reads what our question brought.
    fn read_answer(&self, message: Message) -> Result<Heard, Cause> {
        if self.parcel.asks_for_one_of_many {
            return match Reply::from_json(&message.payload) {
                // Whatever became of that one, a copy gets its reply, and those of the others.
                Ok(Reply::Outcome(_)) => Ok(Heard::Unknown(Duration::ZERO)),
                Ok(Reply::Refused(refusal)) if wants_new_id(&refusal) => Ok(Heard::Unknown(Duration::ZERO)),
                _ => self.read(message),
            };
        }
        self.read(message)
    }

    /// Reads a reply; an error for what is not one of ours.
    fn read(&self, message: Message) -> Result<Heard, Cause> {
        match Reply::from_json(&message.payload) {
            Ok(Reply::Outcome(outcome)) if outcome.id == self.parcel.id => {
                let replayed = is_replay(&message);
                Ok(Heard::Answer(Answer::Outcome(RawOutcome { outcome, replayed, json: message.payload })))
            }
            Ok(Reply::Batch(reply)) if reply.id == self.parcel.id => {
                let replayed = is_replay(&message);
                Ok(Heard::Answer(Answer::Batch(RawBatch { reply, replayed, json: message.payload })))
            }
            Ok(Reply::Batch(reply)) => Err(Cause::UnreadableReply(format!("it is about batch {}", reply.id))),
            Ok(Reply::Outcome(outcome)) => Err(Cause::UnreadableReply(format!("it is about command {}", outcome.id))),
            Ok(Reply::Refused(refusal)) => Ok(Heard::Refused(refusal)),
            Ok(Reply::Unknown { after_ms, .. }) => Ok(Heard::Unknown(Duration::from_millis(after_ms))),
            Err(error) => Err(Cause::UnreadableReply(error.to_string())),
        }
    }
}

/// Whether a reply is about a decision that an earlier delivery had got.
pub(super) fn is_replay(message: &Message) -> bool {
    message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(header::REPLAYED))
        .is_some_and(|text| text.as_str() == header::TRUE)
}

/// What the stream answers to a publish.
#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    duplicate: bool,
    error: Option<PubAckError>,
}

#[derive(Deserialize)]
struct PubAckError {
    description: String,
}
