//! Read, decide, send, and again if somebody was faster.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::command::Prepared;
use super::error::{QueryError, SendError};
use super::outcome::{Outcome, Reason};
use super::query::{ANSWER_MAX, State};
use super::retry::{Backoff, again_after};
use super::{Client, DEADLINE_DEFAULT};
use crate::aggregate::{Address, Aggregate};

/// An update that was not carried through.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The state could not be read. Nothing of this update has happened.
    #[error("the state could not be read")]
    Read(#[source] QueryError),
    /// The command could not be settled; see [`SendError`] for what that means.
    #[error(transparent)]
    Send(SendError),
}

/// An update about to be carried out: `.await` it.
#[must_use = "nothing is sent before it is awaited"]
#[derive(Debug)]
pub struct Updating<'a, A: Aggregate, F> {
    client: &'a Client,
    to: Address<A>,
    command: F,
    deadline: Duration,
}

impl Client {
    /// Reads an aggregate's state, lets `command` make a command of it, and sends that for exactly the version that was
    /// read. If the aggregate has changed meanwhile, it starts over with a new id, until the deadline; then the last
    /// rejection (`version_mismatch`) is the result.
    ///
    /// ```no_run
    /// # async fn run(client: &hapax::client::Client) -> Result<(), hapax::client::UpdateError> {
    /// use hapax::samples::{Account, AccountCommand};
    /// use hapax::Aggregate;
    ///
    /// // Take out whatever is in it.
    /// client.update(Account::at("42"), |account| AccountCommand::Withdraw { amount: account.balance }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn update<A, F>(&self, to: Address<A>, command: F) -> Updating<'_, A, F>
    where
        A: Aggregate,
        F: FnMut(&A) -> A::Command + Send,
    {
        Updating { client: self, to, command, deadline: DEADLINE_DEFAULT }
    }
}

impl<A: Aggregate, F> Updating<'_, A, F> {
    /// How long it may take in all; 30 seconds if nothing is said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<'a, A, F> IntoFuture for Updating<'a, A, F>
where
    A: Aggregate,
    A::Command: Send,
    A::Event: Send,
    A::Rejection: Send,
    F: FnMut(&A) -> A::Command + Send + 'a,
{
    type Output = Result<Outcome<A>, UpdateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let deadline = Instant::now() + self.deadline;
            let mut backoff = Backoff::default();
            loop {
                let read = read(self.client, &self.to, deadline).await.map_err(UpdateError::Read)?;
                let prepared = Prepared::new(self.to.clone(), (self.command)(&read.state)).expect(read.version);
                let outcome = self.client.settle(prepared, deadline).await.map_err(UpdateError::Send)?;
                let pause = backoff.next(rand::random());
                if !is_version_mismatch(&outcome) || deadline <= Instant::now() + pause {
                    return Ok(outcome);
                }
                sleep(pause).await;
            }
        })
    }
}

/// Reads the state, and again if that may help: reading changes nothing.
async fn read<A: Aggregate>(client: &Client, of: &Address<A>, deadline: Instant) -> Result<State<A>, QueryError> {
    let mut backoff = Backoff::default();
    loop {
        let error = match client.state_within(of, deadline.min(Instant::now() + ANSWER_MAX)).await {
            Ok(state) => return Ok(state),
            Err(error) => error,
        };
        let told = match &error {
            QueryError::Timeout | QueryError::NoProcessor => Duration::ZERO,
            QueryError::Refused(refusal) => match again_after(refusal) {
                Some(told) => told,
                None => return Err(error),
            },
            _ => return Err(error),
        };
        let again_at = Instant::now() + told + backoff.next(rand::random());
        if deadline <= again_at {
            return Err(error);
        }
        sleep_until(again_at).await;
    }
}

fn is_version_mismatch<A: Aggregate>(outcome: &Outcome<A>) -> bool {
    let Outcome::Rejected { reason: Reason::Protocol(rejection), .. } = outcome else { return false };
    rejection.reason == "version_mismatch"
}
