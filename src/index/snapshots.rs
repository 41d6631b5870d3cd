//! The last snapshot of an aggregate: the tree `snapshots`, (type, key) -> what it is, and the state itself if it is
//! small; a larger one lies in pieces in the tree `snapshot_pieces`.
//!
//! A snapshot is a cache: one that cannot be put together whole is none, and the aggregate is folded from its first
//! event instead.

use bytes::Bytes;

use super::heads::aggregate_key;
use super::sled_index::guarded;
use super::{Entry, IndexError, Snapshot};
use crate::model::{AggregateId, Version};

const TREE: &str = "snapshots";
const PIECES: &str = "snapshot_pieces";
const MALFORMED: IndexError = IndexError::Entry { tree: TREE };

/// Bytes of state in one sled value. sled puts up to 17 values into a page, and writes a page above 128 KiB to a file of
/// its own (a "blob"), whose loss it passes over in silence: 20 such values must fit.
const PIECE_BYTES_MAX: usize = 6 * 1024;

/// version, fold, bytes of the state, crc32 of the state.
const LABEL_BYTES: usize = 8 + 4 + 8 + 4;

pub(super) struct Snapshots {
    snapshots: sled::Tree,
    pieces: sled::Tree,
}

/// What a snapshot is, without its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label {
    version: Version,
    fold: u32,
    bytes: u64,
    crc32: u32,
}

impl Snapshots {
    pub(super) fn open(db: &sled::Db) -> Result<Snapshots, IndexError> {
        guarded(|| Ok(Snapshots { snapshots: db.open_tree(TREE)?, pieces: db.open_tree(PIECES)? }))
    }

    pub(super) fn get(&self, aggregate: &AggregateId) -> Result<Option<Snapshot>, IndexError> {
        let key = aggregate_key(aggregate);
        let Some(value) = guarded(|| Ok(self.snapshots.get(&key)?))? else { return Ok(None) };
        let (label, inline) = Label::decode(&value)?;
        let state =
            if label.is_inline() { Bytes::copy_from_slice(inline) } else { guarded(|| self.collect(&key, label))? };
        if state.len() as u64 != label.bytes || crc32fast::hash(&state) != label.crc32 {
            tracing::warn!(%aggregate, version = %label.version, "the index holds only parts of a snapshot; it is not used");
            return Ok(None);
        }
        Ok(Some(Snapshot { version: label.version, fold: label.fold, state }))
    }

    pub(super) fn note(&self, entries: &[Entry]) -> Result<(), IndexError> {
        entries
            .iter()
            .filter_map(|entry| entry.snapshot.as_ref().map(|snapshot| (&entry.aggregate, snapshot)))
            .try_for_each(|(aggregate, snapshot)| self.put(&aggregate_key(aggregate), snapshot))
    }

    /// The pieces of another version may be read until the label names the new ones, and one label never names pieces
    /// that another has written: a crash or a reader in between sees the old snapshot whole, or the new one.
    fn put(&self, key: &[u8], snapshot: &Snapshot) -> Result<(), IndexError> {
        let old = guarded(|| Ok(self.snapshots.get(key)?))?;
        let old = old.map(|value| Label::decode(&value).map(|(label, _)| label)).transpose()?;
        if !snapshot.replaces(old.map(|label| label.version)) {
            return Ok(());
        }
        let label = Label::of(snapshot);
        guarded(|| {
            let mut value = label.encode().to_vec();
            if label.is_inline() {
                value.extend_from_slice(&snapshot.state);
            } else {
                for (number, piece) in (0_u32..).zip(snapshot.state.chunks(PIECE_BYTES_MAX)) {
                    self.pieces.insert(piece_key(key, label.version, number), piece)?;
                }
            }
            self.snapshots.insert(key, value)?;
            self.remove_other_pieces(key, label)
        })
    }

    /// Also what an earlier process left when it was killed before it named its pieces.
    fn remove_other_pieces(&self, key: &[u8], label: Label) -> Result<(), IndexError> {
        let current = pieces_prefix(key, label.version);
        for piece in self.pieces.scan_prefix([key, &[0]].concat()).keys() {
            let piece = piece?;
            if label.is_inline() || !piece.starts_with(&current) {
                self.pieces.remove(piece)?;
            }
        }
        Ok(())
    }

    fn collect(&self, key: &[u8], label: Label) -> Result<Bytes, IndexError> {
        let mut state = Vec::new(); // The length in the label is not trusted with an allocation.
        let pieces = self.pieces.scan_prefix(pieces_prefix(key, label.version)).values();
        for piece in pieces.take(usize::try_from(label.bytes).unwrap_or(usize::MAX).div_ceil(PIECE_BYTES_MAX)) {
            state.extend_from_slice(&piece?);
        }
        Ok(state.into())
    }
}

impl Snapshot {
    /// Whether this snapshot goes in the place of one at `old`. The label of a version is written once: its pieces are
    /// never mixed with others of the same version.
    pub(super) fn replaces(&self, old: Option<Version>) -> bool {
        old.is_none_or(|old| old < self.version)
    }
}

impl Label {
    fn of(snapshot: &Snapshot) -> Label {
        let Snapshot { version, fold, state } = snapshot;
        Label { version: *version, fold: *fold, bytes: state.len() as u64, crc32: crc32fast::hash(state) }
    }

    fn is_inline(&self) -> bool {
        self.bytes <= PIECE_BYTES_MAX as u64
    }

    fn encode(&self) -> [u8; LABEL_BYTES] {
        let mut bytes = [0; LABEL_BYTES];
        bytes[..8].copy_from_slice(&self.version.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.fold.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.bytes.to_be_bytes());
        bytes[20..].copy_from_slice(&self.crc32.to_be_bytes());
        bytes
    }

    fn decode(value: &[u8]) -> Result<(Label, &[u8]), IndexError> {
        let (version, rest) = value.split_first_chunk().ok_or(MALFORMED)?;
        let (fold, rest) = rest.split_first_chunk().ok_or(MALFORMED)?;
        let (bytes, rest) = rest.split_first_chunk().ok_or(MALFORMED)?;
        let (crc32, rest) = rest.split_first_chunk().ok_or(MALFORMED)?;
        let label = Label {
            version: Version(u64::from_be_bytes(*version)),
            fold: u32::from_be_bytes(*fold),
            bytes: u64::from_be_bytes(*bytes),
            crc32: u32::from_be_bytes(*crc32),
        };
        let inline_bytes = if label.is_inline() { label.bytes } else { 0 };
        if rest.len() as u64 == inline_bytes { Ok((label, rest)) } else { Err(MALFORMED) }
    }
}

/// type, 0, key, 0, version: in the pieces' order.
fn pieces_prefix(key: &[u8], version: Version) -> Vec<u8> {
    [key, &[0], &version.0.to_be_bytes()[..]].concat()
}

fn piece_key(key: &[u8], version: Version, number: u32) -> Vec<u8> {
    [&pieces_prefix(key, version)[..], &number.to_be_bytes()].concat()
}
