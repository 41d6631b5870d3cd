//! What caused a commit, and what did it change? As far as the log knows.

use crate::aggregate::Service;
use crate::model::{At, CommandId, Commit, Position, Timestamp};
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
    /// The first and the last position of the atomic batch that it belongs to.
    pub group: Option<(Position, Position)>,
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
    let group = group_of(reader, &commit)?;
    let states = states(reader, service, &commit);
    Ok(Cause { commit, states, previous, group })
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

/// The atomic batch that a commit belongs to. Its own commit is the first one and says how many follow, so it is at most a
/// thousand commits before.
fn group_of(reader: &impl CommitReader, commit: &Commit) -> Result<Option<(Position, Position)>, ReadError> {
    let last_of = |head: &Commit| {
        Position::new(head.position.get() + u64::from(head.followers)).expect("it is not before the first")
    };
    if commit.command.is_batch() {
        return Ok(Some((commit.position, last_of(commit))));
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
            let last = last_of(&before);
            return Ok((commit.position <= last).then_some((position, last)));
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
