//! How do we get past a message that the library cannot read? Its delivery ends the connection that pulls, so nobody here
//! ever sees it, nobody can acknowledge it, and it would come again for ever, taking down its neighbours with it.
//!
//! So whenever that connection breaks, what was delivered and is not acknowledged is read beside it, and what the library
//! cannot read is put into quarantine and terminated. A stream that denies deletion takes that as an acknowledgement of
//! something delivered: `+TERM` to a subject that only tells what it is about, for the real one was never seen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::provision::COMMANDS;
use super::quarantine::{self, QuarantineError};
use super::stored;
use crate::model::error::with_sources;

/// Pause before something is tried again that the broker did not do.
const AGAIN_PAUSE: Duration = Duration::from_millis(500);

/// Messages that may wait to be put away. Those above it are delivered again.
const CONDEMNED_MAX: usize = 1_024;

/// A message that is to be put away although it can be read.
struct Condemned {
    sequence: u64,
    reason: String,
}

/// Puts away what must not be delivered any more, on the side. Ends when it is dropped.
pub(super) struct Sweep {
    wake: Arc<Notify>,
    condemned: mpsc::Sender<Condemned>,
    put_away: Arc<AtomicU64>,
    _working: JoinSet<()>,
}

impl Sweep {
    /// Starts to wait for reasons. Its connection must not be the one that pulls.
    pub(super) fn start(context: jetstream::Context, consumer: PullConsumer, partition: u32) -> Sweep {
        let (wake, put_away) = (Arc::new(Notify::new()), Arc::new(AtomicU64::new(0)));
        let (condemned, mut waiting) = mpsc::channel(CONDEMNED_MAX);
        let (woken, count) = (wake.clone(), put_away.clone());
        let mut working = JoinSet::new();
        working.spawn(async move {
            let mut sweeper = Sweeper { context, consumer, partition, put_away: count, kept: BTreeSet::new() };
            loop {
                tokio::select! {
                    () = woken.notified() => sweeper.sweep().await,
                    Some(Condemned { sequence, reason }) = waiting.recv() => {
                        if let Err(error) = sweeper.remove(sequence, &reason).await {
                            // It is delivered again, and then condemned again.
                            tracing::error!(sequence, error = with_sources(&error), "a command is not put away yet");
                        }
                    }
                }
            }
        });
        Sweep { wake, condemned, put_away, _working: working }
    }

    /// The pulling connection has broken: something in what was delivered may have done it.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Something to call from elsewhere that does the same.
    pub(super) fn waker(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    /// A delivered message is to be put away.
    pub(super) fn condemn(&self, sequence: u64, reason: String) {
        let _ = self.condemned.try_send(Condemned { sequence, reason }); // If it is full, it comes again.
    }

    /// How many messages were put away.
    pub(super) fn put_away(&self) -> u64 {
        self.put_away.load(Ordering::Relaxed)
    }
}

struct Sweeper {
    context: jetstream::Context,
    consumer: PullConsumer,
    partition: u32,
    put_away: Arc<AtomicU64>,
    /// What the quarantine has and the stream too, since the broker did not terminate it yet.
    kept: BTreeSet<u64>,
}

impl Sweeper {
    /// Looks at everything that is delivered and not acknowledged, however often it takes.
    async fn sweep(&mut self) {
        while let Err(error) = self.try_sweep().await {
            tracing::warn!(error = with_sources(&error), "what was delivered cannot be looked through yet");
            tokio::time::sleep(AGAIN_PAUSE).await;
        }
    }

    async fn try_sweep(&mut self) -> Result<(), QuarantineError> {
        let asking = |source| QuarantineError::Broker { what: "reading the commands that were delivered", source };
        let info = match self.consumer.get_info().await {
            Ok(info) => info,
            // Whoever pulls from it notices too.
            Err(error) if error.kind() == jetstream::context::ConsumerInfoErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(asking(error.into())),
        };
        let mut from = info.ack_floor.stream_sequence + 1;
        while from <= info.delivered.stream_sequence {
            let found = stored::next(&self.context, COMMANDS, &info.config.filter_subject, from).await;
            let Some(found) = found.map_err(asking)? else { break };
            if found.sequence > info.delivered.stream_sequence {
                break; // What is not delivered yet cannot be terminated.
            }
            from = found.sequence + 1;
            if let Err(unreadable) = found.readable() {
                self.remove(found.sequence, &format!("no NATS client can read it: {unreadable}")).await?;
            }
        }
        Ok(())
    }

    async fn remove(&mut self, sequence: u64, reason: &str) -> Result<(), QuarantineError> {
        tracing::error!(sequence, reason, "a command goes into quarantine");
        if !self.kept.contains(&sequence) {
            quarantine::put_away(&self.context, self.partition, sequence, reason).await?;
            self.kept.insert(sequence);
        }
        self.terminate(sequence).await?;
        self.kept.remove(&sequence);
        self.put_away.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The server goes by the number in the stream alone, if that is delivered. It is asked whether it did.
    async fn terminate(&self, sequence: u64) -> Result<(), QuarantineError> {
        let failed = |source| QuarantineError::Broker { what: "terminating a command", source };
        let consumer = &self.consumer.cached_info().name;
        let subject = format!("$JS.ACK.{COMMANDS}.{consumer}.1.{sequence}.1.0.0");
        let told = self.context.client().request(subject, Bytes::from_static(b"+TERM put into quarantine")).await;
        told.map_err(|error| failed(error.into()))?;
        match stored::get(&self.context, COMMANDS, sequence).await.map_err(failed)? {
            None => Ok(()),
            Some(_) => Err(failed("it is still in the stream".into())),
        }
    }
}
