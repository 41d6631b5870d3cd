//! Where a projection keeps its rows, and with them how far they have come.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::model::Changes;
use crate::model::{ChainHash, Position};

/// The form of what is kept: the number that [`SledHome`](super::SledHome) writes beside a mark.
pub const PROJECTION_FORMAT: u32 = 1;

/// How far a projection has come, and in what: kept beside the rows and written with them, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The projection's version that folded the rows.
    pub version: u32,
    /// The store from whose feed.
    pub store: Uuid,
    /// The last commit that is in them, of each partition; `None`: none yet.
    pub partitions: Vec<Option<Place>>,
    /// The rows added up, so that a row that is lost, old or changed is seen when they are opened.
    pub rows: RowSum,
}

/// A commit of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its position.
    pub position: Position,
    /// The chain up to and with it: only the feed of the same store has this.
    #[serde(with = "hash_text")]
    pub hash: ChainHash,
}

/// Rows, added up in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSum {
    /// How many there are.
    pub count: u64,
    /// The sum of their hashes.
    hashes: u64,
}

impl RowSum {
    pub(super) fn add(&mut self, place: &[u8], row: &[u8]) {
        self.count += 1;
        self.hashes = self.hashes.wrapping_add(row_hash(place, row));
    }

    pub(super) fn take_away(&mut self, place: &[u8], row: &[u8]) {
        self.count -= 1;
        self.hashes = self.hashes.wrapping_sub(row_hash(place, row));
    }
}

fn row_hash(place: &[u8], row: &[u8]) -> u64 {
    let length = place.len() as u64;
    let hash = Sha256::new().chain_update(length.to_le_bytes()).chain_update(place).chain_update(row).finalize();
    u64::from_le_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

/// Keeps rows and mark. What it gives back is what was written last, all of it.
pub trait Home: Send {
    /// How far the rows have come; `None`: there is nothing yet.
    ///
    /// # Errors
    /// [`HomeError`].
    fn mark(&self) -> Result<Option<Mark>, HomeError>;

    /// The row at a place.
    ///
    /// # Errors
    /// [`HomeError`], which is never "there is none".
    fn row(&self, place: &[u8]) -> Result<Option<Vec<u8>>, HomeError>;

    /// Writes rows and mark, all or nothing.
    ///
    /// # Errors
    /// [`HomeError`]: the fold has ended, and may be opened again.
    fn write(&mut self, changes: Changes, mark: &Mark) -> Result<(), HomeError>;

    /// Hands what was written to the operating system, so that a killed process loses none of it. What is lost all the
    /// same is folded again.
    ///
    /// # Errors
    /// [`HomeError`].
    fn flush(&mut self) -> Result<(), HomeError>;

    /// Removes everything.
    ///
    /// # Errors
    /// [`HomeError`].
    fn clear(&mut self) -> Result<(), HomeError>;
}

/// Rows cannot be kept, or read back.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// sled said no.
    #[error("the projection's rows cannot be kept")]
    Sled(#[from] sled::Error),
    /// sled panicked; it does that on some kinds of damage.
    #[error("the projection's rows cannot be kept: sled panicked: {0}")]
    Panicked(String),
    /// A file could not be read or written.
    #[error("{path}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process keeps its rows there. Nothing was touched.
    #[error("another process keeps this projection there ({path}): stop it, or name another folder")]
    InUse {
        /// The lock file.
        path: String,
    },
    /// A later version keeps its rows there. Nothing was touched.
    #[error(
        "{path} has format {format}; this version reads format {PROJECTION_FORMAT}: run the version that wrote it, or remove the \
         folder to fold the projection again from the first commit"
    )]
    LaterFormat {
        /// The folder.
        path: String,
        /// Its format.
        format: u32,
    },
    /// The rows or the mark are not what was written.
    #[error("{0}")]
    Doubtful(String),
}

/// Keeps everything in memory: each start folds from the first commit.
#[derive(Debug, Default)]
pub struct MemoryHome {
    rows: HashMap<Vec<u8>, Vec<u8>>,
    mark: Option<Mark>,
}

impl Home for MemoryHome {
    fn mark(&self) -> Result<Option<Mark>, HomeError> {
        Ok(self.mark.clone())
    }

    fn row(&self, place: &[u8]) -> Result<Option<Vec<u8>>, HomeError> {
        Ok(self.rows.get(place).cloned())
    }

    fn write(&mut self, changes: Changes, mark: &Mark) -> Result<(), HomeError> {
        for (place, change) in changes {
            match change {
                Some(row) => self.rows.insert(place, row),
                None => self.rows.remove(&place),
            };
        }
        self.mark = Some(mark.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), HomeError> {
        Ok(())
    }

    fn clear(&mut self) -> Result<(), HomeError> {
        *self = MemoryHome::default();
        Ok(())
    }
}

mod hash_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::ChainHash;

    pub(super) fn serialize<S: Serializer>(hash: &ChainHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChainHash, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
