//! Copies what is durable to the feed: a task beside the loop, over a connection of its own, never on the way of a reply. It
//! may lag, and is then behind for a while; what it lags behind is what a lost disk would lose.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event, jetstream};
use futures::FutureExt;
use futures::future::OptionFuture;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::health::Vitals;
use crate::model::error::{message_of, with_sources};
use crate::model::groups::Groups;
use crate::model::{ChainHash, Commit, Position};
use crate::nats::ConnectOptions;
use crate::nats::connect::{connect_listening, tell};
use crate::nats::feed::feeder::{SHEAF_BYTES_MAX, SHEAF_COMMITS_MAX};
use crate::nats::feed::publish::{Answering, PublishError};
use crate::nats::feed::{Feeder, Next, Publisher, stand};
use crate::store::file::FileReader;
use crate::store::{CommitReader, ReadError};

/// Pause before a broker that did not do what it was asked is asked again.
const AGAIN_PAUSE: Duration = Duration::from_millis(250);

/// How long commits gather behind a sheaf of several that was not full: for each of those the server makes a store of its
/// own, and a full one costs hardly more. Readers do not see so little.
const GATHER_PAUSE: Duration = Duration::from_millis(10);

/// How long the feed may not move while it is behind, before that is said.
const STALL_MAX: Duration = Duration::from_secs(10);

/// What the feed of one partition tells about itself.
#[derive(Debug, Clone)]
pub(super) struct Fed {
    pub(super) upto: Option<Position>,
    /// When it had moved, or had nothing to do.
    moved_at: Instant,
    /// Why it has ended, if it has.
    ended: Option<String>,
}

impl Fed {
    pub(super) fn new(upto: Option<Position>) -> Fed {
        Fed { upto, moved_at: Instant::now(), ended: None }
    }

    /// What is wrong with a feed that is so many commits behind.
    pub(super) fn trouble(&self, behind: u64) -> Option<String> {
        if let Some(why) = &self.ended {
            return Some(format!("the feed has ended: {why}"));
        }
        let stands = self.moved_at.elapsed();
        let is_stuck = behind > 0 && STALL_MAX < stands;
        is_stuck.then(|| format!("the feed is {behind} commits behind and has not moved for {} s", stands.as_secs()))
    }
}

/// Feeds one partition.
pub(super) struct Feeding {
    partition: u32,
    nats: ConnectOptions,
    reader: FileReader,
    /// Tells when more may be durable, and by its end that no more will be.
    vitals: watch::Receiver<Vitals>,
    fed: watch::Sender<Fed>,
    /// When the next sheaf may go.
    gathered_at: Instant,
}

/// Why feeding over a connection is over.
enum Ended {
    /// Everything is fed, and nothing more comes.
    Finished,
    /// The connection has ended for good. Over another one it goes on.
    ConnectionGone,
    /// It cannot go on, over no connection.
    Broken(String),
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Ended {
        Ended::Broken(with_sources(&error))
    }
}

impl Feeding {
    pub(super) fn new(
        partition: u32,
        nats: ConnectOptions,
        reader: FileReader,
        vitals: watch::Receiver<Vitals>,
        fed: watch::Sender<Fed>,
    ) -> Feeding {
        let nats = ConnectOptions { name: Some(format!("hapax feed {partition}")), wait_for_server: true, ..nats };
        Feeding { partition, nats, reader, vitals, fed, gathered_at: Instant::now() }
    }

    /// Feeds until everything is fed and nothing more comes.
    pub(super) async fn run(self) {
        let (partition, fed) = (self.partition, self.fed.clone());
        run_to_the_end(partition, &fed, self.feed()).await;
    }

    /// # Errors
    /// Why the feed has ended before that.
    async fn feed(mut self) -> Result<(), String> {
        loop {
            let again = Arc::new(Notify::new());
            let connected = again.clone();
            let listening = connect_listening(&self.nats, move |event| {
                tell(&event);
                if let Event::Connected = event {
                    connected.notify_one();
                }
            });
            let ended = match listening.await {
                Ok(client) => self.feed_over(client, &again).await,
                Err(error) => {
                    tracing::warn!(
                        partition = self.partition,
                        error = with_sources(&error),
                        "no connection to feed over"
                    );
                    Ended::ConnectionGone
                }
            };
            match ended {
                Ended::Finished => return Ok(()),
                Ended::ConnectionGone => tokio::time::sleep(AGAIN_PAUSE).await,
                Ended::Broken(why) => return Err(why),
            }
        }
    }

    /// `again`: the connection is there, for the first time or once more.
    async fn feed_over(&mut self, client: Client, again: &Notify) -> Ended {
        let context = self.nats.jetstream(client.clone());
        let publisher = Publisher::new(context.clone(), self.partition);
        let (mut feeder, mut answering, mut stood) = (Feeder::new(), None, None);
        loop {
            let durable = self.reader.last();
            let step = match feeder.next(durable) {
                Next::Ask => {
                    let asked = self.ask(&context, &mut feeder).await;
                    // What went wrong since without anything getting through would go wrong at once again.
                    if stood.replace(feeder.fed()) == Some(feeder.fed()) {
                        tokio::time::sleep(AGAIN_PAUSE).await;
                    }
                    asked
                }
                Next::Publish(from) => self.publish(&publisher, from, &mut feeder, &mut answering).await,
                Next::Wait => {
                    self.tell(&feeder, durable);
                    self.wait(&mut feeder, &mut answering, again).await
                }
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// Finds out where to go on.
    async fn ask(&self, context: &jetstream::Context, feeder: &mut Feeder) -> Result<(), Ended> {
        match stand(context, self.partition).await {
            Ok(stand) => {
                let (durable, ours) = self.store_at(stand.last).await?;
                feeder.stands(&stand, durable, ours).map_err(|error| Ended::Broken(error.to_string()))
            }
            Err(error) => {
                let error = with_sources(&*error);
                tracing::warn!(
                    partition = self.partition,
                    error,
                    "the stream of the feed does not tell where it stands"
                );
                // While a connection is down this waits; it fails only if there is no connection task to wait for.
                context.client().flush().await.map_err(|_| Ended::ConnectionGone)
            }
        }
    }

    async fn publish(
        &mut self,
        publisher: &Publisher,
        from: Position,
        feeder: &mut Feeder,
        answering: &mut Option<Answering>,
    ) -> Result<(), Ended> {
        tokio::time::sleep_until(self.gathered_at).await;
        let commits_max = feeder.commits_max();
        let sheaf = self.blocking(move |reader| sheaf(reader, from, commits_max)).await?;
        if (2..SHEAF_COMMITS_MAX).contains(&sheaf.len()) {
            self.gathered_at = Instant::now() + GATHER_PAUSE;
        }
        let upto = sheaf.last().expect("what is durable ends with a whole atomic batch").position;
        match publisher.publish(&sheaf).await {
            Ok(sent) => {
                *answering = Some(sent);
                feeder.published(upto);
                Ok(())
            }
            Err(PublishError::Connection(error)) => {
                tracing::warn!(partition = self.partition, error = with_sources(&*error), "commits cannot be fed");
                feeder.doubt();
                Ok(())
            }
            Err(error @ PublishError::TooLarge(_)) => Err(Ended::Broken(error.to_string())),
        }
    }

    /// Waits for an answer, or for more commits.
    async fn wait(
        &mut self,
        feeder: &mut Feeder,
        answering: &mut Option<Answering>,
        again: &Notify,
    ) -> Result<(), Ended> {
        tokio::select! {
            biased; // Only when no answer is on its way any more is it known that all is fed.
            Some(answer) = OptionFuture::from(answering.as_mut()) => {
                *answering = None;
                feeder.answered(answer);
            }
            // The broker may have come back with less than it had acknowledged.
            () = again.notified() => feeder.doubt(),
            more = self.vitals.changed() => match more {
                Ok(()) => {}
                Err(_) if feeder.fed() == self.reader.last() => return Err(Ended::Finished),
                // It is closed, and says so at once: what is still to come are answers alone.
                Err(_) => match answering.take() {
                    Some(answering) => feeder.answered(answering.await),
                    None => tokio::task::yield_now().await,
                },
            },
        }
        Ok(())
    }

    fn tell(&self, feeder: &Feeder, durable: Option<Position>) {
        self.fed.send_if_modified(|fed| {
            let upto = feeder.fed();
            if fed.upto != upto || upto == durable {
                fed.moved_at = Instant::now();
            }
            std::mem::replace(&mut fed.upto, upto) != upto
        });
    }

    /// The last durable position, and the chain hash at another one that is durable.
    async fn store_at(&self, position: Option<Position>) -> Result<(Option<Position>, Option<ChainHash>), Ended> {
        let read = move |reader: &FileReader| {
            let durable = reader.last();
            let there = position.filter(|position| Some(*position) <= durable);
            Ok((durable, there.map(|position| reader.get(position)).transpose()?.map(|commit| commit.hash)))
        };
        self.blocking(read).await
    }

    /// Reads from the store on a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&FileReader) -> Result<T, Ended> + Send + 'static,
    ) -> Result<T, Ended> {
        let reader = self.reader.clone();
        match tokio::task::spawn_blocking(move || read(&reader)).await {
            Ok(read) => read,
            Err(_) => Err(Ended::Broken("reading the store has panicked".into())),
        }
    }
}

/// Sees to it that a feed does not end in silence, be it by a panic: nobody else waits for it. No decision depends on it, so
/// the processor goes on, and its health says why the feed does not.
async fn run_to_the_end(partition: u32, fed: &watch::Sender<Fed>, feeding: impl Future<Output = Result<(), String>>) {
    // Whatever it was working on is gone with it.
    let ended = AssertUnwindSafe(feeding).catch_unwind().await;
    let panicked = |panic: Box<dyn Any + Send>| {
        Err(format!("it has panicked: {}; start the processor again, and report this", message_of(panic.as_ref())))
    };
    if let Err(why) = ended.unwrap_or_else(panicked) {
        tracing::error!(partition, why, "the feed has ended; commands are decided as before");
        fed.send_modify(|fed| fed.ended = Some(why));
    }
}

/// The durable commits from a position on, as many as fit a sheaf, and none of an atomic batch without the others. At least
/// one group of them: the store does not end in the middle of one.
fn sheaf(reader: &impl CommitReader, from: Position, commits_max: usize) -> Result<Vec<Commit>, Ended> {
    let (mut sheaf, mut bytes, mut groups) = (Vec::new(), 0, Groups::default());
    for commit in reader.read(from) {
        let commit = commit?;
        bytes += commit.json().len();
        let Some(group) = groups.take(commit).map_err(|torn| Ended::Broken(torn.to_string()))? else { continue };
        if !sheaf.is_empty() && commits_max < sheaf.len() + group.len() {
            break;
        }
        sheaf.extend(group);
        if commits_max <= sheaf.len() || SHEAF_BYTES_MAX <= bytes {
            break;
        }
    }
    Ok(sheaf)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::serve::health::Health;
    use crate::store::file::FileStore;
    use crate::store::{EventStore, StoreId};

    /// The task of a feed was waited for at a stop only, and its panic was thrown away: the feed stood still, and after ten
    /// seconds health said that it does, but not why; nor anything, while nothing was decided.
    #[tokio::test]
    async fn a_feed_that_panics_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let id = StoreId { store: Uuid::from_u128(7), partition: 0, partitions: 1 };
        let (store, _) = FileStore::open(folder.path(), id, None).unwrap();
        let (_vitals, vitals_out) = watch::channel(Vitals::new(None));
        let (fed, fed_out) = watch::channel(Fed::new(None));
        let health = Health::starting(1);
        health.running(0, vitals_out, store.reader(), Some(fed_out));
        assert_eq!(health.report().state, "ready");
        run_to_the_end(0, &fed, async { panic!("a sheaf has {} commits", 0) }).await;
        let report = health.report();
        assert_eq!(report.state, "degraded");
        let why = "partition 0: the feed has ended: it has panicked: a sheaf has 0 commits; start the processor again, and \
                   report this";
        assert_eq!(report.why, [why]);
    }
}
