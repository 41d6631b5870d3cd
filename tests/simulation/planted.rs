//! Bugs that the simulation must find: in what stands around the processor, in what stands around the disk, and the wrong
//! processors of the contract's tests.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hapax::processor::{Effect, Input, Processor};
use hapax::store::file::disk::{Disk, DiskFile};

use crate::common::cut_disk::CutDisk;
use crate::common::pure::{Build, Core};
use crate::wrong::WRONG;

/// Wrong processors of the contract that only its vectors show.
pub(crate) const NOT_HERE: [(&str, &str); 5] = [
    ("loses the mark of a replay", "no invariant is about the mark"),
    ("checks the time limit before it knows the id", "limits that cannot be read are not sent here"),
    ("compares numbers by value", "numbers are spelled in one way here"),
    ("lets the last of two equal keys win", "no body here has a key twice"),
    ("answers to any inbox", "nobody listens at the wrong inbox"),
];

/// All others, by name.
pub(crate) fn planted() -> Vec<(&'static str, Build)> {
    let right = Build::default();
    let mut planted = vec![
        ("acknowledges before it has recorded", Build { core: |right| Box::new(AcksFirst(right)), ..right }),
        ("forgets before the index knows", Build { core: |right| Box::new(ForgetsEarly(right)), ..right }),
        ("does not bring the index to where the store is", Build { catches_up: false, ..right }),
        ("tries a failed fsync again", Build { disk: |disk| careless(disk, Carelessness::TriesAgain), ..right }),
        ("does not sync files", Build { disk: |disk| careless(disk, Carelessness::SyncsNoFiles), ..right }),
        ("does not sync names", Build { disk: |disk| careless(disk, Carelessness::SyncsNoNames), ..right }),
    ];
    let of_the_contract = WRONG.into_iter().filter(|(name, _)| !NOT_HERE.iter().any(|(other, _)| other == name));
    planted.extend(of_the_contract.map(|(name, core)| (name, Build { core, ..right })));
    planted
}

/// Every delivery is settled as soon as it is here.
struct AcksFirst(Processor);

impl Core for AcksFirst {
    fn on(&mut self, input: Input, effects: &mut Vec<Effect>) {
        if let Input::Delivered(batch, _) = &input {
            effects.push(Effect::Ack(batch.iter().map(|delivery| delivery.ticket.clone()).collect()));
        }
        self.0.on(input, effects);
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

/// What is to be noted in the index counts as noted.
struct ForgetsEarly(Processor);

impl Core for ForgetsEarly {
    fn on(&mut self, input: Input, effects: &mut Vec<Effect>) {
        self.0.on(input, effects);
        let noted = effects.iter().rev().find_map(|effect| match effect {
            Effect::Index(entries) => entries.last().map(|entry| entry.position),
            _ => None,
        });
        if let Some(noted) = noted {
            self.0.on(Input::Indexed(noted), effects);
        }
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Carelessness {
    TriesAgain,
    SyncsNoFiles,
    SyncsNoNames,
}

fn careless(disk: CutDisk, how: Carelessness) -> Arc<dyn Disk> {
    Arc::new(Careless { disk, how })
}

struct Careless {
    disk: CutDisk,
    how: Carelessness,
}

impl Careless {
    fn around(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(CarelessFile { file, how: self.how })
    }
}

impl Disk for Careless {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.around(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.around(file))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_to_write(path).map(|file| self.around(file))
    }

    fn rename(&self, source: &Path, target: &Path) -> io::Result<()> {
        self.disk.rename(source, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.how == Carelessness::SyncsNoNames { Ok(()) } else { self.disk.sync_dir(dir) }
    }
}

struct CarelessFile {
    file: Box<dyn DiskFile>,
    how: Carelessness,
}

impl DiskFile for CarelessFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.how {
            Carelessness::TriesAgain => self.file.sync_data().or_else(|_| self.file.sync_data()),
            Carelessness::SyncsNoFiles => Ok(()),
            Carelessness::SyncsNoNames => self.file.sync_data(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
