//! Questions. They change nothing, so they can be asked as often as one likes.

use std::fmt;
use std::time::Duration;

use async_nats::StatusCode;
use async_nats::connection::State as ConnectionState;
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Client;
use super::command::aggregate_id;
use super::error::{Cause, QueryError, SendError};
use super::outcome::{RawBatch, RawOutcome};
use super::retry::Backoff;
use super::settle::{QUERY_GRACE, is_replay};
use crate::aggregate::{Address, Aggregate};
use crate::model::limits::WAIT_MS_MAX;
use crate::model::outcome::Reply;
use crate::model::subject::QuerySubject;
use crate::model::{AggregateId, CommandId, Outcome, Position, Version};

/// How long an answer is waited for that the processor has at hand.
pub const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The state of an aggregate, and where it stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct State<A> {
    /// How many events are folded into it; 0: the aggregate does not exist.
    pub version: Version,
    /// The last commit that changed it; `None`: nothing has happened to it.
    pub position: Option<Position>,
    /// The state.
    pub state: A,
}

/// What is known of a command.
#[derive(Debug, Clone)]
pub enum Known {
    /// It was decided.
    Decided(RawOutcome),
    /// It is a batch, and was decided.
    Batch(RawBatch),
    /// It is not decided yet. Never a proof that it will not be: only an outcome is, and a void makes one.
    Unknown {
        /// The last commit that was looked at.
        as_of: Option<Position>,
        /// Ask again not sooner than that.
        after: Duration,
    },
}

impl Client {
    /// The state of an aggregate as it is now.
    ///
    /// ```no_run
    /// # async fn run(client: &hapax::client::Client) -> Result<(), hapax::client::QueryError> {
    /// use hapax::samples::Account;
    /// use hapax::Aggregate;
    ///
    /// let account = client.state(Account::at("42")).await?;
    /// println!("{} at version {}", account.state.balance, account.version);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn state<A: Aggregate>(&self, of: Address<A>) -> Result<State<A>, QueryError> {
        self.state_within(&of, Instant::now() + ANSWER_MAX).await
    }

    pub(super) async fn state_within<A: Aggregate>(
        &self,
        of: &Address<A>,
        deadline: Instant,
    ) -> Result<State<A>, QueryError> {
        let subject = QuerySubject::State { principal: self.principal.clone(), aggregate: aggregate_id(of)? };
        let json = self.answer(&subject, Bytes::new(), deadline).await?.payload;
        match serde_json::from_slice(&json) {
            Ok(state) => Ok(state),
            Err(error) => match Reply::from_json(&json) {
                Ok(Reply::Refused(refusal)) => Err(QueryError::Refused(refusal)),
                _ => Err(QueryError::Unreadable(error)),
            },
        }
    }

    /// What came of a command, whoever sent it over whichever connection; attached for at most `wait` if it is not
    /// decided yet. An atomic batch is asked for as `_batch/<key>`, with the key of its first item.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn outcome(&self, aggregate: &AggregateId, id: &CommandId, wait: Duration) -> Result<Known, QueryError> {
        let (aggregate, id) = (aggregate.clone(), id.clone());
        let subject = QuerySubject::Outcome { principal: self.principal.clone(), aggregate, id };
        let until = Instant::now() + wait;
        loop {
            let left = u64::try_from(until.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(u64::MAX);
            let wait_ms = left.min(WAIT_MS_MAX);
            let body = Bytes::from(format!(r#"{{"wait_ms":{wait_ms}}}"#));
            let deadline = Instant::now() + Duration::from_millis(wait_ms) + ANSWER_MAX.max(QUERY_GRACE);
            let message = self.answer(&subject, body, deadline).await?;
            match Reply::from_json(&message.payload).map_err(QueryError::NoReply)? {
                Reply::Outcome(outcome) => {
                    let replayed = is_replay(&message);
                    return Ok(Known::Decided(RawOutcome { outcome, json: message.payload, replayed }));
                }
                Reply::Batch(reply) => {
                    let replayed = is_replay(&message);
                    return Ok(Known::Batch(RawBatch { reply, json: message.payload, replayed }));
                }
                Reply::Refused(refusal) => return Err(QueryError::Refused(refusal)),
                Reply::Unknown { as_of, after_ms } => {
                    let after = Duration::from_millis(after_ms);
                    // A processor that has too many who wait answers at once: then it is asked again, as it says.
                    let again_at = Instant::now() + after;
                    if until <= again_at {
                        return Ok(Known::Unknown { as_of, after });
                    }
                    tokio::time::sleep_until(again_at).await;
                }
            }
        }
    }

    /// All of an outcome of which a reply had no room for all.
    pub(super) async fn whole(&self, brief: &Outcome, deadline: Instant) -> Result<RawOutcome, SendError> {
        let mut backoff = Backoff::default();
        loop {
            let asked = self.outcome(&brief.aggregate, &brief.id, deadline.saturating_duration_since(Instant::now()));
            let cause = match timeout_at(deadline, asked).await {
                Ok(Ok(Known::Decided(raw))) => return Ok(raw),
                Ok(Err(QueryError::NoProcessor)) => Cause::NoProcessor,
                Ok(Err(QueryError::Closed)) => Cause::Closed,
                Ok(Err(QueryError::NotPermitted(text))) => Cause::Server(text),
                Ok(Err(QueryError::Refused(refusal))) => Cause::Refused(refusal),
                _ => Cause::Silence,
            };
            let again_at = Instant::now() + backoff.next(rand::random());
            if deadline <= again_at {
                return Err(SendError::Unknown { id: brief.id.clone(), cause });
            }
            sleep_until(again_at).await;
        }
    }

    /// Asks any question of the contract ([`QuerySubject`], or that of a projection,
    /// [`ProjectionSubject`](crate::model::subject::ProjectionSubject)), and gives the answer as it came. `body` is its JSON,
    /// or empty.
    ///
    /// # Errors
    /// [`QueryError`], save for what depends on the answer's content.
    pub async fn query(&self, subject: &impl fmt::Display, body: Bytes, wait: Duration) -> Result<Bytes, QueryError> {
        Ok(self.answer(subject, body, Instant::now() + wait).await?.payload)
    }

    async fn answer(
        &self,
        subject: &impl fmt::Display,
        body: Bytes,
        deadline: Instant,
    ) -> Result<async_nats::Message, QueryError> {
        let asked = Instant::now();
        let answer = async {
            let _room = self.inbox.room().await;
            if self.nats.connection_state() != ConnectionState::Connected {
                self.nats.flush().await.map_err(|_| QueryError::Closed)?;
            }
            let mut ticket = self.inbox.ticket();
            let publish = self.nats.publish_with_reply(subject.to_string(), ticket.subject().to_owned(), body);
            publish.await.map_err(|_| QueryError::Closed)?;
            ticket.next().await.ok_or(QueryError::Closed)
        };
        let message = match timeout_at(deadline, answer).await {
            Ok(message) => message?,
            Err(_) => {
                let complaint = self.complaint.about(&subject.to_string()).filter(|(at, _)| asked <= *at);
                return Err(complaint.map_or(QueryError::Timeout, |(_, text)| QueryError::NotPermitted(text)));
            }
        };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(QueryError::NoProcessor);
        }
        Ok(message)
    }
}
