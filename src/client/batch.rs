//! All or none: several commands as one decision, across aggregates.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;
use uuid::Uuid;

use super::command::{Parcel, Prepared, RawCommand, aggregate_id, batch_at};
use super::error::{EncodeError, SendError};
use super::outcome::{Answer, RawBatch, RawOutcome};
use super::settle::InFlight;
use super::{Client, DEADLINE_DEFAULT};
use crate::aggregate::{Address, Aggregate};
use crate::model::item;
use crate::model::limits::{ATOMIC_COMMANDS_MAX, BATCH_BYTES_MAX, COMMAND_BYTES_MAX};
use crate::model::{AggregateId, BatchReply, CommandId, ItemReply, Key, Timestamp, Version};

/// How many outcomes are asked for at once, of which a reply had no room for all.
const ASKED_MAX: usize = 64;

/// An atomic batch that is being put together: up to 999 items and 512 KiB. All its aggregates live in one partition.
#[must_use = "nothing is sent before it is run"]
#[derive(Debug)]
pub struct Batch<'a> {
    client: &'a Client,
    id: Option<CommandId>,
    items: Vec<Item>,
    not_after: Option<Timestamp>,
    deadline: Duration,
    /// What was wrong first.
    fault: Option<EncodeError>,
}

#[derive(Debug)]
enum Item {
    Command(RawCommand),
    Check(AggregateId, Version),
}

/// What came of an atomic batch. Recorded and final, like the outcome of a command.
#[derive(Debug, Clone)]
pub enum BatchOutcome {
    /// All of it happened.
    Accepted(RawBatch),
    /// Nothing of it happened. Each item says why; one that was fine by itself says `batch_aborted`.
    Rejected(RawBatch),
    /// It was given up before it was decided, and never will be.
    Voided(RawOutcome),
}

impl Client {
    /// Puts an atomic batch together: one decision across aggregates, all accepted or all rejected.
    ///
    /// ```no_run
    /// # async fn run(client: &hapax::client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use hapax::client::{BatchOutcome, Prepared};
    /// use hapax::samples::{Account, AccountCommand::*};
    /// use hapax::{Aggregate, CommandId, Version};
    ///
    /// let transfer = client
    ///     .batch()
    ///     .id(CommandId::parse("rent-2026-11-ann")?) // Sent twice, it is decided once: its commands need ids too.
    ///     .command(Prepared::new(Account::at("42"), Withdraw { amount: 100 }).id(CommandId::parse("rent-2026-11-ann-1")?))
    ///     .command(Prepared::new(Account::at("43"), Deposit { amount: 100 }).id(CommandId::parse("rent-2026-11-ann-2")?))
    ///     .check(Account::at("44"), Version(7)); // Only if nothing has happened to this one.
    /// match transfer.run().await? {
    ///     BatchOutcome::Accepted(batch) => {
    ///         let withdrawn = batch.outcome(0).expect("the first item is a command").typed::<Account>()?;
    ///         println!("account 42 is at version {}", withdrawn.version());
    ///     }
    ///     BatchOutcome::Rejected(batch) => println!("nothing has happened: {:?}", batch.reply.items),
    ///     BatchOutcome::Voided(_) => println!("given up before it was decided"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self) -> Batch<'_> {
        Batch { client: self, id: None, items: Vec::new(), not_after: None, deadline: DEADLINE_DEFAULT, fault: None }
    }

    /// Settles an atomic batch that its sender gives up: if it was decided, its outcome comes back; if not, it never will
    /// be. `key` is that of its first item.
    ///
    /// # Errors
    /// [`SendError`]; its id is the batch's.
    pub async fn void_batch(&self, key: &Key, id: &CommandId, deadline: Duration) -> Result<BatchOutcome, SendError> {
        let parcel = Parcel::void(&self.principal, batch_at(key.clone()), id.clone());
        self.carry_batch(parcel, Instant::now() + deadline).await
    }

    async fn carry_batch(&self, parcel: Parcel, deadline: Instant) -> Result<BatchOutcome, SendError> {
        let in_flight = InFlight::start(self, parcel, deadline).await.map_err(SendError::NotSent)?;
        let mut batch = match in_flight.settle().await? {
            Answer::Outcome(voided) => return Ok(BatchOutcome::Voided(voided)),
            Answer::Batch(batch) => batch,
        };
        if batch.reply.events_omitted {
            let BatchReply { items, .. } = batch.reply;
            let whole = stream::iter(items).map(|item| self.whole_item(item, deadline)).buffered(ASKED_MAX);
            batch.reply = BatchReply { items: whole.try_collect().await?, events_omitted: false, id: batch.reply.id };
        }
        Ok(if batch.reply.is_accepted() { BatchOutcome::Accepted(batch) } else { BatchOutcome::Rejected(batch) })
    }

    async fn whole_item(&self, item: ItemReply, deadline: Instant) -> Result<ItemReply, SendError> {
        let ItemReply::Outcome { outcome, .. } = item else { return Ok(item) };
        let RawOutcome { outcome, json, .. } = self.whole(&outcome, deadline).await?;
        Ok(ItemReply::Outcome { outcome, json })
    }
}

impl Batch<'_> {
    /// The batch's own id, under which it is recorded; without one it gets a UUIDv7. Who may send it again after a crash
    /// chooses it, and those of its commands, and keeps them first.
    pub fn id(mut self, id: CommandId) -> Self {
        self.id = Some(id);
        self
    }

    /// Adds a command. It is decided on the state that those before it leave. Its time limit must be the batch's own.
    pub fn command<A: Aggregate>(mut self, command: Prepared<A>) -> Self {
        match command.into_raw() {
            Ok(raw) => self.command_raw(raw),
            Err(error) => {
                self.fault.get_or_insert(error);
                self
            }
        }
    }

    /// [`Batch::command`] without types.
    pub fn command_raw(mut self, command: RawCommand) -> Self {
        self.items.push(Item::Command(command));
        self
    }

    /// Guards the batch by an aggregate that it need not change: rejected unless that has had exactly so many events, those
    /// of the commands before it counted.
    pub fn check<A: Aggregate>(mut self, aggregate: Address<A>, version: Version) -> Self {
        match aggregate_id(&aggregate) {
            Ok(aggregate) => self.check_raw(aggregate, version),
            Err(error) => {
                self.fault.get_or_insert(error);
                self
            }
        }
    }

    /// [`Batch::check`] without types.
    pub fn check_raw(mut self, aggregate: AggregateId, version: Version) -> Self {
        self.items.push(Item::Check(aggregate, version));
        self
    }

    /// Decided later than that, each of its commands is rejected as `expired`.
    pub fn not_after(mut self, time: Timestamp) -> Self {
        self.not_after = Some(time);
        self
    }

    /// How long to try; 30 seconds if nothing is said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends it, and stays at it until its outcome is known or the deadline has passed.
    ///
    /// # Errors
    /// [`SendError`], with the batch's id. A refusal names the item that is to blame.
    pub async fn run(self) -> Result<BatchOutcome, SendError> {
        let deadline = Instant::now() + self.deadline;
        let client = self.client;
        client.carry_batch(self.into_parcel()?, deadline).await
    }

    fn into_parcel(self) -> Result<Parcel, EncodeError> {
        let Batch { client, id, items, not_after, fault, .. } = self;
        if let Some(fault) = fault {
            return Err(fault);
        }
        check_items(&items, not_after)?;
        let json: Vec<String> = items.iter().map(as_json).collect::<Result<_, _>>()?;
        let body = item::body(true, json.iter().map(String::as_str));
        if BATCH_BYTES_MAX < body.len() {
            return Err(EncodeError::TooLarge { bytes: body.len(), bytes_max: BATCH_BYTES_MAX });
        }
        let (Item::Command(RawCommand { aggregate, .. }) | Item::Check(aggregate, _)) = &items[0];
        let id = id.unwrap_or_else(|| Uuid::now_v7().into());
        Ok(Parcel::batch(&client.principal, aggregate.key.clone(), id, not_after, body))
    }
}

/// What the processor would refuse anyway, told before anything is sent.
fn check_items(items: &[Item], not_after: Option<Timestamp>) -> Result<(), EncodeError> {
    if ATOMIC_COMMANDS_MAX < items.len() {
        let message = format!("{} items, at most {ATOMIC_COMMANDS_MAX} are decided together", items.len());
        return Err(EncodeError::Batch(message));
    }
    let mut ids = HashSet::new();
    for item in items {
        let Item::Command(command) = item else { continue };
        if !ids.insert(&command.id) {
            return Err(EncodeError::Batch(format!("the id {} comes twice", command.id)));
        }
        if command.not_after.is_some() && command.not_after != not_after {
            return Err(EncodeError::Batch(format!("{} has a time limit of its own", command.id)));
        }
    }
    if ids.is_empty() { Err(EncodeError::Batch("it has no command".to_owned())) } else { Ok(()) }
}

fn as_json(item: &Item) -> Result<String, EncodeError> {
    match item {
        Item::Check(aggregate, version) => Ok(item::check(aggregate, *version)),
        Item::Command(command) if COMMAND_BYTES_MAX < command.data.len() => {
            Err(EncodeError::TooLarge { bytes: command.data.len(), bytes_max: COMMAND_BYTES_MAX })
        }
        Item::Command(command) => command.to_item().map_err(EncodeError::Json),
    }
}
