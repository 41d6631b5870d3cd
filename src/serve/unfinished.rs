//! A data directory that is being filled, from an export or from the feed.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;

use uuid::Uuid;

use super::open::{Opening, open};
use super::{DataDir, DataDirError, ServeError};
use crate::index::Progress;

/// A store that was made before and is made again. Its `hapax.json` comes last: until then nothing takes it for a store, for
/// a processor that started on half of one would decide the old ids of the rest again. If it is dropped before, what is in
/// it is removed. It is filled in its place, which may be a volume that cannot be renamed.
pub(crate) struct Unfinished {
    data: DataDir,
    /// Whether the directory itself is ours too.
    made: bool,
    finished: bool,
}

impl Unfinished {
    /// Begins in a directory that is empty, or is not there. `fed`: whether the store has a feed.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`], [`DataDirError::Io`].
    pub(crate) fn begin(
        path: &Path,
        store: Uuid,
        partitions: NonZeroU32,
        fed: bool,
    ) -> Result<Unfinished, DataDirError> {
        let made = !path.exists();
        Ok(Unfinished { data: DataDir::for_restore(path, store, partitions, fed)?, made, finished: false })
    }

    /// Where the journals go.
    pub(crate) fn data(&self) -> &DataDir {
        &self.data
    }

    /// Every journal is complete and durable: indexes it, and makes it a store. `tell`: how far the index of a partition is.
    ///
    /// Without the checkpoint of an index nothing but the journal would say where it ends, and a tail that is cut off before
    /// the first start would not be missed.
    ///
    /// # Errors
    /// [`ServeError`].
    pub(crate) fn finish(mut self, mut tell: impl FnMut(u32, Progress)) -> Result<(), ServeError> {
        for partition in 0..self.data.partitions() {
            open(&self.data, partition, None, |opening| {
                if let Opening::Rebuilding(progress) = opening {
                    tell(partition, progress);
                }
            })?;
        }
        self.finished = true; // Should its name fail, all of it is there, and is a store or says that it is none.
        Ok(self.data.restored()?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What cannot be removed is no store either, and whoever looks at it is told so.
        for partition in 0..self.data.partitions() {
            let _ = fs::remove_dir_all(self.data.partition_dir(partition));
        }
        if self.made {
            let _ = fs::remove_dir(self.data.path());
        }
    }
}
