//! What caused a commit, and what did it change? As far as the log knows.

use crate::aggregate::Service;
use crate::model::{At, CommandId, Commit, Position};
use crate::store::{CommitReader, ReadError};

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
    /// Other commits of the same trace, if its sender handed one on; the first of them, up to [`RELATED_MAX`].
    pub related: Vec<Position>,
}

/// Other commits of a trace that are named.
pub const RELATED_MAX: usize = 20;

/// The commits of the commands with an id: a principal may use it once for each key.
///
/// # Errors
/// [`ReadError`].
pub fn with_id(reader: &impl CommitReader, id: &CommandId) -> Result<Vec<Commit>, ReadError> {
    let is_it =
        |commit: &Result<Commit, ReadError>| commit.as_ref().map_or(true, |commit| commit.command.identity.id == *id);
    reader.read(Position::FIRST).filter(is_it).collect()
}

/// What caused a commit, and what it changed.
///
/// # Errors
/// [`ReadError`].
pub fn cause(reader: &impl CommitReader, service: &Service, commit: Commit) -> Result<Cause, ReadError> {
    let previous = commit.previous.map(|position| reader.get(position)).transpose()?;
    let (group, related) = (group_of(reader, &commit)?, related(reader, &commit)?);
    let states = states(reader, service, &commit);
    Ok(Cause { commit, states, previous, group, related })
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

/// Other commits of the same trace.
fn related(reader: &impl CommitReader, commit: &Commit) -> Result<Vec<Position>, ReadError> {
    let Some(trace) = commit.command.traceparent.as_deref().and_then(trace_id) else { return Ok(Vec::new()) };
    let mut related = Vec::new();
    for other in reader.read(Position::FIRST) {
        let other = other?;
        let same = other.command.traceparent.as_deref().and_then(trace_id) == Some(trace);
        if same && other.position != commit.position {
            related.push(other.position);
            if related.len() == RELATED_MAX {
                break;
            }
        }
    }
    Ok(related)
}

/// The second part of a W3C `traceparent`: `00-<trace id>-<parent id>-<flags>`.
fn trace_id(traceparent: &str) -> Option<&str> {
    traceparent.split('-').nth(1).filter(|id| !id.is_empty())
}
