//! What has become of everything? A whole store, folded into the states of all its aggregates.

use std::collections::HashMap;

use crate::aggregate::{FoldError, Folded, Service};
use crate::model::subject::GrammarError;
use crate::model::{AggregateId, AggregateType, Change, Key, Position};
use crate::store::ReadError;
use crate::store::file::FileReader;

/// The states of all aggregates that have had an event.
#[derive(Debug, Default)]
pub struct FoldedStore(HashMap<AggregateType, HashMap<Key, Folded>>);

/// A store cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum StoreFoldError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An aggregate cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// It has aggregates of a type that the service does not have.
    #[error(
        "the commit at position {position} is one of {kind}, and no aggregate of that type is served: fold it with a service \
         that has it"
    )]
    NotServed {
        /// The commit.
        position: Position,
        /// The type.
        kind: String,
    },
    /// A commit has a name that no processor takes in.
    #[error("the commit at position {position} has no aggregate")]
    Name {
        /// The commit.
        position: Position,
        /// Why.
        #[source]
        source: GrammarError,
    },
}

impl FoldedStore {
    /// Of one aggregate; `None`: it has had no event.
    pub fn get(&self, aggregate: &AggregateId) -> Option<&Folded> {
        self.0.get(&aggregate.kind)?.get(&aggregate.key)
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = (AggregateId, &Folded)> {
        self.0.iter().flat_map(|(kind, of_kind)| {
            of_kind.iter().map(|(key, folded)| (AggregateId { kind: kind.clone(), key: key.clone() }, folded))
        })
    }

    fn follow(&mut self, service: &Service, change: Change<'_>) -> Result<(), StoreFoldError> {
        if change.events.is_empty() {
            return Ok(());
        }
        // By what is borrowed: of a million commits, few are the first of their aggregate.
        if let Some(folded) = self.0.get_mut(&*change.kind).and_then(|of_kind| of_kind.get_mut(&*change.key)) {
            return Ok(folded.apply_change(change)?);
        }
        let position = change.position;
        let AggregateId { kind, key } =
            change.aggregate().map_err(|source| StoreFoldError::Name { position, source })?;
        let Some(mut folded) = service.start(&kind) else {
            return Err(StoreFoldError::NotServed { position, kind: kind.to_string() });
        };
        folded.apply_change(change)?;
        self.0.entry(kind).or_default().insert(key, folded);
        Ok(())
    }
}

/// Folds every durable commit of a store, in its order.
///
/// # Errors
/// [`StoreFoldError`], with the first thing that stands in the way.
pub fn fold_store(service: &Service, reader: &FileReader) -> Result<FoldedStore, StoreFoldError> {
    let mut folded = FoldedStore::default();
    reader.changes(|change| folded.follow(service, change))?;
    Ok(folded)
}
