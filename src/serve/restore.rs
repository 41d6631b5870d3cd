//! A data directory that is lost is made again from the feed, except for what the feed lagged behind.

use std::num::NonZeroU32;
use std::path::Path;

use async_nats::jetstream;
use futures::StreamExt;
use uuid::Uuid;

use super::DataDirError;
use super::unfinished::Unfinished;
use crate::index::{CatchUpError, IndexError, Progress};
use crate::model::limits::PULL_MESSAGES_MAX;
use crate::model::{Commit, Position};
use crate::nats::feed::{FeedError, FeedReader};
use crate::store::file::{FileStore, OpenError};
use crate::store::{AppendError, EventStore};

/// Why a store is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The feed cannot be read, or is not what a processor has written.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The streams of the feed are not all of one store.
    #[error(
        "the streams of the feed do not belong together: partition {partition} is of another store than partition 0. Their \
         metadata names it (hapax_store): restore from a server that has those of one store only"
    )]
    OtherStore {
        /// The first one that differs.
        partition: u32,
    },
    /// The feed ends in the middle of an atomic batch: a broker has lost the rest.
    #[error(
        "the feed of partition {partition} ends at position {last}, in the middle of an atomic batch: its broker has lost the \
         rest, and half of a decision cannot be restored. Look for a copy of the broker's streams, or of the data directory, \
         from before"
    )]
    HalfOfABatch {
        /// The partition.
        partition: u32,
        /// Its last position.
        last: Position,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The index of what was restored cannot be made.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index cannot be filled.
    #[error(transparent)]
    CatchUp(#[from] CatchUpError),
    /// The store cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// The feed of a whole store, as far as it goes now.
#[derive(Debug)]
pub struct Restore {
    store: Uuid,
    partitions: NonZeroU32,
    feeds: Vec<(FeedReader, Option<Position>)>,
}

impl Restore {
    /// Finds the feed of each partition, and up to where it goes.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn find(context: &jetstream::Context) -> Result<Restore, RestoreError> {
        let first = FeedReader::open(context, 0).await?;
        let store = first.store();
        let partitions = NonZeroU32::new(first.partitions()).unwrap_or(NonZeroU32::MIN);
        let mut feeds = vec![(first.last().await?, first)];
        for partition in 1..partitions.get() {
            let feed = FeedReader::open(context, partition).await?;
            if (feed.store(), feed.partitions()) != (store, partitions.get()) {
                return Err(RestoreError::OtherStore { partition });
            }
            feeds.push((feed.last().await?, feed));
        }
        let feeds = feeds.into_iter().map(|(last, feed)| (feed, last)).collect();
        Ok(Restore { store, partitions, feeds })
    }

    /// The store.
    pub fn store(&self) -> Uuid {
        self.store
    }

    /// The last position of each partition that can be restored. What was decided behind it is lost.
    pub fn lasts(&self) -> impl Iterator<Item = Option<Position>> + '_ {
        self.feeds.iter().map(|(_, last)| *last)
    }

    /// Makes the data directory, which must be empty or not be there. Every commit is checked by the chain, from the store's
    /// id on. `restored` is told how many more commits are safe, `indexed` how far the index of a partition is. If
    /// it ends with an error nothing is left, and nothing takes what a crash leaves for a store.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn run(
        self,
        path: &Path,
        mut restored: impl FnMut(u64),
        indexed: impl FnMut(u32, Progress) + Send + 'static,
    ) -> Result<(), RestoreError> {
        let unfinished = Unfinished::begin(path, self.store, self.partitions, true)?;
        let data = unfinished.data();
        for (feed, last) in &self.feeds {
            let partition = feed.partition();
            let (mut store, _) = FileStore::open(&data.journal_dir(partition), data.store_id(partition), None)?;
            let Some(last) = *last else { continue };
            let mut groups = Box::pin(feed.groups(Position::FIRST, Some(last)).await?).ready_chunks(PULL_MESSAGES_MAX);
            let mut next = Position::FIRST;
            while next <= last
                && let Some(chunk) = groups.next().await
            {
                let groups = chunk.into_iter().collect::<Result<Vec<_>, _>>()?;
                let commits: Vec<_> = groups.into_iter().flatten().collect();
                let count = commits.len() as u64;
                next = append(&mut store, commits).await?.map_or(next, Position::next);
                restored(count);
            }
            // Of a batch that does not end, the reader gives nothing.
            if next <= last {
                return Err(RestoreError::HalfOfABatch { partition, last });
            }
        }
        let lasts: Vec<_> = self.lasts().collect();
        let finishing = tokio::task::spawn_blocking(move || unfinished.finish(&lasts, indexed));
        finishing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

/// Appends commits, and waits until they are durable. The position of the last.
async fn append(store: &mut FileStore, commits: Vec<Commit>) -> Result<Option<Position>, AppendError> {
    let Some(last) = commits.last().map(|commit| commit.position) else { return Ok(None) };
    store.append(commits);
    while store.durable().await?.get() < last {}
    Ok(Some(last))
}
