//! A data directory that is being filled, from an export or from the feed.

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::open::checkpoint;
use super::restore::RestoreError;
use super::{DataDir, DataDirError};
use crate::index::{Progress, SledIndex, catch_up};
use crate::store::EventStore;
use crate::store::file::FileStore;

/// A store that was made before and is made again, in a folder of the directory that is to have it: a directory may be a
/// volume, which cannot be renamed. If it is dropped before it is finished, that folder is removed.
pub(crate) struct Unfinished {
    data: DataDir,
    /// The directory, if it was made for this.
    made: Option<PathBuf>,
}

impl Unfinished {
    /// Begins in a directory that is empty, or is not there. `fed`: whether the store has a feed.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`], [`DataDirError::Unfinished`], [`DataDirError::Io`].
    pub(crate) fn begin(
        path: &Path,
        store: Uuid,
        partitions: NonZeroU32,
        fed: bool,
    ) -> Result<Unfinished, DataDirError> {
        let made = (!path.exists()).then(|| path.to_owned());
        Ok(Unfinished { data: DataDir::begin_unfinished(path, store, partitions, fed)?, made })
    }

    /// Where the journals go.
    pub(crate) fn data(&self) -> &DataDir {
        &self.data
    }

    /// Every journal is complete and durable: indexes it, and makes it a store. `indexed`: how far the index of a partition
    /// is. Blocks.
    ///
    /// Without the checkpoint of an index nothing but the journal would say where it ends, and a tail that is cut off before
    /// the first start would not be missed.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub(crate) fn finish(self, mut indexed: impl FnMut(u32, Progress)) -> Result<(), RestoreError> {
        for partition in 0..self.data.partitions() {
            let (dir, id) = (self.data.partition_dir(partition), self.data.store_id(partition));
            let (store, tip) = FileStore::open(&self.data.journal_dir(partition), id, None)?;
            let index = SledIndex::open(&dir, id)?.index;
            catch_up(&index, &store.reader(), None, tip.position, &mut |progress| indexed(partition, progress))?;
            checkpoint(&index, tip)?;
        }
        Ok(self.data.finish_unfinished()?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a finish there is none. What cannot be removed is no store either, and whoever looks at it is told so.
        let _ = fs::remove_dir_all(self.data.path());
        if let Some(made) = &self.made {
            let _ = fs::remove_dir(made); // Only an empty one.
        }
    }
}
