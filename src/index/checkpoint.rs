//! Up to which commit the index is known to be on disk: `checkpoint.json`, beside the sled folder.
//!
//! sled's `flush` does not sync. So: flush, then fsync of everything in sled's folder, and only then the checkpoint, put
//! in place by a rename.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::IndexError;
use crate::model::{ChainHash, Position};
use crate::store::StoreId;
use crate::store::file::disk::put_file;

/// The form of the trees and of the checkpoint. An index of another form is built anew.
pub const INDEX_FORMAT: u32 = 3;

const FILE: &str = "checkpoint.json";

/// Everything up to `position` is in the index, on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The store and the partition that the index belongs to.
    #[serde(flatten)]
    pub id: StoreId,
    /// [`INDEX_FORMAT`], when it was written. In the file it has a name of its own: `hapax.json` has a format too, and one
    /// file in the place of the other is damage, not a newer version.
    #[serde(rename = "index_format")]
    pub format: u32,
    /// The last commit that is in it.
    pub position: Position,
    /// The chain hash of that commit.
    #[serde(with = "hash_text")]
    pub hash: ChainHash,
    /// How many events all commits up to it have.
    pub events: u64,
}

/// The checkpoint as it lies in its file.
#[derive(Serialize, Deserialize)]
struct CheckpointForm {
    #[serde(flatten)]
    checkpoint: Checkpoint,
    /// Of the JSON of the other members. Without it a bit that falls in `position` would be taken for a store that has
    /// lost commits.
    crc32: u32,
}

impl Checkpoint {
    /// Reads the checkpoint of an index; `None`: there is none.
    pub(super) fn read(dir: &Path, id: StoreId) -> Result<Option<Checkpoint>, IndexError> {
        let path = dir.join(FILE);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(IndexError::io(&path)(error)),
        };
        let form: CheckpointForm = serde_json::from_slice(&json)
            .map_err(|error| IndexError::Checkpoint(format!("the checkpoint cannot be read: {error}")))?;
        let CheckpointForm { checkpoint, crc32 } = form;
        if checkpoint.crc32() != crc32 {
            return Err(IndexError::Checkpoint("the checkpoint is damaged".into()));
        }
        if checkpoint.format != INDEX_FORMAT {
            return Err(IndexError::OtherFormat(checkpoint.format));
        }
        if checkpoint.id != id {
            let StoreId { store, partition, partitions } = checkpoint.id;
            return Err(IndexError::Checkpoint(format!(
                "the checkpoint is of store {store}, partition {partition} of {partitions}"
            )));
        }
        Ok(Some(checkpoint))
    }

    /// The position that the checkpoint in a partition's folder knows to be durable in the store, whatever has become of the
    /// index; `None`: there is no checkpoint that can be believed.
    pub fn proven(dir: &Path, id: StoreId) -> Option<Position> {
        Checkpoint::read(dir, id).ok().flatten().map(|checkpoint| checkpoint.position)
    }

    /// Puts the checkpoint in place. Whatever it speaks of is on disk already.
    pub(super) fn write(self, dir: &Path) -> Result<(), IndexError> {
        let crc32 = self.crc32();
        let mut json = serde_json::to_vec(&CheckpointForm { checkpoint: self, crc32 })
            .expect("every member of a checkpoint is JSON");
        json.push(b'\n');
        put_file(dir, FILE, &json).map_err(IndexError::io(&dir.join(FILE)))
    }

    /// Takes the checkpoint away, so that the next start builds the index anew.
    pub(super) fn remove(dir: &Path) -> Result<(), IndexError> {
        let path = dir.join(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(IndexError::io(&path)(error)),
            _ => sync_directory(dir),
        }
    }

    fn crc32(&self) -> u32 {
        crc32fast::hash(&serde_json::to_vec(self).expect("every member of a checkpoint is JSON"))
    }
}

/// Syncs every file in a folder and below it, then the folders.
pub(super) fn sync_all_below(dir: &Path) -> Result<(), IndexError> {
    for entry in fs::read_dir(dir).map_err(IndexError::io(dir))? {
        let path = entry.map_err(IndexError::io(dir))?.path();
        if path.is_dir() {
            sync_all_below(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_data()).map_err(IndexError::io(&path))?;
        }
    }
    sync_directory(dir)
}

/// Makes names in a folder durable.
pub(super) fn sync_directory(dir: &Path) -> Result<(), IndexError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(IndexError::io(dir))
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
