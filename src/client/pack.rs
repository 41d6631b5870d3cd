//! Which commands travel together? Those that follow each other, live in one partition and have the same time limit, until
//! a batch is full or nothing more comes for a moment.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use futures::stream::{Fuse, unfold};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::command::{Parcel, RawCommand};
use super::error::EncodeError;
use super::window::Packing;
use crate::model::item;
use crate::model::limits::{BATCH_BYTES_MAX, COMMAND_BYTES_MAX};
use crate::model::partition::partition_of;
use crate::model::{CommandId, Principal, Timestamp};

/// How long a batch that is not full waits for its next command. A source that is read from a disk pauses now and then.
const LINGER: Duration = Duration::from_millis(5);

/// A command in a batch.
#[derive(Debug)]
pub(super) struct Packed {
    /// Its number in the stream, from 0.
    pub(super) number: usize,
    pub(super) command: RawCommand,
    json: String,
}

/// Commands that travel together: at least one.
#[derive(Debug, Default)]
pub(super) struct Pack {
    pub(super) commands: Vec<Packed>,
    ids: HashSet<CommandId>,
    bytes: usize,
}

/// What leaves as one message, or not at all.
#[derive(Debug)]
pub(super) enum Shipment {
    Alone(usize, RawCommand),
    Together(Pack),
    Wrong(usize, EncodeError),
}

impl Pack {
    /// The message that it is.
    pub(super) fn parcel(&self, principal: &Principal) -> Parcel {
        let first = &self.commands.first().expect("an empty pack is never made").command;
        let body = item::body(false, self.commands.iter().map(|packed| packed.json.as_str()));
        Parcel::independent(principal, first, body)
    }

    fn not_after(&self) -> Option<Timestamp> {
        self.commands.first().and_then(|packed| packed.command.not_after)
    }

    fn has_room_for(&self, packed: &Packed, items_max: usize) -> bool {
        self.commands.len() < items_max
            && self.bytes + packed.json.len() + 1 + item::BODY_BYTES_BESIDE <= BATCH_BYTES_MAX
            && self.not_after() == packed.command.not_after
            // The same id twice makes a batch malformed, even where it is the same command.
            && !self.ids.contains(&packed.command.id)
    }

    fn add(&mut self, packed: Packed) {
        self.bytes += packed.json.len() + 1;
        self.ids.insert(packed.command.id.clone());
        self.commands.push(packed);
    }
}

impl From<Vec<Packed>> for Pack {
    fn from(commands: Vec<Packed>) -> Pack {
        let mut pack = Pack::default();
        commands.into_iter().for_each(|packed| pack.add(packed));
        pack
    }
}

/// The source, and what has been taken from it and not left yet.
struct Packer<S> {
    source: Pin<Box<Fuse<S>>>,
    packing: Packing,
    count: usize,
    open: BTreeMap<u32, Pack>,
    /// When the longest open pack leaves even if it is not full.
    leaves_at: Option<Instant>,
    ready: VecDeque<Shipment>,
}

/// Packs a stream of commands, in its order within each partition.
pub(super) fn shipments<S>(source: S, packing: Packing) -> impl Stream<Item = Shipment>
where
    S: Stream<Item = Result<RawCommand, EncodeError>>,
{
    let source = Box::pin(source.fuse());
    let (open, ready) = (BTreeMap::new(), VecDeque::new());
    let packer = Packer { source, packing, count: 0, open, leaves_at: None, ready };
    unfold(packer, |mut packer| async move { packer.next().await.map(|shipment| (shipment, packer)) })
}

impl<S: Stream<Item = Result<RawCommand, EncodeError>>> Packer<S> {
    async fn next(&mut self) -> Option<Shipment> {
        loop {
            if let Some(shipment) = self.ready.pop_front() {
                return Some(shipment);
            }
            let command = match self.leaves_at {
                None => self.source.next().await,
                // What is there is taken first, however late it is.
                Some(at) => match timeout_at(at, self.source.next()).await {
                    Ok(command) => command,
                    Err(_) => {
                        self.close_all();
                        continue;
                    }
                },
            };
            match command {
                Some(command) => self.take_in(command),
                None if self.open.is_empty() => return None,
                None => self.close_all(),
            }
        }
    }

    fn take_in(&mut self, command: Result<RawCommand, EncodeError>) {
        let number = self.count;
        self.count += 1;
        let command = match command {
            Ok(command) => command,
            Err(error) => return self.ready.push_back(Shipment::Wrong(number, error)),
        };
        let partition = partition_of(&command.aggregate.key, self.packing.partitions);
        let Some(json) = as_item(&command) else {
            self.close(partition); // Those before it leave before it.
            return self.ready.push_back(Shipment::Alone(number, command));
        };
        let packed = Packed { number, command, json };
        let items_max = self.packing.items;
        if self.open.get(&partition).is_some_and(|pack| !pack.has_room_for(&packed, items_max)) {
            self.close(partition);
        }
        let pack = self.open.entry(partition).or_default();
        pack.add(packed);
        if pack.commands.len() == items_max {
            self.close(partition);
        } else {
            self.leaves_at.get_or_insert_with(|| Instant::now() + LINGER);
        }
    }

    fn close(&mut self, partition: u32) {
        let Some(pack) = self.open.remove(&partition) else { return };
        if self.open.is_empty() {
            self.leaves_at = None;
        }
        self.ready.push_back(shipment(pack));
    }

    fn close_all(&mut self) {
        self.leaves_at = None;
        self.ready.extend(std::mem::take(&mut self.open).into_values().map(shipment));
    }
}

fn shipment(mut pack: Pack) -> Shipment {
    match pack.commands.pop() {
        Some(only) if pack.commands.is_empty() => Shipment::Alone(only.number, only.command),
        last => {
            pack.commands.extend(last);
            Shipment::Together(pack)
        }
    }
}

/// A command as an item; `None` for what would make a whole batch malformed and is to get its own answer.
fn as_item(command: &RawCommand) -> Option<String> {
    let is_the_protocols = command.name.as_str().starts_with('_') || command.aggregate.kind.is_batch();
    let is_too_large = command.data.len() > COMMAND_BYTES_MAX;
    if is_the_protocols || is_too_large { None } else { command.to_item().ok() }
}
