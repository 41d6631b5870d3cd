//! What caused a commit, and what did it change? As far as the log knows.

use crate::aggregate::Service;
use crate::model::{At, CommandId, Commit, Decision, Position, Timestamp};
use crate::store::{CommitReader, ReadError};

use super::first_with;
use super::past::{self, PastError};

/// What the log knows about a commit.
#[derive(Debug)]
pub struct Cause {
    /// The commit.
    pub commit: Commit,
    /// The state of its aggregate before and behind it, as JSON; why not, if it cannot be told.
    pub states: Result<(Vec<u8>, Vec<u8>), PastError>,
    /// The commit that changed its aggregate last before it.
    pub previous: Option<Commit>,
    /// The atomic batch that it belongs to.
    pub batch: Option<Batch>,
}

/// An atomic batch.
#[derive(Debug)]
pub struct Batch {
    /// Its own commit; those of its commands follow.
    pub head: Commit,
    /// The position of its last one.
    pub last: Position,
    /// The commit of the command for which all of them were rejected, if it was for one.
    pub rejected_for: Option<Commit>,
}

/// The commits of the commands with an id: a principal may use it once for each key.
///
/// # Errors
/// [`ReadError`].
pub fn with_id(reader: &impl CommitReader, id: &CommandId) -> Result<Vec<Commit>, ReadError> {
    let is_it =
        |commit: &Result<Commit, ReadError>| commit.as_ref().map_or(true, |commit| commit.command.identity.id == *id);
    reader.read(Position::FIRST).filter(is_it).collect()
}

/// The last commit that was decided up to a time; `None`: there was none yet.
///
/// # Errors
/// [`ReadError`].
pub fn at_time(reader: &impl CommitReader, time: Timestamp) -> Result<Option<Commit>, ReadError> {
    let behind = first_with(reader, |commit| time < commit.decided_at)?;
    Position::new(behind.get() - 1).map(|position| reader.get(position)).transpose()
}

/// What caused a commit, and what it changed.
///
/// # Errors
/// [`ReadError`].
pub fn cause(reader: &impl CommitReader, service: &Service, commit: Commit) -> Result<Cause, ReadError> {
    let previous = commit.previous.map(|position| reader.get(position)).transpose()?;
    let batch = match head_of(reader, &commit)? {
        Some(head) => {
            let last = last_of(&head);
            Some(Batch { rejected_for: rejected_for(reader, &head, last)?, head, last })
        }
        None => None,
    };
    let states = states(reader, service, &commit);
    Ok(Cause { commit, states, previous, batch })
}

fn states(reader: &impl CommitReader, service: &Service, commit: &Commit) -> Result<(Vec<u8>, Vec<u8>), PastError> {
    let aggregate = &commit.command.aggregate;
    let json = |at| {
        let folded = past::state(reader, service, aggregate, at)?;
        folded.state.to_json().map_err(|_| PastError::NotJson(aggregate.clone()))
    };
    let before = match Position::new(commit.position.get() - 1) {
        Some(position) => json(At::Position(position))?,
        None => json(At::Version(crate::model::Version(0)))?,
    };
    Ok((before, json(At::Position(commit.position))?))
}

fn last_of(head: &Commit) -> Position {
    Position::new(head.position.get() + u64::from(head.followers)).expect("it is not before the first")
}

/// The one with a reason of its own: all others were rejected because it was.
fn rejected_for(reader: &impl CommitReader, head: &Commit, last: Position) -> Result<Option<Commit>, ReadError> {
    for position in (head.position.get() + 1..=last.get()).filter_map(Position::new) {
        let commit = reader.get(position)?;
        match commit.outcome().map(|outcome| outcome.decision) {
            Ok(Decision::Accepted(_)) => return Ok(None), // Then all of them were.
            Ok(Decision::Rejected(rejection)) if rejection.is_batch_aborted() => {}
            _ => return Ok(Some(commit)),
        }
    }
    Ok(None)
}

/// The first commit of the atomic batch that a commit belongs to, which says how many follow: so it is at most a thousand
/// commits before.
fn head_of(reader: &impl CommitReader, commit: &Commit) -> Result<Option<Commit>, ReadError> {
    if commit.command.is_batch() {
        return Ok(Some(commit.clone()));
    }
    let nearest = commit.position.get().saturating_sub(crate::model::limits::BATCH_ITEMS_MAX as u64);
    for position in (nearest..commit.position.get()).rev().filter_map(Position::new) {
        let before = reader.get(position)?;
        // Those of a batch were decided at one time, for one principal.
        if before.decided_at != commit.decided_at
            || before.command.identity.principal != commit.command.identity.principal
        {
            return Ok(None);
        }
        if before.command.is_batch() {
            return Ok((commit.position <= last_of(&before)).then_some(before));
        }
    }
    Ok(None)
}

/// The trace that a commit belongs to, if its sender handed one on: the second part of a W3C `traceparent`,
/// `00-<trace id>-<parent id>-<flags>`.
pub fn trace(commit: &Commit) -> Option<&str> {
    commit.command.traceparent.as_deref()?.split('-').nth(1).filter(|id| !id.is_empty())
}

/// The commits of a trace, in order. A trace keeps to no partition: each has to be asked.
pub fn of_trace<'a>(
    reader: &'a impl CommitReader,
    id: &'a str,
) -> impl Iterator<Item = Result<Commit, ReadError>> + 'a {
    let is_of_it =
        move |commit: &Result<Commit, ReadError>| commit.as_ref().map_or(true, |commit| trace(commit) == Some(id));
    reader.read(Position::FIRST).filter(is_of_it)
}
