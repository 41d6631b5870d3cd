//! Many commands at once, with a window: so many messages are under way, and one more is sent whenever one is settled.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::time::Instant;

use super::command::{Parcel, Prepared, RawCommand};
use super::error::{EncodeError, SendError};
use super::outcome::{Answer, Outcome, RawOutcome};
use super::pack::shipments;
use super::settle::InFlight;
use super::together::Together;
use super::window::{Packing, Window};
use super::{Client, DEADLINE_DEFAULT};
use crate::aggregate::Aggregate;

impl Client {
    /// Sends a stream of commands with at most `window` (1 to 20,000) of them under way. What comes of each is given as
    /// soon as it is settled, with the number of the command in the stream (from 0), so not in the order of the stream.
    /// Each has the default deadline of 30 seconds, from when it is sent.
    ///
    /// With [`Window::batches_of`], commands travel together in independent batches, several times as many in a second; the
    /// window then counts batches. What comes of a batch's commands is given when all of them are settled, and `replayed`
    /// says whether all of them were decided before.
    ///
    /// First copies leave in the order of the stream, over one connection, so commands to one aggregate are decided in
    /// that order, unless one of them is lost on the way or refused for a time and sent again behind its successors. Who
    /// cannot bear that says which version each expects, or takes a window of 1.
    ///
    /// ```no_run
    /// # async fn run(client: &hapax::client::Client) {
    /// use futures::{StreamExt, stream};
    /// use hapax::client::{Prepared, Window};
    /// use hapax::samples::{Account, AccountCommand};
    /// use hapax::Aggregate;
    ///
    /// let deposits = (0..10_000).map(|number| {
    ///     Prepared::new(Account::at(format!("{number}")), AccountCommand::Deposit { amount: 100 })
    /// });
    /// let window = Window::from(16).batches_of(100); // Or 1_024: each on its own.
    /// let mut settled = std::pin::pin!(client.send_all(stream::iter(deposits), window));
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
        window: impl Into<Window>,
    ) -> impl Stream<Item = (usize, Result<Outcome<A>, SendError>)> + 'a
    where
        A: Aggregate,
        S: Stream<Item = Prepared<A>> + 'a,
    {
        self.pipeline(commands.map(Prepared::into_raw), window.into(), DEADLINE_DEFAULT)
            .map(|(number, settled)| (number, settled.and_then(RawOutcome::typed)))
    }

    /// [`Client::send_all`] without types, with the deadline of each.
    pub fn send_all_raw<'a>(
        &'a self,
        commands: impl Stream<Item = RawCommand> + 'a,
        window: impl Into<Window>,
        deadline: Duration,
    ) -> impl Stream<Item = (usize, Result<RawOutcome, SendError>)> + 'a {
        self.pipeline(commands.map(Ok), window.into(), deadline)
    }

    fn pipeline<'a>(
        &'a self,
        commands: impl Stream<Item = Result<RawCommand, EncodeError>> + 'a,
        window: Window,
        deadline: Duration,
    ) -> impl Stream<Item = (usize, Result<RawOutcome, SendError>)> + 'a {
        match window.packing {
            None => self.singles(commands, window.messages, deadline).left_stream(),
            Some(packing) => self.packs(commands, window.messages, packing, deadline).right_stream(),
        }
    }

    pub(super) fn singles<'a>(
        &'a self,
        commands: impl Stream<Item = Result<RawCommand, EncodeError>> + 'a,
        window: usize,
        deadline: Duration,
    ) -> impl Stream<Item = (usize, Result<RawOutcome, SendError>)> + 'a {
        // One by one, which keeps the order of the first copies; then side by side.
        let sent = commands.enumerate().then(move |(number, command)| async move {
            let parcel = command.and_then(|command| Parcel::of(&self.principal, command));
            let started = match parcel {
                Ok(parcel) => {
                    InFlight::start(self, parcel, Instant::now() + deadline).await.map_err(SendError::NotSent)
                }
                Err(error) => Err(error.into()),
            };
            (number, started)
        });
        let settled = sent.map(|(number, started)| async move {
            match started {
                Ok(in_flight) => (number, in_flight.settle().await.and_then(Answer::into_outcome)),
                Err(error) => (number, Err(error)),
            }
        });
        settled.buffer_unordered(window)
    }

    fn packs<'a>(
        &'a self,
        commands: impl Stream<Item = Result<RawCommand, EncodeError>> + 'a,
        window: usize,
        packing: Packing,
        deadline: Duration,
    ) -> impl Stream<Item = (usize, Result<RawOutcome, SendError>)> + 'a {
        let sent = shipments(commands, packing)
            .then(move |shipment| Together::start(self, shipment, Instant::now() + deadline));
        sent.map(Together::settle).buffer_unordered(window).flat_map(stream::iter)
    }
}
