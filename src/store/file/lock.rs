//! One writer: a lock that the operating system lets go of when its process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::OpenError;
use super::disk::Failed;

const NAME: &str = "lock";

/// Somebody who only asks whether the lock is held takes it for an instant. So a writer asks a few times before it says
/// that there is another one.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(10);

/// Held for as long as a writer lives.
#[derive(Debug)]
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    pub(super) fn take(dir: &Path) -> Result<WriterLock, OpenError> {
        let path = dir.join(NAME);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(Failed::at("open", &path))?;
        for attempt in 1..=ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(WriterLock { _file: file }),
                Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(Failed::at("lock", &path)(error).into()),
            }
        }
        Err(OpenError::Locked { file: path.display().to_string() })
    }
}

/// Whether a writer holds the lock of this folder.
pub(super) fn is_held(dir: &Path) -> io::Result<bool> {
    match File::open(dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
    }
}
