//! A running processor: settings, start, the loops of all partitions, and the drain when it is told to stop.
//!
//! At start, for each partition: the checkpoint says how far the store must go, the store proves its own tail and says where
//! it ends, the index catches up, and only then is anything pulled.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aggregate::Service;
use crate::index::{Progress, SledIndex};
use crate::model::Timestamp;
use crate::model::error::with_sources;
use crate::model::limits::{CLOCK_SKEW_MAX, WAITERS_MAX};
use crate::model::partition::PartitionNumber;
use crate::nats::deliver::Deliveries;
use crate::nats::feed::{Stand, is_missing, stand};
use crate::nats::sender::Sender;
use crate::nats::stranded::{self, stranded};
use crate::nats::suspects::Suspects;
use crate::nats::{ConnectError, ConnectOptions, connect, provision};
use crate::processor::Processor;
use crate::store::EventStore;
use crate::store::file::FileStore;

pub mod data_dir;
pub mod restore;
mod fatal;
pub(crate) mod open;
pub(crate) mod unfinished;
mod time;
pub mod health;
pub mod lookup;
mod loader;
mod indexer;
mod feed;
mod query;
mod thread;
mod partition;

pub use data_dir::{DataDir, DataDirError};
pub use fatal::Fatal;

use feed::{Fed, Feeding};
use health::{Health, Vitals};
use indexer::Indexer;
use loader::Loader;
use lookup::LookUp;
use open::{Opened, Opening};
use partition::Partition;
use query::{Answerer, Answerers, Queries};
use thread::on_a_thread;

/// How long everything that was taken in may take to be answered once the processor is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// How long a stop may take until the feed has everything. It goes on at the next start.
const FEED_FINISH_MAX: Duration = Duration::from_secs(5);

/// How often the streams are looked at: whether the quarantine is there, and for what nobody gets.
const STREAM_CHECK_EVERY: Duration = Duration::from_secs(10);
/// The same, where something has just been done about it.
const STREAM_CHECK_SOON: Duration = Duration::from_secs(1);

/// How often our clock is compared with the broker's.
const CLOCK_CHECK_EVERY: Duration = Duration::from_secs(60);

/// How a processor runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How the broker is reached.
    pub nats: ConnectOptions,
    /// The data directory.
    pub data: PathBuf,
    /// The number of partitions, if it is told; a new store has 1. It is fixed when the store is made.
    pub partitions: Option<u32>,
    /// Whether missing streams and consumers may be created.
    pub provision: bool,
    /// Whether a consumer is taken over from another store, or from a processor that still pulls. Two processors on
    /// copies of one store are not fenced from each other: whoever says this knows that the other one is dead.
    pub take_over: bool,
    /// Whether there is a feed.
    pub feed: Feed,
}

/// Whether the commits are copied to the streams of the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Feed {
    /// They are.
    #[default]
    On,
    /// They are not. A feed that there was stands still.
    Off,
    /// They are, and a stream that is lost is made again from the first commit. Whoever says this knows that the data
    /// directory is no older copy of itself, which only the feed could tell.
    Anew,
}

/// What a processor tells while it starts.
#[derive(Debug, Clone)]
pub enum Notice {
    /// The broker does not authenticate its clients, so that a principal is only a claim.
    NoAuthentication,
    /// These were missing and have been created.
    Created(Vec<String>),
    /// The index of a partition is not believed and is built anew, and why.
    IndexDoubted(u32, String),
    /// The index of a partition is being brought to where the store is.
    Rebuilding(u32, Progress),
    /// Commands are being decided.
    Ready,
}

/// Why a processor did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The broker cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl From<provision::ProvisionError> for ServeError {
    fn from(error: provision::ProvisionError) -> ServeError {
        ServeError::Fatal(Fatal::Provision(error))
    }
}

/// Runs a processor until `stop` is cancelled, then answers what was taken in and returns.
///
/// # Errors
/// [`ServeError`]: the process ends, and may be started again.
pub async fn serve(
    service: impl Into<Arc<Service>>,
    settings: Settings,
    stop: CancellationToken,
    notify: impl Fn(Notice) + Send + Sync + 'static,
) -> Result<(), ServeError> {
    let data = DataDir::open_or_create(&settings.data, settings.partitions)?;
    for partition in 0..data.partitions() {
        // The streams of another store would be made, and then stand in the way of this one's.
        FileStore::must_belong(&data.journal_dir(partition), data.store_id(partition)).map_err(Fatal::Open)?;
    }
    let client = tokio::select! {
        client = connect(&settings.nats) => client?,
        () = stop.cancelled() => return Ok(()),
    };
    if !crate::nats::connect::authenticates(&client) {
        notify(Notice::NoAuthentication);
    }
    let server = Server {
        context: settings.nats.jetstream(client.clone()),
        health: Health::starting(data.partitions()),
        answerers: Arc::new((0..data.partitions()).map(|_| OnceLock::new()).collect()),
        service: service.into(),
        notify: Arc::new(notify),
        wanted: provision::Wanted {
            partitions: data.partitions(),
            store: data.store(),
            create: settings.provision,
            take_over: settings.take_over,
        },
        nats: settings.nats,
        feed: settings.feed,
        data,
        client,
        stop,
    };
    server.run().await
}

/// What all partitions share.
struct Server {
    service: Arc<Service>,
    nats: ConnectOptions,
    data: DataDir,
    feed: Feed,
    wanted: provision::Wanted,
    /// What nobody outside can break: what the broker itself is asked and answers goes over it. Commands, replies and
    /// questions have connections of their own.
    client: Client,
    context: jetstream::Context,
    health: Health,
    answerers: Answerers,
    notify: Arc<dyn Fn(Notice) + Send + Sync>,
    stop: CancellationToken,
}

impl Server {
    async fn run(self) -> Result<(), ServeError> {
        // Questions about health are answered from the beginning: a rebuild may take a while.
        let options = ConnectOptions { name: Some("hapax questions".into()), ..self.nats.clone() };
        let heard = Arc::new(Notify::new());
        let (health, answerers) = (self.health.clone(), self.answerers.clone());
        let queries = Queries { options, health, answerers, heard: heard.clone() };
        let mut background = JoinSet::new(); // Ends with this function, whatever ends it.
        background.spawn(queries.run());
        let mut provisioned = provision::check_or_create(&self.context, &self.wanted).await?;
        provisioned.created.extend(self.provision_feed().await?);
        if !provisioned.created.is_empty() {
            (self.notify)(Notice::Created(provisioned.created));
        }
        let clock = self.watch_clock(&mut background).await;
        self.watch_streams(&mut background);
        let (mut opened, mut feeding) = (Vec::new(), JoinSet::new());
        for (number, consumer) in (0..).zip(provisioned.consumers) {
            let suspects = Suspects::open(self.data.partition_dir(number).join("suspects.json"));
            let deliveries = Deliveries::new(self.nats.clone(), self.context.clone(), consumer, number, suspects);
            opened.push(self.open_partition(number, deliveries, clock.clone()).await?);
        }
        self.data.begin(self.feed != Feed::Off)?; // Before the first command is decided, and the first commit fed.
        let mut partitions = JoinSet::new();
        for (partition, index, feed) in opened {
            if let Some(feed) = feed {
                feeding.spawn(feed.run());
            }
            partitions.spawn(self.start(partition, index)?);
        }
        tokio::select! {
            () = heard.notified() => (self.notify)(Notice::Ready),
            () = self.stop.cancelled() => {}
        }
        let result = self.wait(partitions).await;
        if result.is_ok() {
            // What was decided last comes to the feed too. If not now, then at the next start.
            let _ = tokio::time::timeout(FEED_FINISH_MAX, async { while feeding.join_next().await.is_some() {} }).await;
        }
        feeding.shutdown().await;
        // Those who answer questions use the index too: whoever starts the next processor must find it free.
        background.shutdown().await;
        result
    }

    /// Names of the streams of the feed that were missing until now.
    async fn provision_feed(&self) -> Result<Vec<String>, ServeError> {
        if self.feed == Feed::Off {
            return Ok(Vec::new());
        }
        let provision::Wanted { partitions, store, create, .. } = self.wanted;
        let had = self.data.is_fed() && self.feed != Feed::Anew;
        let wanted = provision::events::Wanted { partitions, store, create, had };
        Ok(provision::events::check_or_create(&self.context, &wanted).await?)
    }

    /// Starts the loop of a partition on a thread of its own, and returns how to wait for its end.
    fn start(
        &self,
        partition: Partition<FileStore>,
        index: Arc<SledIndex>,
    ) -> Result<impl Future<Output = Result<(), Fatal>> + 'static, Fatal> {
        let number = partition.number;
        let replies = ConnectOptions { name: Some(format!("hapax replies {number}")), ..self.nats.clone() };
        let ended = on_a_thread(format!("partition {number}"), async move {
            let client = tokio::select! {
                client = connect(&replies) => client?,
                () = partition.stop.cancelled() => return Ok(()),
            };
            let ended = partition.run(Sender::new(client)).await;
            if let Err(Fatal::Index(error)) = &ended
                && error.is_doubt()
                && let Err(error) = index.distrust()
            {
                tracing::error!(error = with_sources(&error), "the checkpoint of a wrong index cannot be removed");
            }
            ended
        });
        let ended = ended.map_err(Fatal::Thread)?;
        Ok(async { ended.await.unwrap_or(Err(Fatal::ThreadPanicked("partition"))) })
    }

    /// Waits for the loops. The first error stops all of them.
    async fn wait(&self, mut partitions: JoinSet<Result<(), Fatal>>) -> Result<(), ServeError> {
        let mut first_error = None;
        let drained = async {
            while let Some(ended) = partitions.join_next().await {
                if let Err(error) = ended.unwrap_or(Err(Fatal::ThreadPanicked("partition"))) {
                    tracing::error!(error = with_sources(&error), "a partition has stopped");
                    first_error.get_or_insert(error);
                    self.stop.cancel();
                }
            }
        };
        let too_late = async {
            self.stop.cancelled().await;
            self.health.stopping();
            tokio::time::sleep(DRAIN_MAX).await;
        };
        tokio::select! {
            () = drained => {}
            () = too_late => return Err(Fatal::NotDrained.into()),
        }
        // Tasks of the library hold the connection too.
        let _ = self.client.drain().await;
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Opens store and index of a partition, brings the index up to date, and joins everything.
    async fn open_partition(
        &self,
        number: u32,
        deliveries: Deliveries,
        clock: watch::Receiver<Result<(), String>>,
    ) -> Result<(Partition<FileStore>, Arc<SledIndex>, Option<Feeding>), Fatal> {
        let stand = match self.feed {
            Feed::Off if !self.data.is_fed() => None,
            Feed::Off | Feed::On | Feed::Anew => match stand(&self.context, number).await {
                Ok(stand) => Some(stand),
                // Where there is none any more, nothing tells an older copy of the store from the store.
                Err(error) if self.feed == Feed::Off && is_missing(&error) => None,
                Err(source) => return Err(Fatal::FeedUnknown { partition: number, source }),
            },
        };
        let Opened { store, tip, index, newest } = self.open_data(number, stand).await?;
        let index = Arc::new(index);
        let lookup = || LookUp { service: self.service.clone(), index: index.clone(), reader: store.reader() };
        let (questions_in, questions) = mpsc::channel(WAITERS_MAX);
        let (vitals, vitals_out) = watch::channel(Vitals::new(tip.position));
        let (fed, fed_out) = watch::channel(Fed::new(stand.and_then(|stand| stand.last)));
        let feeds = stand.filter(|_| self.feed != Feed::Off);
        let feeding = feeds.map(|_| Feeding::new(number, self.nats.clone(), store.reader(), vitals_out.clone(), fed));
        self.health.running(number, vitals_out.clone(), store.reader(), feeding.is_some().then_some(fed_out));
        let answerer = Answerer { questions: questions_in, lookup: lookup(), vitals: vitals_out };
        if let Some(place) = usize::try_from(number).ok().and_then(|number| self.answerers.get(number)) {
            let _ = place.set(Arc::new(answerer)); // Each partition is opened once.
        }
        let place = PartitionNumber { number, of: self.wanted.partitions };
        let partition = Partition {
            number,
            processor: Processor::new(self.service.clone(), place, tip, newest),
            loader: Loader::start(lookup()).map_err(Fatal::Thread)?,
            indexer: Indexer::start(index.clone(), store.reader()).map_err(Fatal::Thread)?,
            store,
            deliveries,
            context: self.context.clone(),
            provision: self.wanted.clone(),
            questions,
            clock,
            vitals,
            stop: self.stop.clone(),
        };
        Ok((partition, index, feeding))
    }

    /// On a thread for blocking work: scanning a tail and rebuilding an index may take a while. `feed`: where the feed
    /// stands, which the store must have.
    async fn open_data(&self, number: u32, feed: Option<Stand>) -> Result<Opened, Fatal> {
        let (health, notify, data) = (self.health.clone(), self.notify.clone(), self.data.clone());
        let opening = tokio::task::spawn_blocking(move || {
            open::open(&data, number, feed, |opening| match opening {
                Opening::IndexDoubted(why) => notify(Notice::IndexDoubted(number, why)),
                Opening::Rebuilding(progress) => {
                    health.rebuilding(number, progress);
                    notify(Notice::Rebuilding(number, progress));
                }
            })
        });
        opening.await.unwrap_or(Err(Fatal::ThreadPanicked("opening")))
    }

    /// Looks now and again whether the quarantine is there, and makes it again; and for commands that nobody gets, and has
    /// those delivered again that can be. An answer that does not come changes nothing.
    fn watch_streams(&self, background: &mut JoinSet<()>) {
        let (context, health, wanted) = (self.context.clone(), self.health.clone(), self.wanted.clone());
        background.spawn(async move {
            loop {
                let mut pause = STREAM_CHECK_EVERY;
                match provision::restore_quarantine(&context, &wanted).await {
                    Ok(is_new) => {
                        health.quarantine(Ok(()));
                        if is_new {
                            tracing::error!("the stream QUARANTINE was deleted; it is made again");
                        }
                    }
                    Err(error @ provision::ProvisionError::Missing(_)) => health.quarantine(Err(error.to_string())),
                    Err(error) => tracing::warn!(error = with_sources(&error), "the quarantine cannot be looked at"),
                }
                match stranded(&context, &wanted).await {
                    Ok(Some(stranded)) => {
                        health.stranded(stranded.messages);
                        for consumer in stranded.passed_by.iter().filter(|_| wanted.create) {
                            pause = STREAM_CHECK_SOON;
                            if let Err(error) = stranded::delete_consumer(&context, consumer).await {
                                tracing::warn!(consumer, error = with_sources(&*error), "it could not be deleted");
                            }
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(error = with_sources(&*error), "the stream cannot be looked at"),
                }
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// Compares the clocks now and every minute. An answer that does not come changes nothing.
    async fn watch_clock(&self, background: &mut JoinSet<()>) -> watch::Receiver<Result<(), String>> {
        let (said, heard) = watch::channel(Ok(()));
        let (context, health) = (self.context.clone(), self.health.clone());
        let compare = move || {
            let (context, health, said) = (context.clone(), health.clone(), said.clone());
            async move {
                let asked = time::now();
                match provision::broker_time(&context).await {
                    Ok(broker) => {
                        let agreement = agree(asked, time::now(), broker);
                        if let Err(why) = &agreement {
                            tracing::error!(why, "nothing is decided");
                        }
                        health.clock(agreement.clone());
                        let _before = said.send_replace(agreement);
                    }
                    Err(error) => tracing::warn!(error = with_sources(&error), "the broker does not tell its time"),
                }
            }
        };
        compare().await;
        background.spawn(async move {
            loop {
                tokio::time::sleep(CLOCK_CHECK_EVERY).await;
                compare().await;
            }
        });
        heard
    }
}

/// Compares clocks: the broker read its own at some moment between the two of ours. An answer may come late, after a stop of
/// the process for example, and that is no reason to decide nothing.
fn agree(asked: Timestamp, heard: Timestamp, broker: Timestamp) -> Result<(), String> {
    let (ahead, behind) = (asked.since(broker), broker.since(heard));
    let skew = ahead.max(behind);
    if skew <= CLOCK_SKEW_MAX {
        return Ok(());
    }
    let side = if ahead > behind { "ahead of" } else { "behind" };
    Err(format!("this machine's clock is {} s {side} the broker's; set one of them right", skew.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_difference_of_clocks_is_one() {
        let at = |second: i64| Timestamp::from_unix_micros(second * 1_000_000).unwrap();
        assert_eq!(agree(at(100), at(100), at(130)), Ok(()));
        assert!(agree(at(100), at(100), at(131)).unwrap_err().contains("31 s behind"));
        assert!(agree(at(131), at(131), at(100)).unwrap_err().contains("31 s ahead of"));
        assert_eq!(agree(at(100), at(190), at(101)), Ok(()), "the answer was a minute and a half under way");
        assert!(agree(at(100), at(190), at(221)).is_err(), "and it is later than when it came");
    }
}
