//! How far the journal is durable, said outside its segments: a tail that is cut off cannot take that with it.
//!
//! ```text
//! magic 8 | partition u32 | partitions u32 | store id 16 | position u64 | crc32 u32
//! ```
//! Written over after each fsync of a segment, so it never says too much. It is not synced then, which would cost a second
//! fsync for each group: a process that is killed leaves it in the page cache, and a power cut takes back what was said
//! since the start, since the journal was idle last, or for a second. It lies in one sector, which a disk writes whole.
//!
//! One that is damaged, old, missing or another store's proves less or nothing, and harms nothing; so does one of another
//! layout, which takes another magic. Only if it cannot be read is nothing opened: what it would prove is not known.

use uuid::Uuid;

use super::disk::{Failed, Folder, NamedFile};
use super::frame::{u32_at, u64_at};
use crate::model::Position;
use crate::store::StoreId;

const NAME: &str = "proof";
const MAGIC: &[u8; 8] = b"hapaxprf";
const BYTES: usize = 44;
const CRC_AT: usize = BYTES - 4;

/// The file, open for writing.
pub(super) struct Proof {
    file: NamedFile,
    id: StoreId,
}

impl Proof {
    /// Opens the file, or makes it.
    pub(super) fn open(folder: &Folder, id: StoreId) -> Result<Proof, Failed> {
        let file = match folder.open_to_write(NAME) {
            Err(failed) if failed.is_not_found() => {
                let file = folder.create(NAME)?;
                folder.sync()?;
                file
            }
            opened => opened?,
        };
        Ok(Proof { file, id })
    }

    /// Says that everything up to a position is durable, which it is.
    pub(super) fn write(&self, durable: Position) -> Result<(), Failed> {
        self.file.write_at(&encode(self.id, durable), 0)
    }

    /// Makes safe what was written.
    pub(super) fn sync(&self) -> Result<(), Failed> {
        self.file.sync_data()
    }
}

pub(super) fn encode(id: StoreId, durable: Position) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&id.partition.to_le_bytes());
    bytes.extend_from_slice(&id.partitions.to_le_bytes());
    bytes.extend_from_slice(id.store.as_bytes());
    bytes.extend_from_slice(&durable.get().to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What the file says: up to which position which store is durable, if anything.
pub(super) struct Said(Option<(StoreId, Position)>);

impl Said {
    /// Up to which position this store is durable.
    pub(super) fn of(&self, id: StoreId) -> Option<Position> {
        self.0.filter(|(said_of, _)| *said_of == id).map(|(_, durable)| durable)
    }
}

/// Reads the file of a folder, or that there is none.
pub(super) fn read(folder: &Folder) -> Result<Said, Failed> {
    let bytes = match folder.open(NAME) {
        Err(failed) if failed.is_not_found() => return Ok(Said(None)),
        file => file?.read(0, BYTES)?,
    };
    if bytes.len() != BYTES || !bytes.starts_with(MAGIC) || crc32fast::hash(&bytes[..CRC_AT]) != u32_at(&bytes, CRC_AT)
    {
        return Ok(Said(None));
    }
    let store = Uuid::from_bytes(bytes[16..32].try_into().expect("a UUID has 16 bytes"));
    let id = StoreId { store, partition: u32_at(&bytes, 8), partitions: u32_at(&bytes, 12) };
    Ok(Said(Position::new(u64_at(&bytes, 32)).map(|durable| (id, durable))))
}
