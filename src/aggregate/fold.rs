//! State = snapshot + events. The one fold there is: the live path, loading, replay and verification all use it.

use super::service::State;
use super::upcast::EventError;
use crate::model::error::caught;
use crate::model::{AggregateId, AggregateType, Change, Commit, CommitError, EventRef, Head, Key, Position, Version};

/// An aggregate's state and how it got there.
#[derive(Debug, Clone)]
pub struct Folded {
    /// The state.
    pub state: Box<dyn State>,
    /// How many events are folded into it.
    pub version: Version,
    /// The last commit that changed it; `None`: nothing has happened yet (or it stands on a snapshot alone).
    pub last: Option<Position>,
}

/// An aggregate cannot be folded. Nothing is decided for it (503); the others are served.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// A commit does not follow the version that was folded.
    #[error("{aggregate}: the commit at position {position} follows version {follows}, the fold is at {version}")]
    Gap {
        /// The aggregate.
        aggregate: AggregateId,
        /// The commit.
        position: Position,
        /// The version that the commit follows.
        follows: Version,
        /// The version folded so far.
        version: Version,
    },
    /// The aggregate's code does not know an event that was recorded: it is older than the store, or its author has
    /// changed an event and not its schema.
    #[error("{aggregate}: the event {kind:?} (schema {schema}) at position {position} cannot be read")]
    Event {
        /// The aggregate.
        aggregate: AggregateId,
        /// The commit.
        position: Position,
        /// The event's type.
        kind: String,
        /// Its schema version.
        schema: u32,
        /// Why, and what can be read.
        #[source]
        source: EventError,
    },
    /// The recorded outcome cannot be read.
    #[error("{aggregate}: the commit at position {position} cannot be read")]
    Commit {
        /// The aggregate.
        aggregate: AggregateId,
        /// The commit.
        position: Position,
        /// Why.
        #[source]
        source: CommitError,
    },
    /// `evolve` panicked.
    #[error("{aggregate}: evolve panicked at position {position}: {panic}")]
    Panicked {
        /// The aggregate.
        aggregate: AggregateId,
        /// The commit.
        position: Position,
        /// The panic's message.
        panic: String,
    },
}

impl Folded {
    /// Where the aggregate stands, if anything has happened.
    pub fn head(&self) -> Option<Head> {
        self.last.map(|position| Head { version: self.version, position })
    }

    /// Folds the events of one commit. A rejection changes nothing.
    ///
    /// # Errors
    /// [`FoldError`]; the state is then to be dropped.
    pub fn apply(&mut self, commit: &Commit) -> Result<(), FoldError> {
        if commit.event_count == 0 {
            return Ok(());
        }
        let aggregate = || commit.command.aggregate.clone();
        let (position, follows) = (commit.position, commit.version_before());
        let events = commit.events();
        let events = events.map_err(|source| FoldError::Commit { aggregate: aggregate(), position, source })?;
        self.follow(aggregate, position, follows, events)
    }

    /// The same, of a commit that was not read in full.
    ///
    /// # Errors
    /// As [`Folded::apply`].
    pub fn apply_change(&mut self, change: Change<'_>) -> Result<(), FoldError> {
        let follows = change.version_before();
        let Change { kind, key, position, version: _, events } = change;
        if events.is_empty() {
            return Ok(());
        }
        let aggregate = || AggregateId {
            kind: AggregateType::parse(&kind).expect("only what has a name has a state"),
            key: Key::parse(&key).expect("only what has a name has a state"),
        };
        self.follow(aggregate, position, follows, events)
    }

    fn follow(
        &mut self,
        aggregate: impl Fn() -> AggregateId,
        position: Position,
        follows: Version,
        events: Vec<EventRef<'_>>,
    ) -> Result<(), FoldError> {
        if follows != self.version {
            return Err(FoldError::Gap { aggregate: aggregate(), position, follows, version: self.version });
        }
        let event_count = events.len() as u64;
        for event in events {
            let (kind, schema) = (&*event.kind, event.schema);
            caught(|| self.state.evolve(event.clone()))
                .map_err(|panic| FoldError::Panicked { aggregate: aggregate(), position, panic })?
                .map_err(|source| FoldError::Event {
                    aggregate: aggregate(),
                    position,
                    kind: kind.to_owned(),
                    schema,
                    source,
                })?;
        }
        self.version.0 += event_count;
        self.last = Some(position);
        Ok(())
    }
}
