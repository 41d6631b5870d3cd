//! Where the commits of a segment begin: in memory for the one that is being written, in a file beside each sealed one.
//! The file is a cache. If it is missing or wrong, it is made again by reading the segment.
//!
//! ```text
//! magic 8 | first position u64 | count u64 | bytes of the segment u64 | chain hash of its last commit 32
//! | crc32 of the offsets u32 | crc32 of all that u32 | offsets, u64 each
//! ```

use std::sync::Arc;

use super::disk::{Failed, Fault, Folder, NamedFile};
use super::frame::{u32_at, u64_at};
use super::scan::{self, Sealed};
use super::segment::{self, UNFINISHED};
use crate::model::{ChainHash, Position};

const MAGIC: &[u8; 8] = b"hapaxidx";
const HEAD_BYTES: usize = 72;
const OFFSETS_CRC_AT: usize = 64;
const HEAD_CRC_AT: usize = 68;

/// What the head of an offsets file says about its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many commits the segment has.
    pub(super) count: u64,
    /// The chain up to its last commit.
    pub(super) hash: ChainHash,
}

/// The offsets of a sealed segment.
pub(super) enum Offsets {
    Memory(Vec<u64>),
    File { file: NamedFile, count: u64 },
}

impl Offsets {
    /// Where a commit's frame begins, and where the next one does (`None`: it is the segment's last).
    pub(super) fn of(&self, index: u64) -> Result<Option<(u64, Option<u64>)>, Failed> {
        match self {
            Offsets::Memory(offsets) => {
                let at = |index: u64| usize::try_from(index).ok().and_then(|index| offsets.get(index)).copied();
                Ok(at(index).map(|offset| (offset, at(index + 1))))
            }
            Offsets::File { count, .. } if *count <= index => Ok(None),
            Offsets::File { file, count } => {
                let entries = (count - index).min(2) as usize;
                let bytes = file.read(HEAD_BYTES as u64 + 8 * index, 8 * entries)?;
                // The file was whole when it was opened. If it has been cut since, the commit's place is not known.
                let at = |entry: usize| (8 * (entry + 1) <= bytes.len()).then(|| u64_at(&bytes, 8 * entry));
                Ok(at(0).map(|offset| (offset, at(1))))
            }
        }
    }
}

/// Writes the offsets of a segment that gets no more commits.
pub(super) fn write(folder: &Folder, first: Position, log_bytes: u64, sealed: &Sealed) -> Result<(), Failed> {
    let offsets: Vec<u8> = sealed.offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + offsets.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&first.get().to_le_bytes());
    bytes.extend_from_slice(&(sealed.offsets.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&log_bytes.to_le_bytes());
    bytes.extend_from_slice(&sealed.hash.0);
    bytes.extend_from_slice(&crc32fast::hash(&offsets).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(&offsets);
    let name = segment::offsets_name(first);
    let file = folder.create(&format!("{name}{UNFINISHED}"))?;
    file.write_at(&bytes, 0)?;
    segment::finish(folder, file, &name)?;
    Ok(())
}

/// Reads the head of a segment's offsets; `None`: there are none that can be used.
pub(super) fn summary(folder: &Folder, first: Position, log: &NamedFile) -> Result<Option<Summary>, Failed> {
    Ok(open(folder, first, log)?.map(|(_, summary, _)| summary))
}

/// Opens the offsets of a sealed segment and checks all of them; reads the segment if they cannot be used.
pub(super) fn load(
    folder: &Folder,
    first: Position,
    previous: ChainHash,
    log: &Arc<NamedFile>,
) -> Result<Offsets, Fault> {
    if let Some((file, Summary { count, .. }, checksum)) = open(folder, first, log)? {
        let bytes = usize::try_from(8 * count).expect("the file has this length");
        if crc32fast::hash(&file.read(HEAD_BYTES as u64, bytes)?) == checksum {
            return Ok(Offsets::File { file, count });
        }
    }
    scan::sealed(log.clone(), first, previous).map(|sealed| Offsets::Memory(sealed.offsets))
}

/// Opens an offsets file whose head is right and says what the segment and the file themselves say.
fn open(folder: &Folder, first: Position, log: &NamedFile) -> Result<Option<(NamedFile, Summary, u32)>, Failed> {
    let file = match folder.open(&segment::offsets_name(first)) {
        Err(failed) if failed.is_not_found() => return Ok(None),
        opened => opened?,
    };
    let head = file.read(0, HEAD_BYTES)?;
    if head.len() < HEAD_BYTES
        || !head.starts_with(MAGIC)
        || crc32fast::hash(&head[..HEAD_CRC_AT]) != u32_at(&head, HEAD_CRC_AT)
        || u64_at(&head, 8) != first.get()
        || u64_at(&head, 24) != log.len()?
        || (HEAD_BYTES as u64).saturating_add(u64_at(&head, 16).saturating_mul(8)) != file.len()?
    {
        return Ok(None);
    }
    let hash = ChainHash(head[32..64].try_into().expect("a hash has 32 bytes"));
    Ok(Some((file, Summary { count: u64_at(&head, 16), hash }, u32_at(&head, OFFSETS_CRC_AT))))
}
