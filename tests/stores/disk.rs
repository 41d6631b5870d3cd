//! Disks for tests: one that tells what is done to it and fails when told to.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hapax::store::file::disk::{Disk, DiskFile, OsDisk};

/// What is asked before each operation that changes something, or opens a file to read: its name, and the file's name.
type Ask = dyn Fn(&str, &str) -> io::Result<()> + Send + Sync;

/// The real disk, watched.
#[derive(Clone)]
pub struct Spy {
    ask: Arc<Ask>,
    done: Arc<Mutex<Vec<String>>>,
    /// Which name a file was given that was created under another.
    renamed: Arc<Mutex<HashMap<PathBuf, PathBuf>>>,
}

impl Spy {
    /// One that lets everything pass.
    pub fn new() -> Spy {
        Spy::asking(|_, _| Ok(()))
    }

    /// One that asks first.
    pub fn asking(ask: impl Fn(&str, &str) -> io::Result<()> + Send + Sync + 'static) -> Spy {
        Spy { ask: Arc::new(ask), done: Arc::default(), renamed: Arc::default() }
    }

    /// One that fails an operation on a file whose name ends so, from the `nth` time on, counted from 1.
    pub fn failing(operation: &'static str, suffix: &'static str, nth: usize) -> Spy {
        let count = Mutex::new(0);
        Spy::asking(move |asked, name| {
            if asked == operation && name.ends_with(suffix) {
                *count.lock().unwrap() += 1;
                if nth <= *count.lock().unwrap() {
                    return Err(io::Error::other("the disk says no"));
                }
            }
            Ok(())
        })
    }

    /// What was done since this was asked last.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.done.lock().unwrap())
    }

    /// How often an operation was done since.
    pub fn count(&self, operation: &str) -> usize {
        self.done.lock().unwrap().iter().filter(|done| done.starts_with(operation)).count()
    }

    /// The disk as the store takes it.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    fn note(&self, operation: &str, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap().to_str().unwrap();
        self.done.lock().unwrap().push(format!("{operation} {name}"));
        (self.ask)(operation, name)
    }

    fn file(&self, path: &Path, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(SpyFile { spy: self.clone(), path: path.to_owned(), file })
    }
}

impl Disk for Spy {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.note("create", path)?;
        self.renamed.lock().unwrap().remove(path);
        Ok(self.file(path, OsDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        (self.ask)("open", path.file_name().unwrap().to_str().unwrap())?; // It changes nothing, and is not noted.
        OsDisk.open(path)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, OsDisk.open_to_write(path)?))
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.note("rename", target)?;
        OsDisk.rename(source, target)?;
        self.renamed.lock().unwrap().insert(source.to_owned(), target.to_owned());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path)?;
        OsDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("sync_dir", dir)?;
        OsDisk.sync_dir(dir)
    }
}

struct SpyFile {
    spy: Spy,
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl SpyFile {
    fn path(&self) -> PathBuf {
        self.spy.renamed.lock().unwrap().get(&self.path).unwrap_or(&self.path).clone()
    }
}

impl DiskFile for SpyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.spy.note("write", &self.path())?;
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.spy.note("sync_data", &self.path())?;
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// A disk that a writer has gone on writing to: some reads show its files as they were before, with zeros from a byte on.
#[derive(Clone)]
pub struct Earlier {
    pub reads: Arc<AtomicUsize>,
    /// Which reads.
    pub as_it_was: Range<usize>,
    pub zeros_from: u64,
}

impl Earlier {
    fn read(&self, bytes: &mut [u8], offset: u64) {
        if self.as_it_was.contains(&self.reads.fetch_add(1, Ordering::Relaxed)) {
            let kept = usize::try_from(self.zeros_from.saturating_sub(offset)).unwrap().min(bytes.len());
            bytes[kept..].fill(0);
        }
    }
}

/// For readers.
impl Disk for Earlier {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        unreachable!()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(EarlierFile { disk: self.clone(), file: OsDisk.open(path)? }))
    }

    fn open_to_write(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        unreachable!()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        unreachable!()
    }
}

struct EarlierFile {
    disk: Earlier,
    file: Box<dyn DiskFile>,
}

impl DiskFile for EarlierFile {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        unreachable!()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        self.disk.read(&mut buffer[..read], offset);
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        unreachable!()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
