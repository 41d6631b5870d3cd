//! The store as files of one machine: a journal of segments, written by one thread.
//!
//! [`FileStore::append`] puts commits into a queue. The thread takes all that has gathered, writes it with one write and
//! one fsync, and says how far that went; meanwhile the next group gathers (group commit). The fewer commits there are,
//! the sooner each is durable; the more there are, the less each costs. Nothing waits to fill a group.
//!
//! * [`disk`]: what the journal asks of a disk
//! * `frame`, `segment`, `offsets`: the format
//! * `scan`: frames one after the other
//! * `proof`: how far it is durable, outside the segments
//! * `recover`: what a crash left behind: a torn tail, or damage
//! * [`journal`]: append, sync, roll
//! * `reader`, `follow`, `verify`: reading back
//! * `lock`: one writer

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// How long nothing must follow before the journal says in a frame of its own that the last group is durable. A few
/// times what a client needs from a reply to its next command, so that a steady flow pays nothing.
const STATEMENT_AFTER: Duration = Duration::from_millis(5);

/// How long a journal that is never idle leaves its proof to the page cache: about what a power cut may then take back of
/// it. One fsync more in this time is not felt.
const PROOF_SYNCED_AFTER: Duration = Duration::from_secs(1);

/// Bytes after which a group takes no more commits in: the first of them should not wait for the last.
const GROUP_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The event store of one partition in the files of a folder.
pub struct FileStore {
    /// `None` only while it is dropped.
    queue: Option<Sender<Vec<Commit>>>,
    thread: Option<JoinHandle<()>>,
    progress: watch::Receiver<Progress>,
    /// The position that `durable` said last.
    said: Option<Position>,
    /// The last commit appended.
    tip: Tip,
    reader: FileReader,
    // Dropped last: the next writer must not begin while the thread still writes.
    _lock: WriterLock,
}

/// What the thread has achieved.
#[derive(Default)]
struct Progress {
    durable: Option<Position>,
    failed: Option<AppendError>,
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

    /// Checks that a store which has been made is still there. [`open`](FileStore::open) would make a new one, and decide old
    /// ids again.
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
        let (queue, queued) = channel();
        let (report, progress) = watch::channel(Progress { durable: tip.position, failed: None });
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(journal, &queued, &report))
            .map_err(Failed::at("start a thread for", dir))?;
        let (queue, thread) = (Some(queue), Some(thread));
        Ok((FileStore { queue, thread, progress, said: tip.position, tip, reader, _lock: lock }, tip))
    }
}

impl EventStore for FileStore {
    type Reader = FileReader;

    fn append(&mut self, commits: Vec<Commit>) {
        for commit in &commits {
            self.tip.follow(commit);
        }
        if let Some(queue) = &self.queue
            && !commits.is_empty()
        {
            // It fails only if the thread has stopped, and then `durable` says why.
            let _ = queue.send(commits);
        }
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
            self.progress.changed().await.map_err(|_| AppendError::Stopped)?;
        }
    }

    fn reader(&self) -> FileReader {
        self.reader.clone()
    }
}

/// Makes durable what is queued, says so in the journal, and lets the next writer in.
impl Drop for FileStore {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // If it has panicked, the panic hook has said so, and `durable` says that it stopped.
            let _ = thread.join();
        }
    }
}

fn run(mut journal: Journal, queued: &Receiver<Vec<Commit>>, report: &watch::Sender<Progress>) {
    if let Err(error) = write_groups(&mut journal, queued, report) {
        tracing::error!(error = &error as &dyn std::error::Error, "the event store has stopped");
        report.send_modify(|progress| progress.failed = Some(error));
    }
}

/// Returns when the queue's other end is gone and everything queued is durable.
fn write_groups(
    journal: &mut Journal,
    queued: &Receiver<Vec<Commit>>,
    report: &watch::Sender<Progress>,
) -> Result<(), AppendError> {
    let mut proof_unsynced_since = None;
    loop {
        let received = match journal.statement_is_due() {
            true => queued.recv_timeout(STATEMENT_AFTER),
            false => queued.recv().map_err(RecvTimeoutError::from),
        };
        match received {
            Ok(commits) => journal.append(&commits)?,
            Err(RecvTimeoutError::Timeout) => {
                journal.state_synced()?;
                proof_unsynced_since = None;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return journal.state_synced(),
        }
        while journal.unsynced_bytes() < GROUP_BYTES_MAX
            && let Ok(commits) = queued.try_recv()
        {
            journal.append(&commits)?;
        }
        let durable = journal.sync()?;
        report.send_modify(|progress| progress.durable = durable.map(|durable| durable.get()));
        if PROOF_SYNCED_AFTER <= proof_unsynced_since.get_or_insert_with(Instant::now).elapsed() {
            journal.sync_proof()?;
            proof_unsynced_since = None;
        }
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
