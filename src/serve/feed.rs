//! Copies what is durable to the feed: a task beside the loop, over a connection of its own, never on the way of a reply. It
//! may lag, and is then behind for a while; what it lags behind is what a lost disk would lose.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event, jetstream};
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::health::Vitals;
use crate::model::error::with_sources;
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
        Feeding { partition, nats, reader, vitals, fed }
    }

    /// Feeds until everything is fed and nothing more comes.
    pub(super) async fn run(mut self) {
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
                Ended::Finished => return,
                Ended::ConnectionGone => tokio::time::sleep(AGAIN_PAUSE).await,
                Ended::Broken(why) => {
                    tracing::error!(
                        partition = self.partition,
                        why,
                        "the feed has ended; commands are decided as before"
                    );
                    self.fed.send_modify(|fed| fed.ended = Some(why));
                    return;
                }
            }
        }
    }

    /// `again`: the connection is there, for the first time or once more.
    async fn feed_over(&mut self, client: Client, again: &Notify) -> Ended {
        let context = self.nats.jetstream(client.clone());
        let publisher = Publisher::new(context.clone(), self.partition);
        let (mut feeder, mut answers, mut has_asked) = (Feeder::new(), FuturesOrdered::new(), false);
        loop {
            let durable = self.reader.last();
            let step = match feeder.next(durable) {
                Next::Ask => {
                    // What went wrong once would most often go wrong at once again.
                    if std::mem::replace(&mut has_asked, true) {
                        tokio::time::sleep(AGAIN_PAUSE).await;
                    }
                    self.ask(&context, &mut feeder).await
                }
                Next::Publish(from) => self.publish(&publisher, from, &mut feeder, &mut answers).await,
                Next::Wait => {
                    self.tell(&feeder, durable);
                    self.wait(&mut feeder, &mut answers, again).await
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
        &self,
        publisher: &Publisher,
        from: Position,
        feeder: &mut Feeder,
        answers: &mut FuturesOrdered<Answering>,
    ) -> Result<(), Ended> {
        let sheaf = self.blocking(move |reader| sheaf(reader, from)).await?;
        let upto = sheaf.last().expect("what is durable ends with a whole atomic batch").position;
        match publisher.publish(&sheaf).await {
            Ok(answering) => {
                answers.push_back(answering);
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
        answers: &mut FuturesOrdered<Answering>,
        again: &Notify,
    ) -> Result<(), Ended> {
        tokio::select! {
            biased; // Only when no answer is on its way any more is it known that all is fed.
            Some(answer) = answers.next(), if !answers.is_empty() => feeder.answered(answer),
            // The broker may have come back with less than it had acknowledged.
            () = again.notified() => feeder.doubt(),
            more = self.vitals.changed() => match more {
                Ok(()) => {}
                Err(_) if feeder.fed() == self.reader.last() => return Err(Ended::Finished),
                // It is closed, and says so at once: what is still to come are answers alone.
                Err(_) => match answers.next().await {
                    Some(answer) => feeder.answered(answer),
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
        read: impl FnOnce(&FileReader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Ended> {
        let reader = self.reader.clone();
        match tokio::task::spawn_blocking(move || read(&reader)).await {
            Ok(read) => Ok(read?),
            Err(_) => Err(Ended::Broken("reading the store has panicked".into())),
        }
    }
}

/// The durable commits from a position on: about as many as fit a sheaf, and none of an atomic batch without the others.
fn sheaf(reader: &impl CommitReader, from: Position) -> Result<Vec<Commit>, ReadError> {
    let (mut sheaf, mut bytes, mut owed, mut whole) = (Vec::new(), 0, 0_u32, 0);
    for commit in reader.read(from) {
        let commit = commit?;
        bytes += commit.json().len();
        // The rest of a batch whose beginning the stream has already is like commits of their own.
        owed = owed.checked_sub(1).unwrap_or(commit.followers);
        sheaf.push(commit);
        if owed == 0 {
            whole = sheaf.len();
            if SHEAF_COMMITS_MAX <= whole || SHEAF_BYTES_MAX <= bytes {
                break;
            }
        }
    }
    sheaf.truncate(whole);
    Ok(sheaf)
}
