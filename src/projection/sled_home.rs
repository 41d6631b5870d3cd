//! Rows in sled, so that a start goes on where the last one ended.
//!
//! What sled can be trusted with is one thing: a batch is in it as a whole or not at all, as long as the machine lives. Its
//! `flush` is not durable and its `open` panics on some damage, so at each opening all rows are added up and compared with
//! the sum in the mark. If they are not what was written last, they are removed, and folded again from the first commit.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::home::{Home, HomeError, Mark, PROJECTION_FORMAT, RowSum};
use super::model::Changes;
use crate::model::error::{caught, with_sources};

/// sled's folder, and the lock beside it.
const SLED: &str = "sled";
const LOCK: &str = "lock";

/// Where the mark is. No row is there: a table has a name.
const MARK: &[u8] = b"\0mark";

/// Bytes of pages that sled keeps in memory. The process may take six times as much for them.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How long sled may take to let go of its own lock, in milliseconds.
const CLOSE_MS_MAX: u32 = 10_000;

/// A mark as it is written.
#[derive(Serialize)]
struct MarkForm<'a> {
    format: u32,
    #[serde(flatten)]
    mark: &'a Mark,
}

/// What can be read of a mark of any format.
#[derive(Deserialize)]
struct FormatForm {
    format: u32,
}

/// Rows in sled, in a folder of their own.
pub struct SledHome {
    dir: PathBuf,
    /// `None` only while it is replaced.
    db: Option<sled::Db>,
    _lock: File,
}

impl SledHome {
    /// Opens what is kept in a folder, which is made if it does not exist. If it is not what was written there, it is empty
    /// then, and the second value says why.
    ///
    /// # Errors
    /// [`HomeError`]: somebody else uses it, a later version has written it, or not even an empty one can be made.
    pub fn open(dir: &Path) -> Result<(SledHome, Option<String>), HomeError> {
        fs::create_dir_all(dir).map_err(io_error(dir))?;
        let lock = lock(dir)?;
        let (db, doubt) = match open_proven(dir) {
            Ok(db) => (db, None),
            // The disk is the trouble, and a new one would be written to the same.
            Err(error @ HomeError::Io { .. }) => return Err(error),
            // It is not ours to remove: whoever has tried an older program goes back to the newer one.
            Err(error @ HomeError::LaterFormat { .. }) => return Err(error),
            Err(error) => (open_empty(dir)?, Some(with_sources(&error))),
        };
        Ok((SledHome { dir: dir.to_owned(), db: Some(db), _lock: lock }, doubt))
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("it is there unless it is being replaced")
    }
}

impl Home for SledHome {
    fn mark(&self) -> Result<Option<Mark>, HomeError> {
        read_mark(self.db(), &self.dir)
    }

    fn row(&self, place: &[u8]) -> Result<Option<Vec<u8>>, HomeError> {
        guarded(|| Ok(self.db().get(place)?.map(|row| row.to_vec())))
    }

    fn write(&mut self, changes: Changes, mark: &Mark) -> Result<(), HomeError> {
        let mut batch = sled::Batch::default();
        for (place, change) in changes {
            match change {
                Some(row) => batch.insert(place, row),
                None => batch.remove(place),
            }
        }
        let mark = MarkForm { format: PROJECTION_FORMAT, mark };
        batch.insert(MARK, serde_json::to_vec(&mark).expect("every member of a mark is JSON"));
        guarded(|| Ok(self.db().apply_batch(batch)?))
    }

    fn flush(&mut self) -> Result<(), HomeError> {
        guarded(|| self.db().flush().map_err(HomeError::Sled))?;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), HomeError> {
        drop_guarded(self.db.take());
        self.db = Some(open_empty(&self.dir)?);
        Ok(())
    }
}

impl Drop for SledHome {
    fn drop(&mut self) {
        drop_guarded(self.db.take());
    }
}

/// Calls sled. What it has panicked in is not used any more: the fold has ended.
fn guarded<T>(call: impl FnOnce() -> Result<T, HomeError>) -> Result<T, HomeError> {
    caught(call).unwrap_or_else(|panic| Err(HomeError::Panicked(panic)))
}

/// sled writes when it is dropped, and may panic then too.
fn drop_guarded(db: Option<sled::Db>) {
    let _ = caught(move || drop(db));
}

/// What is there, if it is what was written last.
fn open_proven(dir: &Path) -> Result<sled::Db, HomeError> {
    let db = open_sled(dir)?;
    let mark = read_mark(&db, dir)?; // First: rows of a later format need not add up here.
    let found = sum(&db)?;
    let expected = mark.map_or(RowSum::default(), |mark| mark.rows);
    if found == expected {
        return Ok(db);
    }
    let (found, expected) = (found.count, expected.count);
    drop_guarded(Some(db));
    Err(HomeError::Doubtful(format!("the {found} rows that are kept are not the {expected} that were written")))
}

fn open_empty(dir: &Path) -> Result<sled::Db, HomeError> {
    wait_until_closed(dir)?;
    let path = dir.join(SLED);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path)(error)),
        _ => {}
    }
    open_sled(dir)
}

fn open_sled(dir: &Path) -> Result<sled::Db, HomeError> {
    wait_until_closed(dir)?;
    let path = dir.join(SLED);
    remove_half_written(&path)?;
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    guarded(|| Ok(config.open()?))
}

fn sum(db: &sled::Db) -> Result<RowSum, HomeError> {
    guarded(|| {
        let mut sum = RowSum::default();
        for entry in db.iter() {
            let (place, row) = entry?;
            if place != MARK {
                sum.add(&place, &row);
            }
        }
        Ok(sum)
    })
}

fn read_mark(db: &sled::Db, dir: &Path) -> Result<Option<Mark>, HomeError> {
    let Some(json) = guarded(|| Ok(db.get(MARK)?))? else { return Ok(None) };
    let unreadable = |error| HomeError::Doubtful(format!("how far the rows have come cannot be read: {error}"));
    let FormatForm { format } = serde_json::from_slice(&json).map_err(unreadable)?;
    if PROJECTION_FORMAT < format {
        return Err(HomeError::LaterFormat { path: dir.display().to_string(), format });
    }
    serde_json::from_slice(&json).map(Some).map_err(unreadable)
}

/// One process at a time. sled has a lock of its own, but an open that fails because of it would look like a doubt, and what
/// a running process keeps would be removed.
fn lock(dir: &Path) -> Result<File, HomeError> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HomeError::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(io_error(&path)(error)),
    }
}

/// Threads of sled may hold its lock for some milliseconds after the last handle is gone.
fn wait_until_closed(dir: &Path) -> Result<(), HomeError> {
    let path = dir.join(SLED).join("db");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(io_error(&path))?,
    };
    for _ in 0..CLOSE_MS_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(()), // And released again: sled takes it next.
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
            Err(TryLockError::Error(error)) => return Err(io_error(&path)(error)),
        }
    }
    Err(HomeError::InUse { path: path.display().to_string() })
}

/// Removes `snap.<n>.generating`: a kill during `open` leaves it, and every later `open` fails on it.
fn remove_half_written(path: &Path) -> Result<(), HomeError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io_error(path))?,
    };
    for entry in entries {
        let file = entry.map_err(io_error(path))?.path();
        if file.extension().is_some_and(|extension| extension == "generating") {
            fs::remove_file(&file).map_err(io_error(&file))?;
        }
    }
    Ok(())
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> HomeError + '_ {
    move |source| HomeError::Io { path: path.display().to_string(), source }
}
