//! The data directory: which store it is, and into how many partitions its keys are divided, for ever.

use std::fs::{self, File, TryLockError};
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::StoreId;
use crate::store::file::disk::{Disk, OsDisk, put_file};

const FILE: &str = "hapax.json";
const FILE_NEW: &str = "hapax.json.new";

/// Where a store is put together that was made before. What is in there nobody takes for a store.
const UNFINISHED: &str = "unfinished";

/// The form of the data directory.
pub const DATA_FORMAT: u32 = 1;

/// A data directory that exists.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
    form: Form,
}

/// What can be read of any form.
#[derive(Deserialize)]
struct FormatForm {
    format: u32,
}

/// A member that is not known is damage: a bit of the name `begun` would make a journal that is missing a new one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    format: u32,
    store: Uuid,
    /// A damaged file that says 0 would make a processor that serves nothing, and a `verify` that checks nothing.
    partitions: NonZeroU32,
    /// Whether every partition has its journal. From then on one that is missing is damage, and not a new store: old ids
    /// would be decided again.
    #[serde(default)]
    begun: bool,
    /// Whether there is a feed. From then on one that is missing is lost, and not new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fed: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// There is none, and none may be made.
    #[error("{path} is not a data directory of hapax: it has no {FILE}")]
    Absent {
        /// The directory.
        path: String,
    },
    /// There are files in it that are not ours.
    #[error("{path} is not empty, but has no {FILE}: not a data directory of hapax")]
    Foreign {
        /// The directory.
        path: String,
    },
    /// Only an empty directory can become what is restored.
    #[error(
        "{path} is not empty: a store is imported or restored into a new directory; move this one aside, and keep it"
    )]
    NotEmpty {
        /// The directory.
        path: String,
    },
    /// A store is put together in it now.
    #[error("an import or a restore works in {path}: wait for its end")]
    BeingMade {
        /// The directory.
        path: String,
    },
    /// A store was put together in it until that was killed.
    #[error(
        "an import or a restore has not come to its end in {path}: remove {path}/{UNFINISHED} and every p<N> beside it, and do \
         it again"
    )]
    Unfinished {
        /// The directory.
        path: String,
    },
    /// There are partitions in it, but not the file that says which store they are of.
    #[error("{path} has partitions, but no {FILE}: put it back from a copy")]
    Lost {
        /// The directory.
        path: String,
    },
    /// The number of partitions is fixed when a store is made.
    #[error("the store in {path} has {found} partitions, not {wanted}; the number is fixed for ever")]
    OtherPartitions {
        /// The directory.
        path: String,
        /// What it has.
        found: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// A newer version wrote it.
    #[error("{path}/{FILE} has format {format}; this version reads format {DATA_FORMAT}")]
    OtherFormat {
        /// The directory.
        path: String,
        /// Its format.
        format: u32,
    },
    /// The file cannot be read.
    #[error("{path}/{FILE} is damaged")]
    Damaged {
        /// The directory.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The operating system said no.
    #[error("cannot use the data directory ({path})")]
    Io {
        /// What was touched.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl DataDir {
    /// Opens a data directory that must exist.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        match read(path)? {
            Some(form) => Ok(DataDir { path: path.to_owned(), form }),
            None => Err(DataDirError::Absent { path: shown(path) }),
        }
    }

    /// Opens a data directory; makes one where nothing is. `partitions`: what the caller was told, if anything; a new
    /// store has one partition otherwise.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open_or_create(path: &Path, partitions: Option<u32>) -> Result<DataDir, DataDirError> {
        let form = match read(path)? {
            Some(form) => form,
            None => create(path, partitions.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN))?,
        };
        match partitions {
            Some(wanted) if wanted != form.partitions.get() => {
                Err(DataDirError::OtherPartitions { path: shown(path), found: form.partitions.get(), wanted })
            }
            _ => Ok(DataDir { path: path.to_owned(), form }),
        }
    }

    /// The store's id.
    pub fn store(&self) -> Uuid {
        self.form.store
    }

    /// The number of partitions.
    pub fn partitions(&self) -> u32 {
        self.form.partitions.get()
    }

    /// Whether every partition has had its journal.
    pub fn has_begun(&self) -> bool {
        self.form.begun
    }

    /// Whether there has been a feed.
    pub fn is_fed(&self) -> bool {
        self.form.fed
    }

    /// Notes for good that every partition has its journal, and whether it has its feed too.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub fn begin(&self, feeds: bool) -> Result<(), DataDirError> {
        if self.form.begun && (self.form.fed || !feeds) {
            return Ok(());
        }
        write(&self.path, &Form { begun: true, fed: self.form.fed || feeds, ..self.form.clone() })
    }

    /// Begins to put a store together that has been made before, in a new folder of a directory in which nothing else is. That
    /// folder is locked until the file is dropped. `fed`: whether the store has a feed.
    ///
    /// # Errors
    /// [`DataDirError::NotEmpty`], [`DataDirError::BeingMade`], [`DataDirError::Unfinished`], [`DataDirError::Io`].
    pub(super) fn begin_unfinished(
        path: &Path,
        store: Uuid,
        partitions: NonZeroU32,
        fed: bool,
    ) -> Result<(DataDir, File), DataDirError> {
        let _locked = locked(path)?;
        if !path.join(FILE).exists() {
            refuse_unfinished(path)?;
        }
        if is_occupied(path)? {
            return Err(DataDirError::NotEmpty { path: shown(path) });
        }
        let path = path.join(UNFINISHED);
        let lock = locked(&path)?;
        let form = Form { format: DATA_FORMAT, store, partitions, begun: true, fed };
        Ok((DataDir { path, form }, lock))
    }

    /// Everything that was put together is complete and durable. What follows takes no more room.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub(super) fn seal(&self) -> Result<(), DataDirError> {
        write(&self.path, &self.form)
    }

    /// What was put together becomes the store of the directory that it is in: the file that says so is moved last.
    ///
    /// # Errors
    /// [`DataDirError::Io`].
    pub(super) fn move_up(&self) -> Result<(), DataDirError> {
        let place = self.path.parent().expect("it is in one");
        let _locked = locked(place)?;
        let move_up = |from: &Path, to: PathBuf| fs::rename(from, &to).map_err(io_error(&to));
        let there = DataDir { path: place.to_owned(), form: self.form.clone() };
        for partition in 0..self.partitions() {
            move_up(&self.partition_dir(partition), there.partition_dir(partition))?;
        }
        OsDisk.sync_dir(place).map_err(io_error(place))?;
        move_up(&self.path.join(FILE), place.join(FILE))?;
        OsDisk.sync_dir(place).map_err(io_error(place))?;
        let _ = fs::remove_dir(&self.path); // It is empty, and in nobody's way.
        Ok(())
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the files of a partition must name.
    pub fn store_id(&self, partition: u32) -> StoreId {
        StoreId { store: self.form.store, partition, partitions: self.partitions() }
    }

    /// The folder of a partition: its index and checkpoint.
    pub fn partition_dir(&self, partition: u32) -> PathBuf {
        self.path.join(format!("p{partition}"))
    }

    /// The folder of a partition's journal.
    pub fn journal_dir(&self, partition: u32) -> PathBuf {
        self.partition_dir(partition).join("journal")
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DataDirError + '_ {
    move |source| DataDirError::Io { path: shown(path), source }
}

fn read(path: &Path) -> Result<Option<Form>, DataDirError> {
    let file = path.join(FILE);
    // Before the file, beside which they may come into being or be gone at this moment: a store that is just made, by a
    // start or by an import, has it by the time that these say something else.
    let (unfinished, has_partitions) = (refuse_unfinished(path), has_partitions(path)?);
    let json = match fs::read(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            unfinished?;
            return if has_partitions { Err(DataDirError::Lost { path: shown(path) }) } else { Ok(None) };
        }
        json => json.map_err(io_error(&file))?,
    };
    let damaged = |source| DataDirError::Damaged { path: shown(path), source };
    // By itself, before anything else is expected of a later format.
    let FormatForm { format } = serde_json::from_slice(&json).map_err(damaged)?;
    if format != DATA_FORMAT {
        return Err(DataDirError::OtherFormat { path: shown(path), format });
    }
    serde_json::from_slice(&json).map(Some).map_err(damaged)
}

/// Whether it holds what a store has: `p0`, or further ones.
fn has_partitions(path: &Path) -> Result<bool, DataDirError> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(io_error(path))?,
    };
    for entry in entries {
        let name = entry.map_err(io_error(path))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix('p'));
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses a directory without the file that makes it a store, if one is or was put together in it.
fn refuse_unfinished(path: &Path) -> Result<(), DataDirError> {
    let unfinished = path.join(UNFINISHED);
    let folder = match File::open(&unfinished) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        folder => folder.map_err(io_error(&unfinished))?,
    };
    if let Err(TryLockError::WouldBlock) = folder.try_lock_shared() {
        return Err(DataDirError::BeingMade { path: shown(path) });
    }
    let is_empty = fs::read_dir(&unfinished).map_err(io_error(&unfinished))?.next().is_none();
    // An empty one beside partitions was left by a crash behind a store that was complete: it is that which lacks its file.
    if is_empty && has_partitions(path)? { Ok(()) } else { Err(DataDirError::Unfinished { path: shown(path) }) }
}

/// Whether there is anything in it but what a crash leaves while a store is made, what a file system makes by itself, and
/// the broker that `dev` keeps there.
fn is_occupied(path: &Path) -> Result<bool, DataDirError> {
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let name = entry.map_err(io_error(path))?.file_name();
        if ![FILE_NEW, "lost+found", "nats"].iter().any(|harmless| name == *harmless) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A directory, made if it is not there, in which nobody else begins a store until this is dropped.
fn locked(path: &Path) -> Result<File, DataDirError> {
    match OsDisk.create_dir(path) {
        // Who may write to a parent may still not read it, and then cannot sync it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && path.is_dir() => {}
        made => made.map_err(io_error(path))?,
    }
    let directory = File::open(path).map_err(io_error(path))?;
    directory.lock().map_err(io_error(path))?;
    Ok(directory)
}

/// Makes a store, or finds the one that somebody else makes at the same time: of two, one would lose its name in use.
fn create(path: &Path, partitions: NonZeroU32) -> Result<Form, DataDirError> {
    let _locked = locked(path)?;
    if let Some(form) = read(path)? {
        return Ok(form);
    }
    if is_occupied(path)? {
        return Err(DataDirError::Foreign { path: shown(path) });
    }
    let store = Uuid::now_v7();
    let form = Form { format: DATA_FORMAT, store, partitions, begun: false, fed: false };
    write(path, &form)?;
    let data = DataDir { path: path.to_owned(), form };
    for partition in 0..data.partitions() {
        let dir = data.partition_dir(partition);
        OsDisk.create_dir(&dir).map_err(io_error(&dir))?; // And its name is durable, whoever opens it on which thread.
    }
    Ok(data.form)
}

fn write(path: &Path, form: &Form) -> Result<(), DataDirError> {
    let json = serde_json::to_vec(form).map_err(|source| DataDirError::Damaged { path: shown(path), source })?;
    put_file(path, FILE, &json).map_err(io_error(&path.join(FILE)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn first_starts_at_once_make_one_store() {
        const STARTS: usize = 8;
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let (path, together) = (folder.path().join("data"), Barrier::new(STARTS));
            let start = || {
                together.wait();
                DataDir::open_or_create(&path, None).unwrap().store()
            };
            let stores: HashSet<Uuid> = thread::scope(|scope| {
                let starts: Vec<_> = (0..STARTS).map(|_| scope.spawn(start)).collect();
                starts.into_iter().map(|start| start.join().unwrap()).collect()
            });
            assert_eq!(stores, HashSet::from([DataDir::open(&path).unwrap().store()]));
        }
    }
}
