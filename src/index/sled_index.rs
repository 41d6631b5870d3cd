//! The index in sled. sled's `flush` is not durable and its `open` can panic, so nothing it says is the truth: it is used
//! only from a checkpoint on, what it holds is added up at start, and any doubt begins an empty one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::checkpoint::{INDEX_FORMAT, sync_all_below, sync_directory};
use super::dedupe_log::{DedupeLog, PositionSum};
use super::heads::Heads;
use super::snapshots::Snapshots;
use super::tally::Tally;
use super::{Checkpoint, Entry, Head, Index, IndexError, Snapshot};
use crate::model::error::{caught, with_sources};
use crate::model::{AggregateId, ChainHash, Identity, Newest, Position};
use crate::store::StoreId;

const SLED: &str = "sled";
const DOUBTFUL: &str = "sled.doubtful-";
const LOCK: &str = "index.lock";

/// Bytes of pages that sled keeps in memory. The process may take six times as much for them.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How long sled may take to let go of its lock, in milliseconds.
const CLOSE_MS_MAX: u32 = 10_000;

/// The index of one partition, in the folder `sled`, with its checkpoint beside it.
pub struct SledIndex {
    dir: PathBuf,
    id: StoreId,
    /// `None` only while it is dropped.
    trees: Option<Trees>,
    /// Held while notes are made, so that a head is read and written by one thread.
    tally: Mutex<Tally>,
    _lock: File,
}

/// An index that was opened. It may be asked only after [`catch_up`](super::catch_up).
pub struct Opened {
    /// The index.
    pub index: SledIndex,
    /// Up to where it is to be believed; `None`: it is empty.
    pub from: Option<Checkpoint>,
    /// Why an index that was there is not used. To be logged: what follows takes its time.
    pub doubt: Option<String>,
}

struct Trees {
    dedupe_log: DedupeLog,
    heads: Heads,
    snapshots: Snapshots,
    db: sled::Db,
}

impl SledIndex {
    /// Opens the index in a partition's folder. If there is any doubt about it, it is moved aside (the last one that was
    /// is kept, for whoever wants to know) and an empty one is begun.
    ///
    /// # Errors
    /// [`IndexError::InUse`]; [`IndexError::is_want_of_room`], which is no doubt; others if even an empty index cannot be
    /// made.
    pub fn open(dir: &Path, id: StoreId) -> Result<Opened, IndexError> {
        if !dir.is_dir() {
            fs::create_dir_all(dir).map_err(IndexError::io(dir))?;
        }
        let lock = lock(dir)?;
        let (trees, from, doubt) = match open_trusted(dir, id) {
            Ok((trees, from)) => (trees, from, None),
            Err(error) if error.is_want_of_room() => return Err(error),
            Err(error) => {
                move_aside(dir)?;
                (Trees::open(&dir.join(SLED))?, None, Some(with_sources(&error)))
            }
        };
        Ok(Opened { index: SledIndex::new(dir, id, trees, from.as_ref(), lock), from, doubt })
    }

    /// Opens the index as it lies there, to verify it; `None`: there is none. Nothing is moved aside.
    ///
    /// # Errors
    /// [`IndexError::InUse`]; of any other [`IndexError::is_doubt`] says whether the index is wrong, or cannot be read by
    /// this user. sled opens for writing only.
    pub fn open_as_it_is(dir: &Path, id: StoreId) -> Result<Option<(SledIndex, Checkpoint)>, IndexError> {
        if !dir.join(SLED).exists() && Checkpoint::read(dir, id)?.is_none() {
            return Ok(None);
        }
        let lock = lock_to_read(dir)?;
        let (trees, from) = open_trusted(dir, id)?;
        Ok(from.map(|from| (SledIndex::new(dir, id, trees, Some(&from), lock), from)))
    }

    fn new(dir: &Path, id: StoreId, trees: Trees, from: Option<&Checkpoint>, lock: File) -> SledIndex {
        let tally = from.map_or(Tally::default(), |from| Tally { position: from.position.get(), events: from.events });
        SledIndex { dir: dir.to_owned(), id, trees: Some(trees), tally: Mutex::new(tally), _lock: lock }
    }

    /// Moves the index aside and begins an empty one, to be filled from the first commit on.
    ///
    /// # Errors
    /// [`IndexError`]: not even an empty one can be made.
    pub fn start_over(&mut self) -> Result<(), IndexError> {
        move_aside(&self.dir)?;
        let doubtful = self.trees.replace(Trees::open(&self.dir.join(SLED))?);
        *self.tally() = Tally::default();
        close(doubtful);
        Ok(())
    }

    /// Makes everything durable that is noted, and says so in a new checkpoint. Takes one flush and some fsyncs. Called
    /// by the thread that notes.
    ///
    /// `position` and `hash` are of the last commit noted.
    ///
    /// # Errors
    /// [`IndexError`]; [`IndexError::Disagrees`] if another commit was the last one noted.
    pub fn checkpoint(&self, position: Position, hash: ChainHash) -> Result<(), IndexError> {
        // Taken before the flush: what is noted while it runs may miss it.
        let tally = *self.tally();
        if tally.position != position.get() {
            return Err(IndexError::Disagrees(format!(
                "a checkpoint at {position}, but the last commit noted is {}",
                tally.position
            )));
        }
        guarded(|| Ok(self.trees().db.flush()?))?;
        sync_all_below(&self.dir.join(SLED))?;
        sync_directory(&self.dir)?; // The name of the sled folder, the first time.
        Checkpoint { id: self.id, format: INDEX_FORMAT, position, hash, events: tally.events }.write(&self.dir)
    }

    /// Takes the checkpoint away: the next start moves this index aside and builds a new one. For an error that would
    /// otherwise come again at every start.
    ///
    /// # Errors
    /// [`IndexError::Io`].
    pub fn distrust(&self) -> Result<(), IndexError> {
        Checkpoint::remove(&self.dir)
    }

    /// Reads everything and adds it up: no note of an identity or a head is missing, old, or of a commit that was never
    /// noted. Says which ids it cannot know.
    ///
    /// # Errors
    /// [`IndexError::Disagrees`], or what sled says when it meets damage.
    pub(super) fn prove(&self) -> Result<Newest, IndexError> {
        let tally = *self.tally();
        let found = self.trees().dedupe_log.sum()?;
        if found.positions != PositionSum::upto(tally.position) {
            return Err(IndexError::Disagrees(format!(
                "it holds other commands than those of {} commits",
                tally.position
            )));
        }
        let events = self.trees().heads.sum()?;
        if events != tally.events {
            return Err(IndexError::Disagrees(format!("its heads have {events} events, the commits {}", tally.events)));
        }
        Ok(found.newest)
    }

    /// How many commands are known. Reads all of them.
    pub(super) fn command_count(&self) -> Result<u64, IndexError> {
        Ok(self.trees().dedupe_log.sum()?.positions.count)
    }

    /// All heads.
    pub(super) fn heads(&self) -> impl Iterator<Item = Result<(AggregateId, Head), IndexError>> {
        self.trees().heads.iter()
    }

    fn trees(&self) -> &Trees {
        self.trees.as_ref().expect("they are taken only by drop")
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Whoever panicked while he held it has not changed it: it is written last.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index for SledIndex {
    fn position_of(&self, identity: &Identity) -> Result<Option<Position>, IndexError> {
        self.trees().dedupe_log.position_of(identity)
    }

    fn head(&self, aggregate: &AggregateId) -> Result<Option<Head>, IndexError> {
        self.trees().heads.get(aggregate)
    }

    fn snapshot(&self, aggregate: &AggregateId) -> Result<Option<Snapshot>, IndexError> {
        self.trees().snapshots.get(aggregate)
    }

    /// Sorts by key: best called with many entries, up to some ten thousand.
    fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        let mut tally = self.tally();
        let behind = tally.with(entries)?;
        self.trees().dedupe_log.note(entries)?;
        self.trees().heads.note(entries)?;
        self.trees().snapshots.note(entries)?;
        *tally = behind;
        Ok(())
    }
}

/// sled writes and syncs when its last handle goes, and panics if that fails. Whatever is durable is so by a checkpoint.
impl Drop for SledIndex {
    fn drop(&mut self) {
        close(self.trees.take());
    }
}

fn close(trees: Option<Trees>) {
    let closing = guarded(|| {
        drop(trees);
        Ok(())
    });
    if let Err(error) = closing {
        tracing::warn!(%error, "closing the index failed; what it has no checkpoint for is noted again");
    }
}

impl Trees {
    fn open(path: &Path) -> Result<Trees, IndexError> {
        remove_half_written(path)?;
        let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None); // Its flush is not durable; ours is at checkpoints.
        let db = guarded(|| Ok(config.open()?))?;
        Ok(Trees { dedupe_log: DedupeLog::open(&db)?, heads: Heads::open(&db)?, snapshots: Snapshots::open(&db)?, db })
    }

    fn is_empty(&self) -> Result<bool, IndexError> {
        Ok(self.dedupe_log.is_empty()? && self.heads.is_empty()?)
    }
}

/// Calls sled. It panics on some kinds of damage; that must not take the thread that replies with it. Nothing of the
/// index is used after an error but its checkpoint file, so no half changed state is seen.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    caught(call).unwrap_or_else(|panic| Err(IndexError::Panicked(panic)))
}

/// An index that may be believed, or an empty one if there is none yet. Any error is a doubt.
fn open_trusted(dir: &Path, id: StoreId) -> Result<(Trees, Option<Checkpoint>), IndexError> {
    let path = dir.join(SLED);
    let checkpoint = Checkpoint::read(dir, id)?;
    if checkpoint.is_some() && !path.exists() {
        return Err(IndexError::Checkpoint("there is a checkpoint, but no index".into()));
    }
    let trees = Trees::open(&path)?;
    if checkpoint.is_none() && !trees.is_empty()? {
        return Err(IndexError::Checkpoint("there is an index, but no checkpoint".into()));
    }
    Ok((trees, checkpoint))
}

/// One process at a time. sled has a lock of its own, but an open that fails because of it would look like a doubt, and
/// the index of a running processor would be moved aside.
fn lock(dir: &Path) -> Result<File, IndexError> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(IndexError::io(&path))?;
    locked(dir, &path, file)
}

/// The same for somebody who may not be allowed to write.
fn lock_to_read(dir: &Path) -> Result<File, IndexError> {
    let path = dir.join(LOCK);
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => lock(dir),
        file => locked(dir, &path, file.map_err(IndexError::io(&path))?),
    }
}

fn locked(dir: &Path, path: &Path, file: File) -> Result<File, IndexError> {
    if !try_lock(path, &file)? {
        return Err(IndexError::InUse { path: path.display().to_string() });
    }
    wait_until_closed(&dir.join(SLED).join("db"))?;
    Ok(file)
}

/// Threads of sled may hold its lock for some milliseconds after the last handle is gone. Whoever closes an index and
/// opens it again in the same process would be refused, and take that for a doubt.
fn wait_until_closed(db: &Path) -> Result<(), IndexError> {
    let file = match File::open(db) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(IndexError::io(db))?,
    };
    for _ in 0..CLOSE_MS_MAX {
        if try_lock(db, &file)? {
            return Ok(()); // And released again: sled takes it next.
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(IndexError::InUse { path: db.display().to_string() })
}

fn try_lock(path: &Path, file: &File) -> Result<bool, IndexError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(IndexError::io(path)(error)),
    }
}

/// Removes `snap.<n>.generating`: a kill during `open` leaves it, and every later `open` fails on it.
fn remove_half_written(path: &Path) -> Result<(), IndexError> {
    for file in names(path)? {
        if file.starts_with("snap.") && file.ends_with(".generating") {
            let path = path.join(file);
            fs::remove_file(&path).map_err(IndexError::io(&path))?;
        }
    }
    Ok(())
}

/// First the checkpoint, so that a crash in between leaves an index that nobody believes.
fn move_aside(dir: &Path) -> Result<(), IndexError> {
    Checkpoint::remove(dir)?;
    let mut number = 0_u64;
    for name in names(dir)? {
        let Some(suffix) = name.strip_prefix(DOUBTFUL) else { continue };
        number = number.max(suffix.parse().unwrap_or(0));
        let path = dir.join(&name);
        fs::remove_dir_all(&path).map_err(IndexError::io(&path))?;
    }
    let from = dir.join(SLED);
    if from.exists() {
        fs::rename(&from, dir.join(format!("{DOUBTFUL}{}", number + 1))).map_err(IndexError::io(&from))?;
    }
    sync_directory(dir)
}

/// The names in a folder; none if there is no folder.
fn names(dir: &Path) -> Result<Vec<String>, IndexError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(IndexError::io(dir))?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(IndexError::io(dir))
}
