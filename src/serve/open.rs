//! How are the files of a partition opened? The checkpoint says how far the store must go, the store proves its own tail and
//! says where it ends, the index says from where it is to be believed, and catches up.

use std::path::Path;

use crate::index::{CatchUpError, Checkpoint, IndexError, Progress, SledIndex, catch_up};
use crate::model::error::with_sources;
use crate::model::{Newest, Position};
use crate::nats::feed::Stand;
use crate::serve::{DataDir, Fatal};
use crate::store::file::{FileStore, OpenError};
use crate::store::{CommitReader, EventStore, StoreId, Tip};

/// A partition's files, ready to be gone on with.
pub(crate) struct Opened {
    pub(crate) store: FileStore,
    pub(crate) tip: Tip,
    pub(crate) index: SledIndex,
    /// Which ids the index cannot know.
    pub(crate) newest: Newest,
}

/// What is told meanwhile: opening may take a while.
pub(crate) enum Opening {
    /// The index is not believed and is built anew, and why.
    IndexDoubted(String),
    /// The index is being brought to where the store is.
    Rebuilding(Progress),
}

/// Opens store and index of a partition, and brings the index up to date. `feed`: where the feed stands, which the store
/// must have. Blocks.
///
/// # Errors
/// [`Fatal`].
pub(crate) fn open(
    data: &DataDir,
    partition: u32,
    feed: Option<Stand>,
    mut tell: impl FnMut(Opening),
) -> Result<Opened, Fatal> {
    let (dir, journal, id) = (data.partition_dir(partition), data.journal_dir(partition), data.store_id(partition));
    if data.has_begun() {
        FileStore::must_exist(&journal)?;
    }
    // First: an index that is doubted is moved aside, and what its checkpoint proves of the store would be lost with it.
    let (store, tip) = open_store(&journal, id, Checkpoint::proven(&dir, id), feed)?;
    let opened = SledIndex::open(&dir, id)?;
    if let Some(doubt) = opened.doubt {
        tell(Opening::IndexDoubted(doubt));
    }
    let mut index = opened.index;
    let caught_up = catch_up(&index, &store.reader(), opened.from.as_ref(), tip.position, &mut |progress| {
        tell(Opening::Rebuilding(progress));
    });
    let newest = match caught_up {
        // The index is at fault, whatever it is: once more, from the first commit.
        Err(CatchUpError::Index(error)) if !error.is_want_of_room() => {
            tell(Opening::IndexDoubted(with_sources(&error)));
            index.start_over()?;
            catch_up(&index, &store.reader(), None, tip.position, &mut |progress| {
                tell(Opening::Rebuilding(progress));
            })?
        }
        caught_up => caught_up?,
    };
    checkpoint(&index, tip)?;
    Ok(Opened { store, tip, index, newest })
}

/// What was caught up is not caught up again at the next start.
pub(super) fn checkpoint(index: &SledIndex, tip: Tip) -> Result<(), IndexError> {
    match tip.position {
        Some(position) => index.checkpoint(position, tip.hash),
        None => Ok(()),
    }
}

/// Opens a store that must have what a checkpoint or the feed proves.
fn open_store(
    journal: &Path,
    id: StoreId,
    checkpoint: Option<Position>,
    feed: Option<Stand>,
) -> Result<(FileStore, Tip), Fatal> {
    let (partition, fed) = (id.partition, feed.and_then(|feed| feed.last));
    // Only what is durable is fed.
    let opened = FileStore::open(journal, id, checkpoint.max(fed));
    let (store, tip) = opened.map_err(|error| match (error, fed) {
        (OpenError::Damage(source), Some(feed)) if source.position <= feed.get() => {
            Fatal::BehindFeed { partition, feed, source }
        }
        (error, _) => error.into(),
    })?;
    if let Some(feed) = feed {
        let ours = feed.last.map(|last| store.reader().get(last)).transpose()?.map(|commit| commit.hash);
        feed.compare(tip.position, ours).map_err(|source| Fatal::Estranged { partition, source })?;
    }
    Ok((store, tip))
}
