//! The store as files of one machine: a journal of segments.
//!
//! * [`disk`]: what the journal asks of a disk
//! * `frame`, `segment`, `offsets`: the format
//! * `scan`: frames one after the other
//! * `proof`: how far it is durable, outside the segments
//! * `recover`: what a crash left behind: a torn tail, or damage
//! * [`journal`]: append, sync, roll
//! * `writer`: who does that, and when
//! * `reader`, `follow`, `verify`: reading back
//! * `lock`: one writer

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use crate::model::{Commit, Position};
use crate::store::{AppendError, Damage, Durable, EventStore, StoreId, Tip};

pub mod disk;
mod frame;
mod segment;
mod scan;
mod offsets;
mod proof;
mod recover;
pub mod journal;
mod writer;
mod reader;
mod verify;
mod follow;
mod lock;
#[cfg(test)]
mod tests;

pub use follow::Follower;
pub use reader::FileReader;
pub use segment::FORMAT;

use disk::{Disk, Failed, Fault, Folder, OsDisk};
use journal::{Journal, SEGMENT_BYTES_MAX};
use lock::WriterLock;
use writer::{Progress, Writer};

/// The event store of one partition in the files of a folder.
pub struct FileStore {
    writer: Writer,
    progress: watch::Receiver<Progress>,
    /// The position that `durable` said last.
    said: Option<Position>,
    reader: FileReader,
    // Dropped last: the next writer must not begin while this one still writes.
    _lock: WriterLock,
}

impl FileStore {
    /// Opens the store in a folder, or makes it where nothing is, and says where it ends.
    ///
    /// `proven`: a position that a checkpoint or the feed knows to be durable. If the store does not have it, something
    /// was lost.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, id: StoreId, proven: Option<Position>) -> Result<(FileStore, Tip), OpenError> {
        FileStore::open_on(Arc::new(OsDisk), dir, id, proven, SEGMENT_BYTES_MAX)
    }

    /// Checks that a store which has been made is still there. [`open`](FileStore::open) would make a new one, and decide
    /// old ids again.
    ///
    /// # Errors
    /// [`OpenError::Damage`]: there is no segment at all.
    pub fn must_exist(dir: &Path) -> Result<(), OpenError> {
        let folder = Folder::new(Arc::new(OsDisk), dir);
        if segment::segments(&folder.list()?).is_empty() {
            let what = "the store has been begun, and has no segment any more";
            return Err(segment::missing(&folder, Position::FIRST, what).into());
        }
        Ok(())
    }

    /// Checks that the store in a folder, if there is one, is the one that is meant, before anything is done in its name.
    /// Damage is for [`open`](FileStore::open) to tell, which knows how far the store must go.
    ///
    /// # Errors
    /// [`OpenError`]: it belongs to another store or partition.
    pub fn must_belong(dir: &Path, id: StoreId) -> Result<(), OpenError> {
        let folder = Folder::new(Arc::new(OsDisk), dir);
        let Some(first) = segment::segments(&folder.list()?).first().copied() else { return Ok(()) };
        let file = folder.open(&segment::log_name(first))?;
        match segment::Header::read(&file, first) {
            Ok(header) => header.check(&file, id),
            Err(Fault::Damage(_)) => Ok(()),
            Err(Fault::Failed(failed)) => Err(failed.into()),
        }
    }

    /// [`open`](FileStore::open) on another disk and with segments of another size. The lock is a real one in any case.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        id: StoreId,
        proven: Option<Position>,
        segment_bytes_max: u64,
    ) -> Result<(FileStore, Tip), OpenError> {
        disk.create_dir(dir).map_err(Failed::at("create", dir))?;
        let lock = WriterLock::take(dir)?;
        let journal = Journal::open(disk, dir, id, proven, segment_bytes_max)?;
        let (tip, reader) = (journal.tip(), journal.reader());
        let (writer, progress) = Writer::start(journal).map_err(Failed::at("start a thread for", dir))?;
        Ok((FileStore { writer, progress, said: tip.position, reader, _lock: lock }, tip))
    }
}

impl EventStore for FileStore {
    type Reader = FileReader;

    fn append(&mut self, commits: Vec<Commit>) {
        self.writer.append(commits);
    }

    async fn durable(&mut self) -> Result<Durable<Position>, AppendError> {
        loop {
            {
                let progress = self.progress.borrow_and_update();
                // Before the error: what was durable before something failed still is.
                if let Some(durable) = progress.durable.filter(|durable| self.said < Some(*durable)) {
                    self.said = Some(durable);
                    return Ok(Durable(durable));
                }
                if let Some(error) = &progress.failed {
                    return Err(error.clone());
                }
            }
            self.progress.changed().await.expect("the writer beside it holds the other end");
        }
    }

    fn reader(&self) -> FileReader {
        self.reader.clone()
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes to it. Stop that one first.
    #[error("another process writes to this store (it holds {file})")]
    Locked {
        /// The lock.
        file: String,
    },
    /// There is no store in the folder. Only for readers; a writer makes one.
    #[error("there is no event store in {dir}")]
    Absent {
        /// The folder.
        dir: String,
    },
    /// The files belong to another store: a wrong folder, or a copy.
    #[error("{file} belongs to store {found}, not to {expected}")]
    OtherStore {
        /// The segment that says so.
        file: String,
        /// Its store.
        found: Uuid,
        /// The store that was to be opened.
        expected: Uuid,
    },
    /// The files belong to another partition.
    #[error("{file} belongs to partition {found}, not to {expected}")]
    OtherPartition {
        /// The segment that says so.
        file: String,
        /// Its partition.
        found: u32,
        /// The partition that was to be opened.
        expected: u32,
    },
    /// The store was divided into another number of partitions. It is fixed for ever.
    #[error("{file} belongs to a store of {found} partitions, not of {expected}")]
    OtherPartitions {
        /// The segment that says so.
        file: String,
        /// Its number of partitions.
        found: u32,
        /// The number that was to be opened.
        expected: u32,
    },
    /// The files have a format that this version does not read. Take the version that wrote them, or a later one.
    #[error("{file} has format {format}; this version reads format {FORMAT}")]
    OtherFormat {
        /// The segment that says so.
        file: String,
        /// Its format.
        format: u32,
    },
    /// Something that was promised is not there. Restore it; nothing is repaired by leaving it out.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The operating system said no.
    #[error("cannot open the event store ({operation} {path})")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl From<Failed> for OpenError {
    fn from(Failed { operation, path, source }: Failed) -> OpenError {
        OpenError::Io { operation, path, source }
    }
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> OpenError {
        match fault {
            Fault::Failed(failed) => failed.into(),
            Fault::Damage(damage) => damage.into(),
        }
    }
}
