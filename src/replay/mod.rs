//! Reading back what happened, from a store alone: nothing here needs a broker or a running processor.
//!
//! * [`Selection`], [`commits`]: those of a range, of an aggregate, of a principal …
//! * [`timeline`]: a commit as a line, for people or for programs
//! * [`verify`]: does the store contradict itself?
//! * [`states`]: what has become of every aggregate
//! * [`redecide`]: is every command decided today as it was then?
//! * [`past`]: the state of an aggregate at some point, and what has changed it
//! * [`cause`]: what caused a commit, and what it changed
//! * [`export`], [`mask`]: a store as lines of JSON, with pseudonyms if it is to leave the house
//! * [`history`]: an exported store as a text that a test compares

use crate::model::{AggregateId, AggregateType, At, CommandId, Commit, Decision, Position, Principal};
use crate::store::{CommitReader, ReadError};

pub mod timeline;
pub mod verify;
pub mod states;
pub mod redecide;
pub mod past;
pub mod cause;
pub mod export;
pub mod mask;
pub mod history;

/// Which commits are wanted; by default all. Every member narrows it.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only those of this aggregate.
    pub aggregate: Option<AggregateId>,
    /// Only those of aggregates of this type.
    pub kind: Option<AggregateType>,
    /// Only those with an event of this type.
    pub event: Option<String>,
    /// Only those of this principal's commands.
    pub principal: Option<Principal>,
    /// Only that of the command with this id.
    pub id: Option<CommandId>,
    /// The first point (included).
    pub from: Option<At>,
    /// The last point (included).
    pub upto: Option<At>,
}

impl Selection {
    /// Whether a commit is wanted. One whose outcome cannot be read has no event of any type.
    pub fn wants(&self, commit: &Commit) -> bool {
        let command = &commit.command;
        self.from.is_none_or(|from| from.begins_with(commit))
            && self.upto.is_none_or(|upto| upto.includes(commit))
            && self.aggregate.as_ref().is_none_or(|aggregate| *aggregate == command.aggregate)
            && self.kind.as_ref().is_none_or(|kind| *kind == command.aggregate.kind)
            && self.principal.as_ref().is_none_or(|principal| *principal == command.identity.principal)
            && self.id.as_ref().is_none_or(|id| *id == command.identity.id)
            && self.event.as_ref().is_none_or(|kind| has_event(commit, kind))
    }

    /// Whether no commit behind this one is wanted: positions and times only grow, versions are each aggregate's own.
    pub fn ends_before(&self, commit: &Commit) -> bool {
        matches!(self.upto, Some(At::Position(_) | At::Time(_))) && !self.upto.is_none_or(|upto| upto.includes(commit))
    }

    /// Where to begin to read.
    ///
    /// # Errors
    /// [`ReadError`]: a time is looked up in the store.
    pub fn start(&self, reader: &impl CommitReader) -> Result<Position, ReadError> {
        match self.from {
            Some(At::Position(position)) => Ok(position),
            Some(At::Now) => Ok(Position::after(reader.last())),
            Some(from @ At::Time(_)) => first_with(reader, |commit| from.begins_with(commit)),
            Some(At::Version(_)) | None => Ok(Position::FIRST),
        }
    }
}

fn has_event(commit: &Commit, kind: &str) -> bool {
    if commit.event_count == 0 {
        return false;
    }
    match commit.outcome().map(|outcome| outcome.decision) {
        Ok(Decision::Accepted(events)) => events.iter().any(|event| event.kind == kind),
        _ => false,
    }
}

/// The first commit that is so, if all behind it are so too; the position behind the last one if none is.
fn first_with(reader: &impl CommitReader, is_so: impl Fn(&Commit) -> bool) -> Result<Position, ReadError> {
    let (mut from, mut behind) = (Position::FIRST, Position::after(reader.last()));
    while from < behind {
        let middle = Position::new(from.get().midpoint(behind.get())).expect("it is not before the first");
        if is_so(&reader.get(middle)?) {
            behind = middle;
        } else {
            from = middle.next();
        }
    }
    Ok(from)
}

/// The commits of a selection, in order. Ends after the first error. `seen` is told of every commit that is read, wanted or
/// not: a long scan shows how far it is.
pub fn commits<'a>(
    reader: &'a impl CommitReader,
    selection: &'a Selection,
    mut seen: impl FnMut(Position) + 'a,
) -> impl Iterator<Item = Result<Commit, ReadError>> + 'a {
    let (start, failed) = match selection.start(reader) {
        Ok(start) => (start, None),
        Err(error) => (Position::after(reader.last()), Some(Err(error))),
    };
    let read = reader.read(start).inspect(move |commit| {
        if let Ok(commit) = commit {
            seen(commit.position);
        }
    });
    let in_range = read.take_while(|commit| !commit.as_ref().is_ok_and(|commit| selection.ends_before(commit)));
    let wanted = in_range.filter(|commit| commit.as_ref().map_or(true, |commit| selection.wants(commit)));
    failed.into_iter().chain(wanted)
}
