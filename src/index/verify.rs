//! Does the index agree with the store (I12)? Asks for everything, one by one, as `hapax verify` does.

use super::{Checkpoint, Index, IndexError, Progress, SledIndex};
use crate::model::{Commit, Position};
use crate::store::{CommitReader, ReadError};

/// The first thing that is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The index is wrong ([`IndexError::Disagrees`]) or cannot be read. It may be thrown away.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] ReadError),
}

/// Compares an index with the store that it belongs to, up to its checkpoint. Behind it, the index may know commits or
/// not, since sled writes when it likes; what it knows must be right there too.
///
/// # Errors
/// [`VerifyError`] with the first disagreement.
pub fn verify(
    index: &SledIndex,
    reader: &impl CommitReader,
    checkpoint: &Checkpoint,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), VerifyError> {
    let total = reader.last().map_or(0, Position::get);
    if total < checkpoint.position.get() || reader.get(checkpoint.position)?.hash != checkpoint.hash {
        return Err(disagrees(format!("the checkpoint at {} is no commit of the store", checkpoint.position)));
    }
    let mut known = 0;
    for commit in reader.read(Position::FIRST) {
        let commit = commit?;
        if is_known(index, &commit, commit.position <= checkpoint.position)? {
            known += 1;
        }
        progress(Progress { noted: commit.position.get(), total });
    }
    let found = index.command_count()?;
    if found != known {
        return Err(disagrees(format!("it knows {found} commands, of which {known} are in the store")));
    }
    index.heads().try_for_each(|head| {
        let (aggregate, head) = head?;
        let commit = reader.get(head.position)?;
        let same = commit.command.aggregate == aggregate && commit.event_count > 0 && commit.version == head.version;
        if same {
            Ok(())
        } else {
            Err(disagrees(format!("{aggregate} does not stand where position {} says", head.position)))
        }
    })
}

/// Whether the index knows a commit, at its position; and that its aggregate's head is not older, if it `must` be known.
fn is_known(index: &SledIndex, commit: &Commit, must: bool) -> Result<bool, VerifyError> {
    let position = commit.position;
    let found = index.position_of(&commit.command.identity)?;
    match found {
        Some(found) if found == position => {}
        None if !must => return Ok(false),
        Some(found) => return Err(disagrees(format!("the command of position {position} is noted at {found}"))),
        None => return Err(disagrees(format!("the command of position {position} is not known"))),
    }
    if must && commit.event_count > 0 {
        let head = index.head(&commit.command.aggregate)?;
        if head.is_none_or(|head| head.position < position) {
            let aggregate = &commit.command.aggregate;
            return Err(disagrees(format!("{aggregate} was changed at position {position}, its head is older")));
        }
    }
    Ok(true)
}

fn disagrees(text: String) -> VerifyError {
    IndexError::Disagrees(text).into()
}
