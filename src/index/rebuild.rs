//! Brings the index to where the store is: from the checkpoint on, or from the first commit if there is none.

use super::{Checkpoint, Entry, Index, IndexError, SledIndex};
use crate::model::{Newest, Position};
use crate::store::{CommitReader, ReadError};

/// Entries that are noted at once. They are sorted by key, and sled then works on one page after the other. An entry
/// without a snapshot is below 1 KiB.
const CHUNK_ENTRIES_MAX: usize = 65_536;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Commits noted.
    pub noted: u64,
    /// Commits to note.
    pub total: u64,
}

/// The index is not where the store is.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// The index does not fit the store, or sled failed. Start over and catch up from the first commit, once; if that
    /// fails too, the process ends: [`IndexError::Disagrees`] then means that the store contradicts itself.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be read. The process ends.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// What was durable once is gone: the store has lost commits, or is an old copy. The process ends.
    #[error("the index has a checkpoint at position {checkpoint}, but the store ends at {}", last.map_or(0, Position::get))]
    Ahead {
        /// The checkpoint's position.
        checkpoint: Position,
        /// The store's last position; `None`: it is empty.
        last: Option<Position>,
    },
}

/// Notes every commit behind the checkpoint `from`, up to `upto` (the store's last), and proves that the index lacks
/// nothing. `from` is what the index was opened with. Snapshots are not made. Says which ids the index cannot know now.
///
/// Reading all of the index for the proof takes about a quarter of a second for each million commits.
///
/// # Errors
/// [`CatchUpError`].
pub fn catch_up(
    index: &SledIndex,
    reader: &impl CommitReader,
    from: Option<&Checkpoint>,
    upto: Option<Position>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Newest, CatchUpError> {
    let last = upto.map_or(0, Position::get);
    if let Some(from) = from {
        check(from, reader, upto)?;
    }
    let noted_before = from.map_or(0, |from| from.position.get());
    let total = last - noted_before;
    progress(Progress { noted: 0, total });
    let mut commits = reader.read(Position::after(from.map(|from| from.position)));
    let mut chunk = Vec::new();
    let mut noted = 0;
    while noted < total {
        chunk.clear();
        let room = CHUNK_ENTRIES_MAX.min(usize::try_from(total - noted).unwrap_or(usize::MAX));
        for commit in commits.by_ref().take(room) {
            chunk.push(Entry::of(&commit?));
        }
        if chunk.is_empty() {
            let missing = Position::new(noted_before + noted + 1).expect("at least 1 was added");
            return Err(ReadError::Absent(missing).into());
        }
        index.note(&chunk)?;
        noted += chunk.len() as u64;
        progress(Progress { noted, total });
    }
    Ok(index.prove()?)
}

/// Whether the checkpoint is a commit of this store.
fn check(from: &Checkpoint, reader: &impl CommitReader, upto: Option<Position>) -> Result<(), CatchUpError> {
    if upto.is_none_or(|last| last < from.position) {
        return Err(CatchUpError::Ahead { checkpoint: from.position, last: upto });
    }
    if reader.get(from.position)?.hash != from.hash {
        let text = format!("the checkpoint at {} has another hash than the commit there", from.position);
        return Err(IndexError::Disagrees(text).into());
    }
    Ok(())
}
