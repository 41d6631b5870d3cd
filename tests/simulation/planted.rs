//! Bugs that the simulation must find: in what stands around the processor, around the disk and around the feeder, and the
//! wrong processors of the contract's tests.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hapax::model::header;
use hapax::processor::{Delivery, Effect, Input, Processor};
use hapax::store::file::disk::{Disk, DiskFile};
use serde_json::Value;

use crate::common::cut_disk::CutDisk;
use crate::common::pure::{Build, Core};
use crate::wrong::WRONG;
use crate::wrong_feeds::wrong_feeds;

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
        ("takes no id that the index knows for old", Build { knows_newest: false, ..right }),
        ("tries a failed fsync again", Build { disk: |disk| careless(disk, Carelessness::TriesAgain), ..right }),
        ("believes what it finds", Build { disk: |disk| careless(disk, Carelessness::Believes), ..right }),
        ("syncs what it finds once more", Build { disk: |disk| careless(disk, Carelessness::SyncsAgain), ..right }),
        ("does not sync files", Build { disk: |disk| careless(disk, Carelessness::SyncsNoFiles), ..right }),
        ("does not sync names", Build { disk: |disk| careless(disk, Carelessness::SyncsNoNames), ..right }),
        (
            "writes a group as commits of their own",
            Build { disk: |disk| careless(disk, Carelessness::Ungroups), ..right },
        ),
        ("decides an atomic batch item by item", Build { core: |right| Box::new(ItemByItem(right)), ..right }),
        ("forgets the checks of a batch", Build { core: |right| Box::new(Unchecked(right)), ..right }),
        ("replays a batch with other bytes", Build { core: |right| Box::new(RewritesBatches(right)), ..right }),
        (
            "takes another batch for a retry",
            Build { core: |right| Box::new(FirstBatch(right, HashMap::new())), ..right },
        ),
    ];
    let of_the_contract = WRONG.into_iter().filter(|(name, _)| !NOT_HERE.iter().any(|(other, _)| other == name));
    planted.extend(of_the_contract.map(|(name, core)| (name, Build { core, ..right })));
    planted.extend(wrong_feeds());
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

/// The batches among what is delivered.
fn batches(input: &mut Input) -> impl Iterator<Item = &mut Delivery> {
    let deliveries = match input {
        Input::Delivered(deliveries, _) => &mut deliveries[..],
        _ => &mut [],
    };
    deliveries.iter_mut().filter(|delivery| delivery.subject.ends_with(".run"))
}

/// All or none is too much to ask.
struct ItemByItem(Processor);

impl Core for ItemByItem {
    fn on(&mut self, mut input: Input, effects: &mut Vec<Effect>) {
        for delivery in batches(&mut input) {
            delivery.body = String::from_utf8_lossy(&delivery.body).replacen("true", "false", 1).into();
        }
        self.0.on(input, effects);
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

/// What is only compared is no command.
struct Unchecked(Processor);

impl Core for Unchecked {
    fn on(&mut self, mut input: Input, effects: &mut Vec<Effect>) {
        for delivery in batches(&mut input) {
            let Ok(mut body) = serde_json::from_slice::<Value>(&delivery.body) else { continue };
            let Some(items) = body["commands"].as_array_mut() else { continue };
            items.retain(|item| item.get("check").is_none());
            delivery.body = body.to_string().into();
        }
        self.0.on(input, effects);
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

/// The reply to an atomic batch is put together anew, in a style of its own.
struct RewritesBatches(Processor);

impl Core for RewritesBatches {
    fn on(&mut self, input: Input, effects: &mut Vec<Effect>) {
        let before = effects.len();
        self.0.on(input, effects);
        for effect in &mut effects[before..] {
            if let Effect::Reply(answer) = effect
                && answer.replayed
            {
                answer.body = String::from_utf8_lossy(&answer.body).replace(r#""items":["#, r#""items": ["#).into();
            }
        }
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

/// Under one id there is one batch, whatever else comes under it.
struct FirstBatch(Processor, HashMap<String, Bytes>);

impl Core for FirstBatch {
    fn on(&mut self, mut input: Input, effects: &mut Vec<Effect>) {
        for delivery in batches(&mut input) {
            let id = delivery.headers.iter().find(|(name, _)| *name == header::ID).map(|(_, id)| id);
            let name = format!("{} {id:?}", delivery.subject);
            let body = delivery.body.clone();
            delivery.body = self.1.entry(name).or_insert(body).clone();
        }
        self.0.on(input, effects);
    }

    fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Carelessness {
    Ungroups,
    TriesAgain,
    Believes,
    SyncsAgain,
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
        match self.how {
            Carelessness::Believes => self.disk.rename_unwritten(source, target),
            Carelessness::SyncsAgain => {
                if let Ok(found) = self.disk.open(target) {
                    found.sync_data()?;
                }
                self.disk.rename_unwritten(source, target)
            }
            _ => self.disk.rename(source, target),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.how == Carelessness::SyncsNoNames { Ok(()) } else { self.disk.sync_dir(dir) }
    }
}

const MARKER: [u8; 3] = [0xFF, 0xFA, 0xCE];

/// No frame says any more that its group goes on, and each has the checksum that belongs to that.
fn ungroup(mut frames: &mut [u8]) {
    while frames.len() >= 52 {
        let length = u32::from_le_bytes(frames[4..8].try_into().unwrap()) as usize;
        let (frame, rest) = frames.split_at_mut(52 + length);
        frame[3] = 0;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&frame[3..8]);
        checksum.update(&frame[12..]);
        frame[8..12].copy_from_slice(&checksum.finalize().to_le_bytes());
        frames = rest;
    }
}

struct CarelessFile {
    file: Box<dyn DiskFile>,
    how: Carelessness,
}

impl DiskFile for CarelessFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = bytes.to_vec();
        if self.how == Carelessness::Ungroups && bytes.starts_with(&MARKER) {
            ungroup(&mut bytes);
        }
        self.file.write_at(&bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.how {
            Carelessness::TriesAgain => self.file.sync_data().or_else(|_| self.file.sync_data()),
            Carelessness::SyncsNoFiles => Ok(()),
            _ => self.file.sync_data(),
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
