//! How are the files of a partition opened? The index says from where it is to be believed, the store proves its own tail
//! and says where it ends, and the index catches up.

use crate::index::{CatchUpError, IndexError, Progress, SledIndex, catch_up};
use crate::model::error::with_sources;
use crate::serve::{DataDir, Fatal};
use crate::store::file::FileStore;
use crate::store::{EventStore, Tip};

/// What is told meanwhile: opening may take a while.
pub(crate) enum Opening {
    /// The index is not believed and is built anew, and why.
    IndexDoubted(String),
    /// The index is being brought to where the store is.
    Rebuilding(Progress),
}

/// Opens store and index of a partition, and brings the index up to date. Blocks.
///
/// # Errors
/// [`Fatal`].
pub(crate) fn open(
    data: &DataDir,
    partition: u32,
    mut tell: impl FnMut(Opening),
) -> Result<(FileStore, Tip, SledIndex), Fatal> {
    let (dir, journal, id) = (data.partition_dir(partition), data.journal_dir(partition), data.store_id(partition));
    if data.has_begun() {
        FileStore::must_exist(&journal)?;
    }
    let opened = SledIndex::open(&dir, id)?;
    if let Some(doubt) = opened.doubt {
        tell(Opening::IndexDoubted(doubt));
    }
    let mut index = opened.index;
    let proven = opened.from.as_ref().map(|checkpoint| checkpoint.position);
    let (store, tip) = FileStore::open(&journal, id, proven)?;
    let caught_up = catch_up(&index, &store.reader(), opened.from.as_ref(), tip.position, &mut |progress| {
        tell(Opening::Rebuilding(progress));
    });
    match caught_up {
        // The index is at fault, whatever it is: once more, from the first commit.
        Err(CatchUpError::Index(error)) if !error.is_want_of_room() => {
            tell(Opening::IndexDoubted(with_sources(&error)));
            index.start_over()?;
            catch_up(&index, &store.reader(), None, tip.position, &mut |progress| {
                tell(Opening::Rebuilding(progress));
            })?;
        }
        caught_up => caught_up?,
    }
    checkpoint(&index, tip)?;
    Ok((store, tip, index))
}

/// What was caught up is not caught up again at the next start.
fn checkpoint(index: &SledIndex, tip: Tip) -> Result<(), IndexError> {
    match tip.position {
        Some(position) => index.checkpoint(position, tip.hash),
        None => Ok(()),
    }
}
