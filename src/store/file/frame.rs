//! How one commit lies in a segment.
//!
//! ```text
//! marker u32 | length u32 | crc32 u32 | synced u64 | chain hash 32 bytes | JSON of the commit, `length` bytes
//! ```
//! Little-endian. The marker is three fixed bytes and one of flags. The checksum covers everything but the three fixed
//! bytes and itself. `synced` is the last position that was known to be durable when the frame was written; 0: none. A
//! frame without JSON records no commit: it only states `synced`, and its chain hash is that of the commit before it.
//!
//! One flag has a meaning: the next commit belongs to this one, and they stand or fall together (an atomic batch). A reader
//! that does not know a flag must not skip it, so it takes the frame as unreadable.

use crate::model::limits::COMMIT_BYTES_MAX;
use crate::model::{ChainHash, Position};

/// Begins every frame. 0xFF occurs in no UTF-8 text, hence in no JSON: whoever sends a command cannot forge a frame
/// inside its body, and a scan finds its way past a damaged length.
pub(super) const MARKER: [u8; 3] = [0xFF, 0xFA, 0xCE];

/// The flag of a frame whose group goes on in the next one.
const GOES_ON: u8 = 1;

/// Bytes before the JSON.
pub(super) const HEAD_BYTES: usize = 52;

const CRC_AT: usize = 8;
const SYNCED_AT: usize = 12;
const HASH_AT: usize = 20;

/// One frame, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The last position known to be durable when it was written.
    pub(super) synced: Option<Position>,
    /// The chain up to and with it.
    pub(super) hash: ChainHash,
    /// Whether the next commit belongs to the same group.
    pub(super) goes_on: bool,
    /// The commit; empty in a frame that only states `synced`.
    pub(super) json: &'a [u8],
}

impl Frame<'_> {
    /// Whether it records no commit.
    pub(super) fn is_statement(&self) -> bool {
        self.json.is_empty()
    }

    /// Its length in bytes.
    pub(super) fn bytes(&self) -> usize {
        HEAD_BYTES + self.json.len()
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the file ends inside the frame")]
    Short,
    #[error("no frame begins here")]
    Marker,
    #[error("the frame's length is impossible")]
    Length,
    #[error("the frame's checksum is wrong")]
    Checksum,
    #[error("the frame has flags of a later format")]
    Flags,
}

/// Appends a frame that records no commit.
pub(super) fn encode_statement(buffer: &mut Vec<u8>, synced: Option<Position>, hash: &ChainHash) {
    encode(buffer, synced, hash, &[], false);
}

/// Appends a frame to a buffer. `goes_on`: the next commit belongs to the same group.
pub(super) fn encode(buffer: &mut Vec<u8>, synced: Option<Position>, hash: &ChainHash, json: &[u8], goes_on: bool) {
    assert!(json.len() <= COMMIT_BYTES_MAX, "a commit of {} bytes passed every limit", json.len());
    let start = buffer.len();
    buffer.reserve(HEAD_BYTES + json.len());
    buffer.extend_from_slice(&MARKER);
    buffer.push(if goes_on { GOES_ON } else { 0 });
    buffer.extend_from_slice(&(json.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&synced.map_or(0, Position::get).to_le_bytes());
    buffer.extend_from_slice(&hash.0);
    buffer.extend_from_slice(json);
    let checksum = checksum(&buffer[start..]);
    buffer[start + CRC_AT..start + SYNCED_AT].copy_from_slice(&checksum.to_le_bytes());
}

/// How many bytes the frame that begins here needs, as far as its head tells.
pub(super) fn bytes_needed(bytes: &[u8]) -> usize {
    match bytes.get(4..8) {
        Some(length) => match u32_at(length, 0) as usize {
            length if length <= COMMIT_BYTES_MAX => HEAD_BYTES + length,
            _ => HEAD_BYTES,
        },
        None => HEAD_BYTES,
    }
}

/// Reads the frame that begins with the first byte. What follows it does not matter.
pub(super) fn decode(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    if !bytes.starts_with(&MARKER[..MARKER.len().min(bytes.len())]) {
        return Err(FrameError::Marker);
    }
    if bytes.len() < HEAD_BYTES {
        return Err(FrameError::Short);
    }
    let length = u32_at(bytes, 4) as usize;
    if length > COMMIT_BYTES_MAX {
        return Err(FrameError::Length);
    }
    let frame = bytes.get(..HEAD_BYTES + length).ok_or(FrameError::Short)?;
    if checksum(frame) != u32_at(frame, CRC_AT) {
        return Err(FrameError::Checksum);
    }
    let flags = frame[3];
    if flags & !GOES_ON != 0 {
        return Err(FrameError::Flags);
    }
    let (head, json) = frame.split_at(HEAD_BYTES);
    let hash = head[HASH_AT..].try_into().expect("the head ends with the 32 bytes of the hash");
    Ok(Frame {
        synced: Position::new(u64_at(head, SYNCED_AT)),
        hash: ChainHash(hash),
        goes_on: flags & GOES_ON != 0,
        json,
    })
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[MARKER.len()..CRC_AT]);
    hasher.update(&frame[SYNCED_AT..]);
    hasher.finalize()
}

/// The little-endian number at an offset that the caller has checked to be there.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes were taken"))
}

/// As [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes were taken"))
}
