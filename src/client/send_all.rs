//! Many commands at once, with a window: so many are under way, and one more is sent whenever one is settled.

use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::Instant;

use super::command::{Parcel, Prepared, RawCommand};
use super::error::SendError;
use super::outcome::{Outcome, RawOutcome};
use super::settle::InFlight;
use super::{Client, DEADLINE_DEFAULT};
use crate::aggregate::Aggregate;
use crate::model::limits::IN_FLIGHT_COMMANDS_MAX;

impl Client {
    /// Sends a stream of commands with at most `window` (1 to 20,000) of them under way. What comes of each is given as
    /// soon as it is settled, with the number of the command in the stream (from 0), so not in the order of the stream.
    /// Each has the default deadline of 30 seconds, from when it is sent.
    ///
    /// First copies leave in the order of the stream, over one connection, so commands to one aggregate are decided in
    /// that order, unless one of them is lost on the way or refused for a time and sent again behind its successors. Who
    /// cannot bear that says which version each expects, or takes a window of 1.
    ///
    /// ```no_run
    /// # async fn run(client: &hapax::client::Client) {
    /// use futures::{StreamExt, stream};
    /// use hapax::client::Prepared;
    /// use hapax::samples::{Account, AccountCommand};
    /// use hapax::Aggregate;
    ///
    /// let deposits = (0..10_000).map(|number| {
    ///     Prepared::new(Account::at(format!("{number}")), AccountCommand::Deposit { amount: 100 })
    /// });
    /// let mut settled = std::pin::pin!(client.send_all(stream::iter(deposits), 1_024));
    /// while let Some((number, result)) = settled.next().await {
    ///     if let Err(error) = result {
    ///         eprintln!("deposit {number}: {error}");
    ///     }
    /// }
    /// # }
    /// ```
    pub fn send_all<'a, A, S>(
        &'a self,
        commands: S,
        window: usize,
    ) -> impl Stream<Item = (usize, Result<Outcome<A>, SendError>)> + 'a
    where
        A: Aggregate,
        S: Stream<Item = Prepared<A>> + 'a,
    {
        let parcels = commands.map(|command| {
            let raw = command.into_raw()?;
            Ok(Parcel::of(&self.principal, raw)?)
        });
        self.pipeline(parcels, window, DEADLINE_DEFAULT)
            .map(|(number, settled)| (number, settled.and_then(RawOutcome::typed)))
    }

    /// [`Client::send_all`] without types, with the deadline of each.
    pub fn send_all_raw<'a>(
        &'a self,
        commands: impl Stream<Item = RawCommand> + 'a,
        window: usize,
        deadline: Duration,
    ) -> impl Stream<Item = (usize, Result<RawOutcome, SendError>)> + 'a {
        let parcels = commands.map(|command| Ok(Parcel::of(&self.principal, command)?));
        self.pipeline(parcels, window, deadline)
    }

    fn pipeline<'a>(
        &'a self,
        parcels: impl Stream<Item = Result<Parcel, SendError>> + 'a,
        window: usize,
        deadline: Duration,
    ) -> impl Stream<Item = (usize, Result<RawOutcome, SendError>)> + 'a {
        // One by one, which keeps the order of the first copies; then side by side.
        let sent = parcels.enumerate().then(move |(number, parcel)| async move {
            let started = match parcel {
                Ok(parcel) => {
                    InFlight::start(self, parcel, Instant::now() + deadline).await.map_err(SendError::NotSent)
                }
                Err(error) => Err(error),
            };
            (number, started)
        });
        let settled = sent.map(|(number, started)| async move {
            match started {
                Ok(in_flight) => (number, in_flight.settle().await),
                Err(error) => (number, Err(error)),
            }
        });
        settled.buffer_unordered(window.clamp(1, IN_FLIGHT_COMMANDS_MAX))
    }
}
