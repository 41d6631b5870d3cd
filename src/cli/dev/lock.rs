//! One nats-server for each JetStream folder. It takes no lock of its own: a second one would open the same files, and
//! neither of them would say so before the next start finds the damage.
//!
//! The lock must last as long as nats-server does, not as long as we do: after a `kill -9` of `dev` its server goes on.
//! So the locked file is the server's stdin, since a lock lives for as long as anybody has the file open.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use crate::cli::exit::{Exit, Failure};

const NAME: &str = "lock";

/// The lock of a folder.
pub(super) struct FolderLock(File);

impl FolderLock {
    pub(super) fn take(folder: &Path) -> Result<FolderLock, Failure> {
        let path = folder.join(NAME);
        let failed = |error| Failure::io(format_args!("cannot lock {}", path.display()))(error);
        let opened = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).map_err(failed)?; // It may name one that has ended.
                Ok(FolderLock(file))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Empty in the instant between the lock and the start.
                file.read_to_string(&mut pid).map_err(failed)?;
                Err(in_use(folder, pid.trim()))
            }
        }
    }

    /// What the server gets as its stdin, which it does not read.
    pub(super) fn stdin(&self) -> Result<Stdio, Failure> {
        Ok(self.0.try_clone().map_err(Failure::io("cannot hand the lock on to nats-server"))?.into())
    }

    /// Names the holder, for whoever comes next. From here on the lock is the server's alone.
    pub(super) fn hand_over(self, pid: u32) -> Result<(), Failure> {
        let named = self.0.write_all_at(format!("{pid}\n").as_bytes(), 0);
        named.map_err(Failure::io("cannot write down the pid of nats-server"))
    }
}

fn in_use(folder: &Path, pid: &str) -> Failure {
    let folder = folder.display();
    let (named, kill) = match pid {
        "" => (String::new(), String::new()),
        pid => (format!(" (pid {pid})"), format!("; if its `dev` is gone, `kill {pid}` stops it")),
    };
    let message = format!(
        "a nats-server still runs on {folder}{named}: stop the `dev` that started it, or take another --data{kill}"
    );
    Failure::new(Exit::Failed, message)
}
