//! THE LOOP: input in, effects out. Nothing else in the crate joins the processor and I/O.

use std::time::Duration;

use async_nats::jetstream;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::fatal::Fatal;
use super::health::Vitals;
use super::indexer::Indexer;
use super::loader::Loader;
use super::time::now;
use crate::model::Position;
use crate::model::error::with_sources;
use crate::model::limits::INDEX_STALL_MAX;
use crate::nats::deliver::{DeliverError, Deliveries};
use crate::nats::message::{self, Message};
use crate::nats::sender::{SendError, Sender};
use crate::nats::{provision, quarantine};
use crate::processor::{Answer, Delivery, Effect, Input, Processor, Question, Ticket};
use crate::store::EventStore;

/// How often time is told to those who wait for a decision, and vital signs are taken.
const TICK: Duration = Duration::from_millis(25);

/// Everything that the loop joins.
pub(super) struct Partition<S> {
    pub(super) number: u32,
    pub(super) processor: Processor,
    pub(super) store: S,
    pub(super) loader: Loader,
    pub(super) indexer: Indexer,
    pub(super) deliveries: Deliveries,
    pub(super) context: jetstream::Context,
    pub(super) provision: provision::Wanted,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) clock: watch::Receiver<Result<(), String>>,
    pub(super) vitals: watch::Sender<Vitals>,
    pub(super) stop: CancellationToken,
}

/// What the loop itself remembers.
struct Progress {
    stopping: bool,
    durable: Option<Position>,
    indexed: Option<Position>,
    /// When the index went on last, or got something to do.
    indexed_at: Instant,
}

impl Progress {
    fn durable_upto(&mut self, position: Position, now: Instant) {
        if self.indexed == self.durable {
            self.indexed_at = now; // Only now does the index lack something.
        }
        self.durable = Some(position);
    }

    fn indexed_upto(&mut self, position: Position, now: Instant) {
        self.indexed = Some(position);
        self.indexed_at = now;
    }

    fn has_stalled(&self, now: Instant) -> bool {
        self.indexed != self.durable && INDEX_STALL_MAX < now - self.indexed_at
    }
}

/// A delivery on its way into quarantine, to be acknowledged once it is there.
type PuttingAside = FuturesUnordered<BoxFuture<'static, Option<Ticket>>>;

impl<S: EventStore> Partition<S> {
    /// Runs until told to stop, then answers what was taken in, brings the index up to date, checkpoints and returns.
    pub(super) async fn run(mut self, sender: Sender) -> Result<(), Fatal> {
        let ended = self.decide(&sender).await;
        sender.close().await; // What is queued leaves first, whatever has ended this.
        ended?;
        self.deliveries.close().await;
        let finishing = tokio::task::spawn_blocking(move || {
            self.indexer.finish()?;
            self.loader.finish()
        });
        finishing.await.unwrap_or(Err(Fatal::ThreadPanicked("indexer")))
    }

    /// Runs until told to stop and everything that was taken in is answered.
    async fn decide(&mut self, sender: &Sender) -> Result<(), Fatal> {
        let last = self.processor.last();
        let mut progress = Progress { stopping: false, durable: last, indexed: last, indexed_at: Instant::now() };
        let mut putting_aside = PuttingAside::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut effects = Vec::new();
        self.processor.on(Input::ClockChecked(self.clock.borrow_and_update().clone()), &mut effects);
        while !(progress.stopping && self.processor.is_idle() && putting_aside.is_empty()) {
            let input = tokio::select! {
                biased; // Replies that may leave do so before new work comes in.
                durable = self.store.durable() => {
                    let durable = durable?; // Ends the process. Never retry.
                    progress.durable_upto(durable.get(), Instant::now());
                    Input::Appended(durable)
                }
                loaded = self.loader.answer() => loaded?,
                indexed = self.indexer.indexed() => {
                    let indexed = indexed?;
                    progress.indexed_upto(indexed, Instant::now());
                    Input::Indexed(indexed)
                }
                Some(ticket) = putting_aside.next(), if !putting_aside.is_empty() => {
                    if let Some(ticket) = ticket {
                        ack(sender, ticket).await?;
                    }
                    continue;
                }
                () = self.stop.cancelled(), if !progress.stopping => {
                    progress.stopping = true;
                    continue;
                }
                Ok(()) = self.clock.changed() => Input::ClockChecked(self.clock.borrow_and_update().clone()),
                _ = tick.tick() => {
                    self.watch_over(&progress)?;
                    if !self.processor.has_waiters() {
                        continue;
                    }
                    Input::Tick(now())
                }
                // Questions need look-ups too. Without room they wait in their channel, and when that is full who asks
                // is told so.
                Some(question) = self.questions.recv(), if self.processor.has_room() => {
                    let mut questions = vec![question];
                    while let Ok(question) = self.questions.try_recv() {
                        questions.push(question);
                    }
                    Input::Asked(questions, now())
                }
                batch = self.deliveries.pull(), if !progress.stopping && self.may_pull() => {
                    match batch {
                        Ok(messages) => Input::Delivered(messages.into_iter().map(delivery).collect(), now()),
                        Err(DeliverError::ClientGone) => return Err(Fatal::ConnectionEnded),
                        Err(DeliverError::ConsumerGone(name)) => {
                            self.restore(&name).await?;
                            continue;
                        }
                    }
                }
            };
            self.processor.on(input, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect, sender, &mut putting_aside).await?;
            }
        }
        Ok(())
    }

    async fn carry_out(
        &mut self,
        effect: Effect,
        sender: &Sender,
        putting_aside: &mut PuttingAside,
    ) -> Result<(), Fatal> {
        match effect {
            // A lone one is on its disk, or has failed, when this returns: there is nothing else to decide meanwhile.
            Effect::Append(commits) => self.store.append(commits),
            Effect::Load(number, wanted) => self.loader.load(number, wanted),
            Effect::Index(entries) => self.indexer.note(entries),
            Effect::Reply(answer) => reply(sender, answer).await?,
            Effect::Ack(tickets) => {
                // The connection's task writes the replies meanwhile: nobody waits for an acknowledgement.
                tokio::task::yield_now().await;
                for ticket in tickets {
                    ack(sender, ticket).await?;
                }
            }
            Effect::Quarantine(delivery, why) => putting_aside.push(self.put_aside(delivery, why)),
        }
        Ok(())
    }

    /// What may be crash poison is alone in here until it is settled, so that nobody dies with it.
    fn may_pull(&self) -> bool {
        self.processor.has_room() && (!self.deliveries.is_careful() || self.processor.is_idle())
    }

    /// Acknowledged only when the quarantine has it; otherwise it is delivered again.
    fn put_aside(&self, delivery: Delivery, reason: String) -> BoxFuture<'static, Option<Ticket>> {
        let Delivery { subject, ticket, .. } = delivery;
        tracing::error!(subject, reason, "a command goes into quarantine");
        let (context, partition) = (self.context.clone(), self.number);
        Box::pin(async move {
            let sequence = message::acknowledges(&ticket.0).expect("the ticket was read when it came in");
            match quarantine::put_away(&context, partition, sequence, &reason).await {
                Ok(()) => Some(ticket),
                Err(error) => {
                    tracing::error!(error = with_sources(&error), "the quarantine did not take a command");
                    None
                }
            }
        })
    }

    /// What the stream held is the clients' to send again; until they have a reply they do.
    async fn restore(&mut self, consumer: &str) -> Result<(), Fatal> {
        tracing::error!(consumer, "the consumer or its stream was deleted; it is made again");
        let consumer = provision::restore(&self.context, &self.provision, self.number).await?;
        self.deliveries.go_on_with(consumer);
        Ok(())
    }

    /// Vital signs, from work done.
    fn watch_over(&self, progress: &Progress) -> Result<(), Fatal> {
        if progress.has_stalled(Instant::now()) {
            return Err(Fatal::IndexStalled);
        }
        self.vitals.send_replace(Vitals {
            counts: self.processor.counts(),
            put_away: self.deliveries.put_away(),
            durable: progress.durable,
            indexed: progress.indexed,
            silent_since: self.deliveries.silent_since(),
            has_room: self.processor.has_room(),
            faults: self.deliveries.faults(),
            told_at: Instant::now(),
        });
        Ok(())
    }
}

/// Nobody else is to suffer from a reply that cannot be sent.
async fn reply(sender: &Sender, answer: Answer) -> Result<(), Fatal> {
    match sender.reply(answer.to, answer.body, answer.replayed).await {
        Err(SendError::ClientGone) => Err(Fatal::ConnectionEnded),
        // The outcome is recorded and can be asked for.
        Err(error) => {
            tracing::warn!(error = with_sources(&error), "a reply cannot be sent");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn ack(sender: &Sender, Ticket(subject): Ticket) -> Result<(), Fatal> {
    match sender.ack(subject.into()).await {
        Err(SendError::ClientGone) => Err(Fatal::ConnectionEnded),
        // Then it is delivered again, which is harmless.
        Err(error) => {
            tracing::warn!(error = with_sources(&error), "an acknowledgement cannot be sent");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn delivery(message: Message) -> Delivery {
    Delivery {
        subject: message.subject.into_string(),
        headers: message.headers,
        body: message.body,
        stored_at: message.stored_at,
        ticket: Ticket(message.ack.into_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_stands_still_only_while_it_lacks_something() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let position = |number| Position::new(number).unwrap();
        let mut progress = Progress { stopping: false, durable: None, indexed: None, indexed_at: start };
        assert!(!progress.has_stalled(later(100)), "there is nothing to index");
        // The loop is silent as long as the fsync of a lone commit takes.
        progress.durable_upto(position(1), later(100));
        assert!(!progress.has_stalled(later(130)), "it has had 30 s");
        assert!(progress.has_stalled(later(131)));
        progress.durable_upto(position(2), later(131));
        assert!(progress.has_stalled(later(131)), "that more comes is no work done");
        progress.indexed_upto(position(1), later(131));
        assert!(!progress.has_stalled(later(161)));
        assert!(progress.has_stalled(later(162)));
        progress.indexed_upto(position(2), later(162));
        assert!(!progress.has_stalled(later(300)), "it has caught up");
    }
}
