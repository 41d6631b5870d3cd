//! Which journals does a subcommand read? Those of a data directory, and only if they are what it says.

use std::ops::Range;

use super::exit::Failure;
use crate::index::checkpoint::Checkpoint;
use crate::model::AggregateId;
use crate::model::partition::partition_of;
use crate::serve::DataDir;
use crate::store::ReadError;
use crate::store::file::{FileReader, FileStore, OpenError};

/// The partitions in which an aggregate may be: one, or all of them if none is named.
pub(super) fn partitions_of(data: &DataDir, aggregate: Option<&AggregateId>) -> Range<u32> {
    match aggregate {
        Some(aggregate) => {
            let owner = partition_of(&aggregate.key, data.partitions());
            owner..owner + 1
        }
        None => 0..data.partitions(),
    }
}

/// The journal of a partition, to read; `None`: its processor has not come to making one.
///
/// One that is missing, an older copy or another's is damage here as it is for a processor: what was shown or exported of it
/// would be taken for all that has happened, and an import of that would decide old ids again.
pub(super) fn open(data: &DataDir, partition: u32) -> Result<Option<FileReader>, Failure> {
    let (dir, id) = (data.journal_dir(partition), data.store_id(partition));
    // Before the journal is opened: a processor goes on with both meanwhile.
    let proven = Checkpoint::proven(&data.partition_dir(partition), id);
    FileStore::must_belong(&dir, id)?;
    match FileReader::open_read_only(&dir) {
        Ok(reader) => match proven.and_then(|position| reader.lacks(position)) {
            None => Ok(Some(reader)),
            Some(damage) => Err(ReadError::from(damage).into()),
        },
        Err(OpenError::Absent { .. }) if data.has_begun() || proven.is_some() => {
            FileStore::must_exist(&dir)?;
            open(data, partition) // It has been made since.
        }
        Err(OpenError::Absent { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
