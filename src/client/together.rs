//! Commands that travel together, until each has its own outcome.
//!
//! What a reply refuses for a time is sent again, together. What a batch cannot carry (its key lives in another partition,
//! or the whole batch is refused for one of its items) is sent alone. An outcome that a large reply has no room for is
//! asked for.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use super::Client;
use super::command::Parcel;
use super::error::{Cause, NotSent, SendError};
use super::outcome::{Answer, RawBatch, RawOutcome};
use super::pack::{Pack, Packed, Shipment};
use super::retry::{Backoff, again_after};
use super::settle::InFlight;
use crate::model::{ItemReply, Outcome, Refusal};

/// How many commands of a batch are on their own way at once, if they must.
const APART_MAX: usize = 64;

/// The number of a command in its stream, and what came of it.
type Settled = (usize, Result<RawOutcome, SendError>);

/// One shipment under way.
pub(super) enum Together<'a> {
    Alone(usize, InFlight<'a>),
    Pack(UnderWay<'a>),
    /// It did not leave.
    Over(Vec<Settled>),
}

/// A batch of independent commands whose first copy has been published.
pub(super) struct UnderWay<'a> {
    client: &'a Client,
    in_flight: InFlight<'a>,
    commands: Vec<Packed>,
    deadline: Instant,
    settled: Vec<Settled>,
}

impl<'a> Together<'a> {
    /// Publishes it.
    pub(super) async fn start(client: &'a Client, shipment: Shipment, deadline: Instant) -> Together<'a> {
        match shipment {
            Shipment::Wrong(number, error) => Together::Over(vec![(number, Err(error.into()))]),
            Shipment::Alone(number, command) => {
                let parcel = match Parcel::of(client.principal(), command) {
                    Ok(parcel) => parcel,
                    Err(error) => return Together::Over(vec![(number, Err(error.into()))]),
                };
                match InFlight::start(client, parcel, deadline).await {
                    Ok(in_flight) => Together::Alone(number, in_flight),
                    Err(not_sent) => Together::Over(vec![(number, Err(SendError::NotSent(not_sent)))]),
                }
            }
            Shipment::Together(pack) => {
                let started = InFlight::start(client, pack.parcel(client.principal()), deadline).await;
                let commands = pack.commands;
                match started {
                    Ok(in_flight) => {
                        let settled = Vec::with_capacity(commands.len());
                        Together::Pack(UnderWay { client, in_flight, commands, deadline, settled })
                    }
                    Err(not_sent) => {
                        let of = |packed: Packed| (packed.number, Err(SendError::NotSent(not_sent.clone())));
                        Together::Over(commands.into_iter().map(of).collect())
                    }
                }
            }
        }
    }

    /// Goes on until each of its commands has an outcome, or the deadline has passed.
    pub(super) async fn settle(self) -> Vec<Settled> {
        match self {
            Together::Alone(number, in_flight) => {
                vec![(number, in_flight.settle().await.and_then(Answer::into_outcome))]
            }
            Together::Pack(under_way) => under_way.settle().await,
            Together::Over(settled) => settled,
        }
    }
}

/// What is left of a batch when its reply has been read.
#[derive(Default)]
struct Rest {
    /// Refused for a time.
    again: Vec<(Packed, Refusal)>,
    /// No batch can carry them.
    apart: Vec<Packed>,
    /// Decided, and there was no room for all of it.
    brief: Vec<(usize, Outcome)>,
    /// Whether all of them were decided before.
    replayed: bool,
}

impl UnderWay<'_> {
    async fn settle(self) -> Vec<Settled> {
        let UnderWay { client, mut in_flight, mut commands, deadline, mut settled } = self;
        let mut backoff = Backoff::default();
        let mut has_left = false;
        loop {
            let rest = match in_flight.settle().await {
                Ok(Answer::Batch(batch)) if is_about(&batch, &commands) => sort(batch, commands, &mut settled),
                Ok(_) => {
                    let cause = Cause::UnreadableReply("it is about other commands".to_owned());
                    settled.extend(unknown(commands, &cause));
                    return settled;
                }
                // The fault of one of them, which none of the others shares.
                Err(SendError::Refused { .. }) => Rest { apart: commands, ..Rest::default() },
                Err(error) => {
                    settled.extend(commands.into_iter().map(|Packed { number, command, .. }| {
                        let error = match &error {
                            SendError::NotSent(not_sent) if !has_left => SendError::NotSent(not_sent.clone()),
                            SendError::Unknown { cause, .. } => {
                                SendError::Unknown { id: command.id, cause: cause.clone() }
                            }
                            _ => SendError::Unknown { id: command.id, cause: Cause::Silence },
                        };
                        (number, Err(error))
                    }));
                    return settled;
                }
            };
            has_left = true;
            settled.extend(whole(client, rest.brief, rest.replayed, deadline).await);
            settled.extend(alone(client, rest.apart, deadline).await);
            let Some((_, refusal)) = rest.again.first() else { return settled };
            let cause = Cause::Refused(refusal.clone());
            let told =
                rest.again.iter().filter_map(|(_, refusal)| again_after(refusal)).max().unwrap_or(Duration::ZERO);
            commands = rest.again.into_iter().map(|(packed, _)| packed).collect();
            let again_at = Instant::now() + told + backoff.next(rand::random());
            if deadline <= again_at {
                settled.extend(unknown(commands, &cause));
                return settled;
            }
            sleep_until(again_at).await;
            let pack = Pack::from(commands);
            let started = InFlight::start(client, pack.parcel(client.principal()), deadline).await;
            commands = pack.commands;
            in_flight = match started {
                Ok(in_flight) => in_flight,
                Err(_) => {
                    // An earlier copy had left.
                    settled.extend(unknown(commands, &cause));
                    return settled;
                }
            };
        }
    }
}

/// Whether a reply has an entry for each of these commands, in their order.
fn is_about(batch: &RawBatch, commands: &[Packed]) -> bool {
    let items = &batch.reply.items;
    items.len() == commands.len()
        && items.iter().zip(commands).all(|(item, packed)| match item {
            ItemReply::Outcome { outcome, .. } => outcome.id == packed.command.id,
            ItemReply::Refused(_) => true,
            ItemReply::Check(_) => false,
        })
}

fn sort(batch: RawBatch, commands: Vec<Packed>, settled: &mut Vec<Settled>) -> Rest {
    let RawBatch { reply, replayed, .. } = batch;
    let mut rest = Rest { replayed, ..Rest::default() };
    for (packed, item) in commands.into_iter().zip(reply.items) {
        match item {
            ItemReply::Outcome { outcome, .. } if reply.events_omitted => rest.brief.push((packed.number, outcome)),
            ItemReply::Outcome { outcome, json } => {
                settled.push((packed.number, Ok(RawOutcome { outcome, json, replayed })));
            }
            ItemReply::Refused(refusal) if again_after(&refusal).is_some() => rest.again.push((packed, refusal)),
            ItemReply::Refused(refusal) if refusal.reason == "other_partition" => rest.apart.push(packed),
            ItemReply::Refused(refusal) => {
                settled.push((packed.number, Err(SendError::Refused { id: packed.command.id, refusal })));
            }
            ItemReply::Check(_) => {} // `is_about` has seen that there is none.
        }
    }
    rest
}

fn unknown(commands: Vec<Packed>, cause: &Cause) -> impl Iterator<Item = Settled> {
    let cause = cause.clone();
    commands.into_iter().map(move |Packed { number, command, .. }| {
        (number, Err(SendError::Unknown { id: command.id, cause: cause.clone() }))
    })
}

/// Each as a message of its own.
async fn alone(client: &Client, packed: Vec<Packed>, deadline: Instant) -> Vec<Settled> {
    let of: Vec<_> = packed.iter().map(|packed| (packed.number, packed.command.id.clone())).collect();
    let commands = stream::iter(packed.into_iter().map(|packed| Ok(packed.command)));
    let left = deadline.saturating_duration_since(Instant::now());
    let settled = client.singles(commands, APART_MAX, left).map(|(index, settled)| {
        let (number, id) = of[index].clone();
        let settled = settled.map_err(|error| match error {
            // A copy had left before, in the batch.
            SendError::NotSent(not_sent) => SendError::Unknown { id, cause: not_sent.into() },
            error => error,
        });
        (number, settled)
    });
    settled.collect().await
}

/// Each outcome with all that a reply had no room for.
async fn whole(client: &Client, brief: Vec<(usize, Outcome)>, replayed: bool, deadline: Instant) -> Vec<Settled> {
    let asked = brief.into_iter().map(|(number, brief)| async move {
        let whole = client.whole(&brief, deadline).await;
        (number, whole.map(|whole| RawOutcome { replayed, ..whole }))
    });
    stream::iter(asked).buffer_unordered(APART_MAX).collect().await
}

impl From<NotSent> for Cause {
    /// Of a copy that came after others.
    fn from(not_sent: NotSent) -> Cause {
        match not_sent {
            NotSent::Disconnected => Cause::Disconnected,
            NotSent::Closed => Cause::Closed,
            NotSent::NotPermitted(text) => Cause::Server(text),
        }
    }
}
