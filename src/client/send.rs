//! One command, typed or raw, and the void that settles one.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::command::{Parcel, Prepared, RawCommand};
use super::error::SendError;
use super::outcome::{Outcome, RawOutcome};
use super::settle::InFlight;
use super::{Client, DEADLINE_DEFAULT};
use crate::aggregate::{Address, Aggregate};
use crate::model::{AggregateId, CommandId, Timestamp, Version};

/// A command about to be sent: `.await` it.
#[must_use = "nothing is sent before it is awaited"]
#[derive(Debug)]
pub struct Sending<'a, A: Aggregate> {
    client: &'a Client,
    prepared: Prepared<A>,
    deadline: Duration,
}

impl Client {
    /// Sends a command, and stays at it until its outcome is known or the deadline has passed.
    ///
    /// ```no_run
    /// # async fn run(client: &hapax::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use hapax::samples::{Account, AccountCommand::*};
    /// use hapax::{Aggregate, CommandId, Version};
    ///
    /// client.send(Account::at("42"), Open { owner: "ann".to_owned() }).expect(Version(0)).await?;
    ///
    /// let id = CommandId::parse("salary-2026-11-ann")?; // Sent twice, it is decided once.
    /// client.send(Account::at("42"), Deposit { amount: 100 }).id(id).deadline(Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send<A: Aggregate>(&self, to: Address<A>, command: A::Command) -> Sending<'_, A> {
        Sending { client: self, prepared: Prepared::new(to, command), deadline: DEADLINE_DEFAULT }
    }

    /// Sends a command without types; otherwise as [`Client::send`].
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send_raw(&self, command: RawCommand, deadline: Duration) -> Result<RawOutcome, SendError> {
        let parcel = Parcel::of(&self.principal, command)?;
        self.carry(parcel, Instant::now() + deadline).await
    }

    /// Settles a command that its sender gives up: if it was decided, its outcome comes back; if not, the rejection
    /// `voided` is recorded for it, and every later copy gets that. For a batch there is [`Client::void_batch`].
    ///
    /// # Errors
    /// [`SendError`]; its id is the one that was to be voided.
    pub async fn void(
        &self,
        aggregate: &AggregateId,
        id: &CommandId,
        deadline: Duration,
    ) -> Result<RawOutcome, SendError> {
        let parcel = Parcel::void(&self.principal, aggregate.clone(), id.clone());
        self.carry(parcel, Instant::now() + deadline).await
    }

    pub(super) async fn settle<A: Aggregate>(
        &self,
        prepared: Prepared<A>,
        deadline: Instant,
    ) -> Result<Outcome<A>, SendError> {
        let parcel = Parcel::of(&self.principal, prepared.into_raw()?)?;
        self.carry(parcel, deadline).await?.typed()
    }

    async fn carry(&self, parcel: Parcel, deadline: Instant) -> Result<RawOutcome, SendError> {
        let in_flight = InFlight::start(self, parcel, deadline).await.map_err(SendError::NotSent)?;
        in_flight.settle().await?.into_outcome()
    }
}

impl<A: Aggregate> Sending<'_, A> {
    /// The id it is sent with. Who may send it again after a crash chooses the id and keeps it first; without one it
    /// gets a UUIDv7.
    pub fn id(mut self, id: CommandId) -> Self {
        self.prepared = self.prepared.id(id);
        self
    }

    /// Decide it only if the aggregate has had exactly so many events; 0: it must not exist.
    pub fn expect(mut self, version: Version) -> Self {
        self.prepared = self.prepared.expect(version);
        self
    }

    /// Decided later than that, it is rejected as `expired`.
    pub fn not_after(mut self, time: Timestamp) -> Self {
        self.prepared = self.prepared.not_after(time);
        self
    }

    /// How long to try; 30 seconds if nothing is said. Then comes [`SendError::Unknown`], if it was sent at all.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<'a, A: Aggregate> IntoFuture for Sending<'a, A>
where
    A::Command: Send,
{
    type Output = Result<Outcome<A>, SendError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let deadline = Instant::now() + self.deadline;
        Box::pin(self.client.settle(self.prepared, deadline))
    }
}
