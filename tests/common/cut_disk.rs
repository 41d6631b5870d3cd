//! A disk in memory that loses what was not synced.
//!
//! What a power cut leaves of a file: all synced pages, and any of the others, whole or torn. Of the names: those that were
//! synced, and any number of the changes since, in their order. A failed fsync is as bad as on Linux: the pages count as
//! clean afterwards, so that reading still shows them and no later fsync writes them. The disk may also be full, refuse to
//! be read, or hold a bit that has turned over.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hapax::store::file::disk::{Disk, DiskFile};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Small, so that one frame has several.
const PAGE: usize = 64;

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct CutDisk(Arc<Mutex<World>>);

#[derive(Clone, Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    /// The names after each change since they were synced.
    changes: Vec<BTreeMap<String, usize>>,
    /// How many syncs are still to succeed before one fails.
    syncs_left: Option<usize>,
    /// How many changes are still to be made before the process is dead.
    changes_left: Option<usize>,
    /// How many bytes still fit; `None`: any number.
    room: Option<usize>,
    unreadable: bool,
    rotten: Option<Rotten>,
    happened: Happened,
}

/// A bit that has turned over.
#[derive(Clone)]
struct Rotten {
    inode: usize,
    offset: usize,
    /// The byte as it is now, and as it was.
    now: u8,
    before: u8,
}

/// What the disk has done to whoever uses it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Happened {
    pub writes: u64,
    pub syncs: u64,
    pub failed_syncs: u64,
    pub full: u64,
    pub failed_reads: u64,
    pub deaths: u64,
    pub lost_pages: u64,
    pub torn_pages: u64,
}

#[derive(Clone, Default)]
struct Inode {
    /// What reading shows.
    cached: Vec<u8>,
    /// What is on the platters.
    stored: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Inode {
    fn store(&mut self, page: usize) {
        self.store_some(page, PAGE);
    }

    /// Stores the first bytes of a page.
    fn store_some(&mut self, page: usize, bytes: usize) {
        let range = page * PAGE..(page * PAGE + bytes).min(self.cached.len());
        if self.stored.len() < range.end {
            self.stored.resize(range.end, 0);
        }
        self.stored[range.clone()].copy_from_slice(&self.cached[range]);
    }
}

impl CutDisk {
    /// Takes the power away, and gives it back.
    pub fn cut(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let world = &mut *self.0.lock().unwrap();
        let survived = random.gen_range(0..=world.changes.len());
        if let Some(change) = survived.checked_sub(1) {
            world.synced_names = world.changes[change].clone();
        }
        world.names = world.synced_names.clone();
        world.changes.clear();
        for inode in &mut world.inodes {
            for page in std::mem::take(&mut inode.dirty) {
                match random.gen_range(0..8) {
                    0..4 => inode.store(page),
                    4 => {
                        inode.store_some(page, random.gen_range(1..PAGE));
                        world.happened.torn_pages += 1;
                    }
                    _ => world.happened.lost_pages += 1,
                }
            }
            inode.cached.clone_from(&inode.stored);
        }
        (world.syncs_left, world.changes_left) = (None, None);
    }

    /// Renames as somebody would who has not written a file anew: where it holds what the old one holds, no more is on
    /// the platters than of that.
    pub fn rename_unwritten(&self, source: &Path, target: &Path) -> io::Result<()> {
        let replaced = self.0.lock().unwrap().names.get(&name_of(target)).copied();
        self.rename(source, target)?;
        let Some(replaced) = replaced else { return Ok(()) };
        let world = &mut *self.0.lock().unwrap();
        let old = world.inodes[replaced].clone();
        let new = &mut world.inodes[world.names[&name_of(target)]];
        let written = std::mem::take(&mut new.stored);
        for (page, bytes) in new.cached.chunks(PAGE).enumerate() {
            let range = page * PAGE..page * PAGE + bytes.len();
            let is_unwritten = old.cached.get(range.clone()) == Some(bytes);
            let stored = if is_unwritten { &old.stored } else { &written };
            new.stored.resize(range.start, 0);
            new.stored.extend(stored.iter().take(range.end).skip(range.start));
            new.dirty.extend(old.dirty.get(&page).filter(|_| is_unwritten));
        }
        Ok(())
    }

    /// What it has done so far.
    pub fn happened(&self) -> Happened {
        self.0.lock().unwrap().happened
    }

    /// From now on only so many bytes fit; `None`: any number.
    pub fn fill(&self, room: Option<usize>) {
        self.0.lock().unwrap().room = room;
    }

    /// Whether reading fails from now on.
    pub fn refuse_to_be_read(&self, unreadable: bool) {
        self.0.lock().unwrap().unreadable = unreadable;
    }

    /// Turns a bit over that is stored for good. Whether there was one, and none has before that is still so.
    pub fn rot(&self, seed: u64) -> bool {
        let mut random = StdRng::seed_from_u64(seed);
        let world = &mut *self.0.lock().unwrap();
        // Not the proof, whose damage nobody is told of.
        let named = world.names.iter().filter(|(name, _)| *name != "proof");
        let inodes: Vec<usize> = named.map(|(_, inode)| *inode).collect();
        if world.rotten.is_some() || inodes.is_empty() {
            return false;
        }
        let inode = inodes[random.gen_range(0..inodes.len())];
        let Inode { cached, stored, dirty } = &mut world.inodes[inode];
        if !dirty.is_empty() {
            return false;
        }
        // Not in zeros that were written beforehand: nobody relies on them.
        let Some(last) = stored.iter().rposition(|byte| *byte != 0) else { return false };
        let offset = random.gen_range(0..=last);
        let before = stored[offset];
        stored[offset] ^= 1 << random.gen_range(0..8);
        cached[offset] = stored[offset];
        world.rotten = Some(Rotten { inode, offset, now: stored[offset], before });
        true
    }

    /// Another disk with the same on it.
    pub fn copy(&self) -> CutDisk {
        CutDisk(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }

    /// Cuts the last segment off, somewhere in what is written to it.
    pub fn shorten(&self, seed: u64) {
        let world = &mut *self.0.lock().unwrap();
        let last = world.names.iter().rfind(|(name, _)| name.ends_with(".log"));
        let Inode { cached, stored, .. } = &mut world.inodes[*last.expect("there is one").1];
        let length = StdRng::seed_from_u64(seed).gen_range(0..=cached.len());
        cached.truncate(length);
        stored.truncate(length);
    }

    /// Brings the clean copy back of what has rotted, where it has not been written since.
    pub fn restore(&self) {
        let world = &mut *self.0.lock().unwrap();
        let Some(Rotten { inode, offset, now, before }) = world.rotten.take() else { return };
        let Inode { cached, stored, .. } = &mut world.inodes[inode];
        for bytes in [cached, stored] {
            if bytes.get(offset) == Some(&now) {
                bytes[offset] = before;
            }
        }
    }

    /// From now on so many fsyncs of files succeed, and the next one fails.
    pub fn fail_sync_after(&self, syncs: Option<usize>) {
        self.0.lock().unwrap().syncs_left = syncs;
    }

    /// From now on so many changes are made, and the process is killed in the middle of the next one: half of a write is
    /// written, nothing of anything else, and nothing later.
    pub fn die_after(&self, changes: Option<usize>) {
        self.0.lock().unwrap().changes_left = changes;
    }

    fn change(&self) -> io::Result<std::sync::MutexGuard<'_, World>> {
        let mut world = self.0.lock().unwrap();
        match &mut world.changes_left {
            Some(0) => {
                world.happened.deaths += 1;
                return Err(io::Error::other("the process is dead"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(world)
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().into()
}

impl World {
    fn changed(&mut self) {
        self.changes.push(self.names.clone());
    }
}

impl Disk for CutDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = self.change()?;
        world.inodes.push(Inode::default());
        let inode = world.inodes.len() - 1;
        world.names.insert(name_of(path), inode);
        world.changed();
        Ok(Box::new(CutFile { disk: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = *self.0.lock().unwrap().names.get(&name_of(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(CutFile { disk: self.clone(), inode }))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open(path)
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        let mut world = self.change()?;
        let inode = world.names.remove(&name_of(source)).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(name_of(target), inode);
        world.changed();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.change()?;
        world.names.remove(&name_of(path)).ok_or(io::ErrorKind::NotFound)?;
        world.changed();
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut world = self.change()?;
        world.synced_names = world.names.clone();
        world.changes.clear();
        Ok(())
    }
}

struct CutFile {
    disk: CutDisk,
    inode: usize,
}

impl CutFile {
    fn with<T>(&self, step: impl FnOnce(&mut Inode) -> T) -> T {
        step(&mut self.disk.0.lock().unwrap().inodes[self.inode])
    }
}

impl DiskFile for CutFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = offset as usize;
        let mut result = self.disk.change().map(drop);
        let mut bytes = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        {
            let world = &mut *self.disk.0.lock().unwrap();
            world.happened.writes += 1;
            if let Some(room) = &mut world.room {
                if *room < bytes.len() {
                    bytes = &bytes[..*room];
                    result = Err(io::ErrorKind::StorageFull.into());
                    world.happened.full += 1;
                }
                *room -= bytes.len();
            }
        }
        self.with(|inode| {
            let end = start + bytes.len();
            if inode.cached.len() < end {
                inode.cached.resize(end, 0);
            }
            inode.cached[start..end].copy_from_slice(bytes);
            inode.dirty.extend(start / PAGE..end.div_ceil(PAGE));
        });
        result
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        {
            let mut world = self.disk.0.lock().unwrap();
            if world.unreadable {
                world.happened.failed_reads += 1;
                return Err(io::Error::other("the disk cannot be read"));
            }
        }
        Ok(self.with(|inode| {
            let start = (offset as usize).min(inode.cached.len());
            let length = buffer.len().min(inode.cached.len() - start);
            buffer[..length].copy_from_slice(&inode.cached[start..start + length]);
            length
        }))
    }

    fn sync_data(&self) -> io::Result<()> {
        let fails = {
            let mut world = self.disk.change()?;
            world.happened.syncs += 1;
            let fails = world.syncs_left == Some(0);
            // It fails once. Whoever tries again is told that all is well.
            world.syncs_left = world.syncs_left.and_then(|left| left.checked_sub(1));
            fails
        };
        self.with(|inode| {
            for page in std::mem::take(&mut inode.dirty) {
                if !fails {
                    inode.store(page);
                }
            }
        });
        if fails {
            self.disk.0.lock().unwrap().happened.failed_syncs += 1;
            return Err(io::Error::other("the disk says no"));
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|inode| inode.cached.len() as u64))
    }
}
