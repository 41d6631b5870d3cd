//! A commit as it is shown to a projection.

use super::model::ApplyError;
use crate::aggregate::{Aggregate, EventTypes};
use crate::model::Commit;

/// Something that has happened: a commit, and the partition that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'a> {
    /// The partition. Positions are counted in each by itself.
    pub partition: u32,
    /// The record: who, what, when, at which position.
    pub commit: &'a Commit,
}

impl Happened<'_> {
    /// The key of its aggregate: `42` of `account/42`.
    pub fn key(&self) -> &str {
        self.commit.command.aggregate.key.as_str()
    }

    /// What happened, if it happened to an aggregate of this type; else nothing. Events that were recorded in an older form
    /// come in today's.
    ///
    /// # Errors
    /// [`ApplyError::Event`]: today's code does not know one. Never to be passed over: the result would stand on a guess.
    ///
    /// # Panics
    /// If the aggregate's events are not an externally tagged enum.
    pub fn events<A: Aggregate>(&self) -> Result<Vec<A::Event>, ApplyError> {
        if self.commit.command.aggregate.kind.as_str() != A::TYPE {
            return Ok(Vec::new());
        }
        let types = EventTypes::of::<A>()
            .unwrap_or_else(|| panic!("{}: Event must be an enum, externally tagged (serde's default)", A::TYPE));
        let recorded = self.commit.events().map_err(ApplyError::Commit)?.into_iter();
        let read = recorded.map(|event| {
            let (kind, schema) = (event.kind.clone().into_owned(), event.schema);
            types.read(event).map_err(|source| ApplyError::Event { kind, schema, source })
        });
        read.collect()
    }
}
