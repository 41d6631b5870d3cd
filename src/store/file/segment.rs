//! A segment: one file of the journal, named by its first position, with a header that says where it belongs.
//!
//! ```text
//! magic 8 | format u32 | partition u32 | partitions u32 | store id 16 | partition hash 16 | first position u64
//! | previous chain hash 32 | crc32 u32
//! ```
//! A segment gets its name only when its header is synced, and only when everything in the segments before it is synced
//! too. Hence a header is never torn, and a segment's existence proves that all commits before its first one are
//! durable. Behind the frames of the last segment there may be zeros, written beforehand; a full segment has none.

use uuid::Uuid;

use super::OpenError;
use super::disk::{Failed, Fault, Folder, NamedFile};
use super::frame::{u32_at, u64_at};
use crate::model::{ChainHash, Position};
use crate::store::StoreId;

/// The version of the file format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// The name of the function that chooses a key's partition; a store that was divided by another one is another store.
const PARTITION_HASH: &[u8; 16] = b"fnv1a32\0\0\0\0\0\0\0\0\0";
const MAGIC: &[u8; 8] = b"hapaxlog";

/// Bytes of a header. A later format keeps these bytes and their checksum, and may add more behind them.
pub(super) const HEADER_BYTES: usize = 96;
const CRC_AT: usize = HEADER_BYTES - 4;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    format: u32,
    partition_hash: [u8; 16],
    pub(super) id: StoreId,
    /// Position of its first commit.
    pub(super) first: Position,
    /// The chain up to the commit before.
    pub(super) previous: ChainHash,
}

impl Header {
    pub(super) fn new(id: StoreId, first: Position, previous: ChainHash) -> Header {
        Header { format: FORMAT, partition_hash: *PARTITION_HASH, id, first, previous }
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&self.id.partition.to_le_bytes());
        bytes.extend_from_slice(&self.id.partitions.to_le_bytes());
        bytes.extend_from_slice(self.id.store.as_bytes());
        bytes.extend_from_slice(&self.partition_hash);
        bytes.extend_from_slice(&self.first.get().to_le_bytes());
        bytes.extend_from_slice(&self.previous.0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.try_into().expect("the members add up to HEADER_BYTES")
    }

    /// Reads the header of a segment that is named by `first`.
    pub(super) fn read(file: &NamedFile, first: Position) -> Result<Header, Fault> {
        let bytes = file.read(0, HEADER_BYTES)?;
        let damage = |what| Fault::from(file.damage(0, first.get(), what));
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(damage("no segment of a hapax journal"));
        }
        if crc32fast::hash(&bytes[..CRC_AT]) != u32_at(&bytes, CRC_AT) {
            return Err(damage("the checksum of the segment's header is wrong"));
        }
        let store = Uuid::from_bytes(bytes[20..36].try_into().expect("a UUID has 16 bytes"));
        let id = StoreId { store, partition: u32_at(&bytes, 12), partitions: u32_at(&bytes, 16) };
        let previous = ChainHash(bytes[60..92].try_into().expect("a hash has 32 bytes"));
        if Position::new(u64_at(&bytes, 52)) != Some(first) {
            return Err(damage("the segment's name is not its first position"));
        }
        let partition_hash = bytes[36..52].try_into().expect("the name has 16 bytes");
        Ok(Header { format: u32_at(&bytes, 8), partition_hash, id, first, previous })
    }

    /// Checks that the segment can be read, and that it belongs to the store that is meant.
    pub(super) fn check(&self, file: &NamedFile, id: StoreId) -> Result<(), OpenError> {
        let (found, file) = (self.id, file.name());
        if self.format != FORMAT || &self.partition_hash != PARTITION_HASH {
            Err(OpenError::OtherFormat { file, format: self.format })
        } else if found.store != id.store {
            Err(OpenError::OtherStore { file, found: found.store, expected: id.store })
        } else if found.partition != id.partition {
            Err(OpenError::OtherPartition { file, found: found.partition, expected: id.partition })
        } else if found.partitions != id.partitions {
            Err(OpenError::OtherPartitions { file, found: found.partitions, expected: id.partitions })
        } else {
            Ok(())
        }
    }
}

/// The name of the segment that begins with a position.
pub(super) fn log_name(first: Position) -> String {
    format!("{first:020}.log")
}

/// The name of its offsets.
pub(super) fn offsets_name(first: Position) -> String {
    format!("{first:020}.idx")
}

/// A file that is being written has this behind its name, until it is complete and synced.
pub(super) const UNFINISHED: &str = ".new";

/// The first positions of all segments in a folder, ascending.
pub(super) fn segments(names: &[String]) -> Vec<Position> {
    let first = |name: &String| {
        let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
        digits.parse().ok().and_then(Position::new)
    };
    let mut firsts: Vec<Position> = names.iter().filter_map(first).collect();
    firsts.sort_unstable();
    firsts
}

/// Makes a new, empty segment; safe when this returns.
pub(super) fn create(folder: &Folder, header: &Header) -> Result<NamedFile, Failed> {
    let name = log_name(header.first);
    let file = folder.create(&format!("{name}{UNFINISHED}"))?;
    file.write_at(&header.encode(), 0)?;
    finish(folder, file, &name)
}

/// Makes a file safe that was written under an unfinished name, then gives it its name.
pub(super) fn finish(folder: &Folder, file: NamedFile, name: &str) -> Result<NamedFile, Failed> {
    file.sync_data()?;
    let file = folder.rename(file, name)?;
    folder.sync()?;
    Ok(file)
}

/// The segment that is not there although one is expected.
pub(super) fn missing(folder: &Folder, first: Position, what: &str) -> Fault {
    let file = folder.path().join(log_name(first)).display().to_string();
    Fault::Damage(crate::store::Damage { file, offset: 0, position: first.get(), what: what.into(), source: None })
}
