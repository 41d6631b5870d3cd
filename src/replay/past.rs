//! The state of an aggregate at some point, from the store alone.
//!
//! Without an index nobody says where the aggregate's last commit is, so it is looked for from that point backwards. From
//! there the links lead from change to change: a commit of a rejection has one too.

use bytes::Bytes;

use super::first_with;
use crate::aggregate::{FoldError, Folded, Service};
use crate::model::{AggregateId, At, Commit, Position, Version};
use crate::processor::reply;
use crate::store::{CommitReader, ReadError};

/// A state cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The store has no such position yet.
    #[error("there is no position {position} yet, the last is {}", last.map_or(0, Position::get))]
    NoPosition {
        /// What was asked for.
        position: Position,
        /// The last one; `None`: the store is empty.
        last: Option<Position>,
    },
    /// The aggregate has no such version yet.
    #[error("there is no version {version} yet, the last is {last}")]
    NoVersion {
        /// What was asked for.
        version: Version,
        /// The last one.
        last: Version,
    },
    /// No aggregate of this type is served by this program.
    #[error("no aggregate {:?} here; served: {served}. Ask the program that serves it", aggregate.kind.as_str())]
    NotServed {
        /// The aggregate.
        aggregate: AggregateId,
        /// The types that are.
        served: String,
    },
    /// A link leads to a commit of another aggregate. `verify` says more.
    #[error(
        "the links of {aggregate} lead to position {position}, which is not its own: the store contradicts itself. `verify` says \
         more; take it from a copy, or restore it from the feed"
    )]
    Link {
        /// The aggregate.
        aggregate: AggregateId,
        /// The position.
        position: Position,
    },
    /// Today's code cannot fold what is recorded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The state is not JSON.
    #[error("the state of {0} is not JSON")]
    NotJson(AggregateId),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The state of an aggregate at some point.
///
/// # Errors
/// [`PastError`].
pub fn state(
    reader: &impl CommitReader,
    service: &Service,
    aggregate: &AggregateId,
    at: At,
) -> Result<Folded, PastError> {
    let Some(mut folded) = service.start(&aggregate.kind) else {
        let served = service.types().collect::<Vec<_>>().join(", ");
        return Err(PastError::NotServed { aggregate: aggregate.clone(), served });
    };
    for commit in changes(reader, aggregate, at)? {
        folded.apply(&commit)?;
    }
    Ok(folded)
}

/// The same, as the answer to a question: `{"aggregate","key","version","position","state"}`.
///
/// # Errors
/// [`PastError`].
pub fn answer(
    reader: &impl CommitReader,
    service: &Service,
    aggregate: &AggregateId,
    at: At,
) -> Result<Bytes, PastError> {
    let folded = state(reader, service, aggregate, at)?;
    reply::state(aggregate, &folded).ok_or_else(|| PastError::NotJson(aggregate.clone()))
}

/// The commits that changed an aggregate up to some point, in order.
///
/// # Errors
/// [`PastError`].
pub fn changes(reader: &impl CommitReader, aggregate: &AggregateId, at: At) -> Result<Vec<Commit>, PastError> {
    let last = reader.last();
    let from = match at {
        At::Now | At::Version(_) => last,
        At::Position(position) if last < Some(position) => return Err(PastError::NoPosition { position, last }),
        At::Position(position) => Some(position),
        At::Time(time) => before(first_with(reader, |commit| time < commit.decided_at)?),
    };
    let mut changes = linked(reader, aggregate, last_change(reader, aggregate, from)?)?;
    if let At::Version(version) = at {
        no_later(version, &changes)?;
    }
    changes.retain(|commit| at.includes(commit));
    Ok(changes)
}

/// The commit that led an aggregate to a version, or beyond it: with several events it has none in its middle.
///
/// # Errors
/// [`PastError`].
pub fn change_to(
    reader: &impl CommitReader,
    aggregate: &AggregateId,
    version: Version,
) -> Result<Option<Commit>, PastError> {
    let changes = linked(reader, aggregate, last_change(reader, aggregate, reader.last())?)?;
    no_later(version, &changes)?;
    let is_it = |commit: &Commit| commit.version_before() < version && version <= commit.version;
    Ok(changes.into_iter().find(is_it))
}

fn no_later(version: Version, changes: &[Commit]) -> Result<(), PastError> {
    let last = changes.last().map_or(Version(0), |commit| commit.version);
    if last < version { Err(PastError::NoVersion { version, last }) } else { Ok(()) }
}

/// An aggregate's changes up to one of them, in order.
fn linked(reader: &impl CommitReader, aggregate: &AggregateId, last: Option<Commit>) -> Result<Vec<Commit>, PastError> {
    let (mut next, mut changes) = (last, Vec::new());
    while let Some(commit) = next {
        if commit.command.aggregate != *aggregate || commit.event_count == 0 {
            return Err(PastError::Link { aggregate: aggregate.clone(), position: commit.position });
        }
        next = commit.previous.map(|previous| reader.get(previous)).transpose()?;
        changes.push(commit);
    }
    changes.reverse();
    Ok(changes)
}

/// The last commit at or before a position that changed the aggregate.
fn last_change(
    reader: &impl CommitReader,
    aggregate: &AggregateId,
    from: Option<Position>,
) -> Result<Option<Commit>, ReadError> {
    let mut next = from;
    while let Some(position) = next {
        let commit = reader.get(position)?;
        if commit.command.aggregate == *aggregate {
            let changed = commit.event_count > 0;
            return if changed { Ok(Some(commit)) } else { commit.previous.map(|at| reader.get(at)).transpose() };
        }
        next = before(position);
    }
    Ok(None)
}

fn before(position: Position) -> Option<Position> {
    Position::new(position.get() - 1)
}
