//! The stream as its readers see it: commits in order, each proven by the chain.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use futures::{Stream, StreamExt, stream};
use tokio::time::Instant;
use uuid::Uuid;

use super::chain_hash;
use crate::model::error::with_sources;
use crate::model::groups::{GroupError, Groups};
use crate::model::limits::{PULL_BYTES_MAX, PULL_MESSAGES_MAX};
use crate::model::subject::FeedSubject;
use crate::model::{ChainHash, Commit, CommitError, Position};
use crate::nats::provision::events::{store_of, stream_name};
use crate::nats::stored;

/// How often an idle server says that it is there. After twice that without a word the feed is read anew.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Pause before it is read anew.
const AGAIN_PAUSE: Duration = Duration::from_millis(250);

/// How long it is tried. Then whoever reads is told.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// After so long without a message it is looked whether the connection is still the one that was asked over.
const SILENCE: Duration = Duration::from_secs(1);

/// Why a feed cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// There is no such stream: there never was a feed, or it is on another server.
    #[error("there is no stream {0} on this server: a processor with --feed on makes it")]
    Missing(String),
    /// A stream of that name says nothing of a store.
    #[error(
        "the stream {0} does not say which store it is the feed of: no processor has made it; look on another server"
    )]
    Nameless(String),
    /// A message is not the commit that belongs there. Somebody else has written to the stream.
    #[error(
        "message {position} of {stream} is not the commit that belongs there: {what}. Only the processor may publish there: \
         `verify --feed` compares it with the store, which alone says what is right"
    )]
    NotACommit {
        /// The stream.
        stream: String,
        /// The position that is expected.
        position: Position,
        /// What is wrong.
        what: What,
    },
    /// The broker did not do what was asked. Its reason is the source.
    #[error(
        "the broker failed, {what}; see that it runs, that this user may read the stream, and that his inbox prefix is one \
         that he may subscribe to"
    )]
    Broker {
        /// What was asked.
        what: String,
        /// Why not.
        #[source]
        source: async_nats::Error,
    },
}

/// What is wrong with a message of the feed.
#[derive(Debug)]
pub enum What {
    /// Its number is another: messages before it were removed.
    Sequence(u64),
    /// It names no chain hash.
    NoHash,
    /// Its bytes do not continue the chain.
    Chain,
    /// Its bytes are no commit.
    Commit(CommitError),
    /// The commit in it has another position.
    Position(Position),
    /// It tears an atomic batch.
    Group(GroupError),
    /// Its subject is not that of the commit in it, so that who reads a part of the stream only is deceived.
    Subject(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Sequence(found) => write!(f, "the stream goes on with message {found}"),
            What::NoHash => f.write_str("it names no chain hash"),
            What::Chain => f.write_str("it does not continue the chain"),
            What::Commit(error) => write!(f, "{error}"),
            What::Position(found) => write!(f, "it has position {found}"),
            What::Group(error) => write!(f, "{error}"),
            What::Subject(found) => write!(f, "its subject is {found}"),
        }
    }
}

fn broker(what: String) -> impl FnOnce(async_nats::Error) -> FeedError {
    move |source| FeedError::Broker { what, source }
}

/// Reads the feed of one partition.
///
/// ```no_run
/// use futures::StreamExt;
/// use hapax::Position;
/// use hapax::nats::feed::FeedReader;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let context = async_nats::jetstream::new(async_nats::connect("nats://127.0.0.1:4222").await?);
/// let feed = FeedReader::open(&context, 0).await?;
/// let mut commits = Box::pin(feed.commits(Position::FIRST, None).await?);
/// while let Some(commit) = commits.next().await {
///     let commit = commit?;
///     println!("{} {}", commit.position, commit.command.aggregate);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FeedReader {
    context: jetstream::Context,
    name: String,
    partition: u32,
    store: Uuid,
    partitions: u32,
}

impl FeedReader {
    /// Finds the stream of a partition's feed.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn open(context: &jetstream::Context, partition: u32) -> Result<FeedReader, FeedError> {
        let name = stream_name(partition);
        let stream = get_stream(context, &name).await?;
        let (store, partitions) =
            store_of(&stream.cached_info().config).ok_or_else(|| FeedError::Nameless(name.clone()))?;
        Ok(FeedReader { context: context.clone(), name, partition, store, partitions })
    }

    /// The partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The store whose feed it is.
    pub fn store(&self) -> Uuid {
        self.store
    }

    /// How many partitions the store has.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The last position that has come to the feed by now.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn last(&self) -> Result<Option<Position>, FeedError> {
        let stream = get_stream(&self.context, &self.name).await?;
        Ok(Position::new(stream.cached_info().state.last_sequence))
    }

    /// The commits from a position (included) on, and those to come; or, with `upto`, to that one, or to the one in front of
    /// the atomic batch that it is in the middle of. Each is proven by the chain: from the store's id if it
    /// is the first, else from the hash that the message before it names. The first commit of an atomic batch comes when the
    /// last one can be had. Ends after the first error; whoever wants to go on then begins anew behind what has come.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn commits(
        &self,
        from: Position,
        upto: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Commit, FeedError>> + Send + use<>, FeedError> {
        let groups = self.groups(from, upto).await?;
        Ok(groups.flat_map(|group| {
            let (commits, error) = group.map_or_else(|error| (Vec::new(), Some(Err(error))), |group| (group, None));
            stream::iter(commits.into_iter().map(Ok).chain(error))
        }))
    }

    /// The same by groups: an atomic batch as a whole, every other commit by itself.
    ///
    /// # Errors
    /// [`FeedError`].
    pub async fn groups(
        &self,
        from: Position,
        upto: Option<Position>,
    ) -> Result<impl Stream<Item = Result<Vec<Commit>, FeedError>> + Send + use<>, FeedError> {
        let (partition, hash) = (self.partition, self.hash_before(from).await?);
        let chain = Chain { name: self.name.clone(), partition, next: from, hash };
        let (context, connects) = (self.context.clone(), connects(&self.context));
        let messages = pull_from(&context, &self.name, from).await?;
        let reading = Reading { context, connects, messages, is_new: true, chain, upto, groups: Groups::default() };
        Ok(stream::unfold(Some(reading), async |reading| {
            let mut reading = reading?;
            let group = reading.next().await?;
            let goes_on = group.is_ok();
            Some((group, goes_on.then_some(reading)))
        }))
    }

    /// The chain up to and with the commit at a position, as its message names it.
    ///
    /// # Errors
    /// [`FeedError`]; [`FeedError::NotACommit`] also if there is no such message.
    pub async fn hash_at(&self, position: Position) -> Result<ChainHash, FeedError> {
        let reading = broker(format!("reading message {position} of {}", self.name));
        let message = stored::get(&self.context, &self.name, position.get()).await.map_err(reading)?;
        let hash = message.and_then(|message| chain_hash(&message.readable().ok()?));
        hash.ok_or_else(|| FeedError::NotACommit { stream: self.name.clone(), position, what: What::NoHash })
    }

    /// The chain up to what is before a position.
    async fn hash_before(&self, position: Position) -> Result<ChainHash, FeedError> {
        match Position::new(position.get() - 1) {
            Some(before) => self.hash_at(before).await,
            None => Ok(ChainHash::of_store(self.store)),
        }
    }
}

/// Messages from a position on, each of them once. What was on its way when a connection broke counts as delivered and does
/// not come again.
///
/// Not by the library's ordered consumer: it asks for 500 messages, however large they are, and where they were too many for
/// the server it stood still for ever.
async fn pull_from(context: &jetstream::Context, name: &str, from: Position) -> Result<pull::Stream, FeedError> {
    let stream = get_stream(context, name).await?;
    let config: pull::Config = pull::OrderedConfig {
        description: Some("a reader of the feed".into()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.get() },
        ..pull::OrderedConfig::default()
    }
    .into();
    let reading = || format!("reading {name}");
    let consumer = stream.create_consumer(config).await.map_err(|error| broker(reading())(error.into()))?;
    let pulled = consumer.stream().max_messages_per_batch(PULL_MESSAGES_MAX).max_bytes_per_batch(PULL_BYTES_MAX);
    pulled.heartbeat(HEARTBEAT).messages().await.map_err(|error| broker(reading())(error.into()))
}

/// How often a connection was made.
fn connects(context: &jetstream::Context) -> u64 {
    context.client().statistics().connects.load(Ordering::Relaxed)
}

/// A reader on its way.
struct Reading {
    context: jetstream::Context,
    /// [`connects`], when these messages were asked for.
    connects: u64,
    messages: pull::Stream,
    /// Nothing has come of these messages yet.
    is_new: bool,
    chain: Chain,
    /// Where it ends; `None`: nowhere.
    upto: Option<Position>,
    /// The server stores all commits of an atomic batch or none, but shows them one by one while it does.
    groups: Groups,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Vec<Commit>, FeedError>> {
        loop {
            if self.upto.is_some_and(|upto| upto < self.chain.next) {
                return None; // Of a batch that has begun, a power cut may have left less than all.
            }
            let message = match tokio::time::timeout(SILENCE, self.messages.next()).await {
                Ok(Some(Ok(message))) if self.is_new || self.chain.is_next(&message) => message,
                Err(_silent) if self.connects == connects(&self.context) => continue,
                // What was on its way is lost with its connection, or the consumer is.
                lost => {
                    let error = lost.ok().flatten().and_then(Result::err).map(|error| error.to_string());
                    tracing::debug!(stream = self.chain.name, error, "the feed is read anew from where it was");
                    if let Err(error) = self.begin_anew().await {
                        return Some(Err(error));
                    }
                    continue;
                }
            };
            self.is_new = false;
            if let Some(group) = self.chain.follow(&message, &mut self.groups).transpose() {
                return Some(group);
            }
        }
    }

    /// From the next commit on. An error is the last thing that whoever reads is told.
    async fn begin_anew(&mut self) -> Result<(), FeedError> {
        let deadline = Instant::now() + AGAIN_MAX;
        loop {
            tokio::time::sleep(AGAIN_PAUSE).await;
            self.connects = connects(&self.context);
            match pull_from(&self.context, &self.chain.name, self.chain.next).await {
                Ok(messages) => {
                    (self.messages, self.is_new) = (messages, true);
                    return Ok(());
                }
                Err(error) if matches!(error, FeedError::Missing(_)) || deadline < Instant::now() => return Err(error),
                Err(error) => tracing::warn!(error = with_sources(&error), "the feed cannot be read yet"),
            }
        }
    }
}

/// How far the chain was followed.
struct Chain {
    name: String,
    partition: u32,
    next: Position,
    hash: ChainHash,
}

impl Chain {
    fn is_next(&self, message: &jetstream::Message) -> bool {
        message.info().is_ok_and(|info| info.stream_sequence == self.next.get())
    }

    /// The group that ends with a message, if one does.
    fn follow(&mut self, message: &jetstream::Message, groups: &mut Groups) -> Result<Option<Vec<Commit>>, FeedError> {
        let (stream, position) = (&self.name, self.next);
        let not_a_commit = |what| FeedError::NotACommit { stream: stream.clone(), position, what };
        let commit = self.read(message).map_err(not_a_commit)?;
        let next = (commit.position.next(), commit.hash);
        let group = groups.take(commit).map_err(|torn| not_a_commit(What::Group(torn)))?;
        (self.next, self.hash) = next;
        Ok(group)
    }

    fn read(&self, message: &jetstream::Message) -> Result<Commit, What> {
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        if sequence != self.next.get() {
            return Err(What::Sequence(sequence));
        }
        let hash = message.headers.as_ref().and_then(chain_hash).ok_or(What::NoHash)?;
        if hash != self.hash.link(&message.payload) {
            return Err(What::Chain);
        }
        let commit = Commit::from_json(message.payload.clone(), hash).map_err(What::Commit)?;
        if commit.position != self.next {
            return Err(What::Position(commit.position));
        }
        let subject = FeedSubject::of(self.partition, &commit).to_string();
        if *message.subject == *subject { Ok(commit) } else { Err(What::Subject(message.subject.to_string())) }
    }
}

async fn get_stream(context: &jetstream::Context, name: &str) -> Result<jetstream::stream::Stream, FeedError> {
    context.get_stream(name).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            FeedError::Missing(name.to_owned())
        }
        _ => broker(format!("reading stream {name}"))(error.into()),
    })
}
