//! Reading back what happened, from a store alone: nothing here needs a broker or a running processor.
//!
//! * [`commits`]: those of a range, or of one aggregate
//! * [`timeline`]: a commit as a line, for people or for programs
//! * [`verify`]: does the store contradict itself?
//! * [`states`](states()): all of it, folded

use crate::model::{AggregateId, Commit, Position};
use crate::store::{CommitReader, ReadError};

pub mod timeline;
pub mod verify;
mod states;

pub use states::{States, StatesError, states};

/// Which commits are wanted; by default all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only those of this aggregate.
    pub aggregate: Option<AggregateId>,
    /// The first position (included).
    pub from: Option<Position>,
    /// The last position (included).
    pub upto: Option<Position>,
}

/// The commits of a selection, in order. Ends after the first error.
pub fn commits<'a>(
    reader: &'a impl CommitReader,
    selection: &'a Selection,
) -> impl Iterator<Item = Result<Commit, ReadError>> + 'a {
    let Selection { aggregate, from, upto } = selection;
    let read = reader.read(from.unwrap_or(Position::FIRST));
    let in_range = read.take_while(move |commit| match (commit, upto) {
        (Ok(commit), Some(upto)) => commit.position <= *upto,
        _ => true,
    });
    in_range.filter(move |commit| match (commit, aggregate) {
        (Ok(commit), Some(aggregate)) => commit.command.aggregate == *aggregate,
        _ => true,
    })
}
