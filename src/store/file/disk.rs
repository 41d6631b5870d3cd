//! What the journal asks of a disk, and the operating system's answer. The trait is here so that tests can make a write
//! or an fsync fail, and so that a simulation can lose what was not synced.
//!
//! What the journal relies on: a file's bytes are safe after `sync_data`, a name after `sync_dir`, and `rename` replaces
//! the target as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store::{AppendError, Damage, ReadError};

/// The operations on names.
pub trait Disk: Send + Sync {
    /// Makes a folder and what is missing above it, so that it is still there after a power cut.
    ///
    /// # Errors
    /// As the operating system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a folder, in any order.
    ///
    /// # Errors
    /// `NotFound` if there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// A new, empty file to write; what had its name is emptied.
    ///
    /// # Errors
    /// As the operating system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// A file to read.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// A file to read and to go on writing.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name; what had that name before is gone.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, source: &Path, target: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder safe.
    ///
    /// # Errors
    /// As the operating system says. Never to be tried again.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// Puts a small file in place as a whole: after a crash there is the old one or the new one. For a moment there is also
/// one whose name ends in `.new`.
///
/// # Errors
/// As the operating system says. Whether the file is the old one or the new one is then not known.
pub fn put_file(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?; // Through the handle that wrote: an error of writing back is told there.
    fs::rename(&new, dir.join(name))?;
    OsDisk.sync_dir(dir)
}

/// The operations on one open file. Reads may run beside a write.
pub trait DiskFile: Send + Sync {
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// As the operating system says; any part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads what is there, up to the buffer's length; 0 at the end of the file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes and the length safe.
    ///
    /// # Errors
    /// As the operating system says. Never to be tried again: the second call may lie.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in it.
    ///
    /// # Errors
    /// As the operating system says.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        // A relative path of one part has the empty path as its parent, which means the current folder.
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !dir.is_dir() {
            if !parent.is_dir() {
                self.create_dir(parent)?;
            }
            fs::create_dir_all(dir)?; // Not `create_dir`, which minds if somebody else makes it meanwhile.
        }
        // Also if it was there: whoever made it may have ended before this.
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        fs::read_dir(dir)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        fs::rename(source, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(self, buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}

/// The operating system said no: to what, and where.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) operation: &'static str,
    pub(super) path: String,
    pub(super) source: io::Error,
}

impl Failed {
    pub(super) fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failed {
        move |source| Failed { operation, path: path.display().to_string(), source }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl From<Failed> for AppendError {
    fn from(Failed { operation, path, source }: Failed) -> AppendError {
        AppendError::Io { operation, path, source: Arc::new(source) }
    }
}

/// Why something cannot be read.
#[derive(Debug)]
pub(super) enum Fault {
    Failed(Failed),
    Damage(Damage),
}

impl From<Failed> for Fault {
    fn from(failed: Failed) -> Fault {
        Fault::Failed(failed)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Fault {
        Fault::Damage(damage)
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> ReadError {
        match fault {
            Fault::Failed(Failed { path, source, .. }) => ReadError::Io { path, source },
            Fault::Damage(damage) => ReadError::Damage(damage),
        }
    }
}

/// The journal's folder: names instead of paths, and errors that say where.
#[derive(Clone)]
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Folder {
    pub(super) fn new(disk: Arc<dyn Disk>, path: &Path) -> Folder {
        Folder { disk, path: path.to_owned() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it; none if it does not exist.
    pub(super) fn list(&self) -> Result<Vec<String>, Failed> {
        match self.disk.list(&self.path).map_err(Failed::at("list", &self.path)) {
            Err(failed) if failed.is_not_found() => Ok(Vec::new()),
            listed => listed,
        }
    }

    pub(super) fn create_itself(&self) -> Result<(), Failed> {
        self.disk.create_dir(&self.path).map_err(Failed::at("create", &self.path))
    }

    pub(super) fn create(&self, name: &str) -> Result<NamedFile, Failed> {
        self.named(name, "create", |path| self.disk.create(path))
    }

    pub(super) fn open(&self, name: &str) -> Result<NamedFile, Failed> {
        self.named(name, "open", |path| self.disk.open(path))
    }

    pub(super) fn open_to_write(&self, name: &str) -> Result<NamedFile, Failed> {
        self.named(name, "open", |path| self.disk.open_to_write(path))
    }

    fn named(
        &self,
        name: &str,
        operation: &'static str,
        open: impl FnOnce(&Path) -> io::Result<Box<dyn DiskFile>>,
    ) -> Result<NamedFile, Failed> {
        let path = self.path.join(name);
        let file = open(&path).map_err(Failed::at(operation, &path))?;
        Ok(NamedFile { path, file })
    }

    /// Gives an open file its final name.
    pub(super) fn rename(&self, source: NamedFile, target: &str) -> Result<NamedFile, Failed> {
        let path = self.path.join(target);
        self.disk.rename(&source.path, &path).map_err(Failed::at("rename to", &path))?;
        Ok(NamedFile { path, file: source.file })
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), Failed> {
        let path = self.path.join(name);
        self.disk.remove(&path).map_err(Failed::at("remove", &path))
    }

    pub(super) fn sync(&self) -> Result<(), Failed> {
        self.disk.sync_dir(&self.path).map_err(Failed::at("sync", &self.path))
    }
}

/// An open file that knows its name.
pub(super) struct NamedFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl NamedFile {
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Failed> {
        self.file.write_at(bytes, offset).map_err(Failed::at("write", &self.path))
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Failed> {
        self.file.read_at(buffer, offset).map_err(Failed::at("read", &self.path))
    }

    /// Reads up to `length` bytes; fewer if the file ends before.
    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Failed> {
        let mut bytes = Vec::new();
        self.read_onto(&mut bytes, offset, length)?;
        Ok(bytes)
    }

    /// The same, behind what is in a buffer.
    pub(super) fn read_onto(&self, buffer: &mut Vec<u8>, offset: u64, length: usize) -> Result<(), Failed> {
        let before = buffer.len();
        buffer.resize(before + length, 0);
        let (mut filled, mut result) = (0, Ok(()));
        while filled < length {
            match self.read_at(&mut buffer[before + filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(failed) => {
                    result = Err(failed);
                    break;
                }
            }
        }
        buffer.truncate(before + filled);
        result
    }

    pub(super) fn sync_data(&self) -> Result<(), Failed> {
        self.file.sync_data().map_err(Failed::at("fdatasync", &self.path))
    }

    pub(super) fn len(&self) -> Result<u64, Failed> {
        self.file.len().map_err(Failed::at("stat", &self.path))
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What is wrong in it, and where.
    pub(super) fn damage(&self, offset: u64, position: u64, what: impl Into<String>) -> Damage {
        Damage { file: self.path.display().to_string(), offset, position, what: what.into(), source: None }
    }
}
