//! A data directory that is being filled, from an export or from the feed.

use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::open::checkpoint;
use super::restore::RestoreError;
use super::{DataDir, DataDirError};
use crate::index::{Progress, SledIndex, catch_up};
use crate::model::Position;
use crate::store::EventStore;
use crate::store::file::FileStore;

/// A store that was made before and is made again, in a folder of the directory that is to have it: a directory may be a
/// volume, which cannot be renamed. If it is dropped before it is complete, that folder is removed.
pub(crate) struct Unfinished {
    data: DataDir,
    /// The directory, if it was made for this.
    made: Option<PathBuf>,
    is_complete: bool,
    /// That of the folder. By it others see that somebody works there.
    _lock: File,
}

impl Unfinished {
    /// Begins in a directory that is not there, or in which nothing is but what a volume has by itself. `fed`: whether the
    /// store has a feed.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`], [`DataDirError::BeingMade`], [`DataDirError::Unfinished`], [`DataDirError::Io`].
    pub(crate) fn begin(
        path: &Path,
        store: Uuid,
        partitions: NonZeroU32,
        fed: bool,
    ) -> Result<Unfinished, DataDirError> {
        let made = (!path.exists()).then(|| path.to_owned());
        let (data, lock) = DataDir::begin_unfinished(path, store, partitions, fed)?;
        Ok(Unfinished { data, made, is_complete: false, _lock: lock })
    }

    /// Where the journals go.
    pub(crate) fn data(&self) -> &DataDir {
        &self.data
    }

    /// Every journal is complete and durable: indexes it, and makes it a store. `lasts`: how far each must go, since somebody
    /// may have removed what was written so far. `indexed`: how far the index of a partition is. Blocks.
    ///
    /// Its checkpoint is a witness beside the journal's own proof that a tail was cut off before the first start.
    ///
    /// # Errors
    /// [`RestoreError`].
    ///
    /// # Panics
    /// If `lasts` is not of every partition.
    pub(crate) fn finish(
        mut self,
        lasts: &[Option<Position>],
        mut indexed: impl FnMut(u32, Progress),
    ) -> Result<(), RestoreError> {
        assert_eq!(lasts.len(), self.data.partitions() as usize, "a partition that nobody checked is no store");
        for (partition, last) in (0..self.data.partitions()).zip(lasts) {
            let (dir, id) = (self.data.partition_dir(partition), self.data.store_id(partition));
            let journal = self.data.journal_dir(partition);
            FileStore::must_exist(&journal)?;
            let (store, tip) = FileStore::open(&journal, id, *last)?;
            let index = SledIndex::open(&dir, id)?.index;
            catch_up(&index, &store.reader(), None, tip.position, &mut |progress| indexed(partition, progress))?;
            checkpoint(&index, tip)?;
        }
        self.data.seal()?;
        self.is_complete = true; // Whatever fails now, nothing of it may be removed: it says itself what is to be done.
        Ok(self.data.move_up()?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        // What cannot be removed is no store either, and whoever looks at it is told so.
        let _ = fs::remove_dir_all(self.data.path());
        if let Some(made) = &self.made {
            let _ = fs::remove_dir(made); // Only an empty one.
        }
    }
}
