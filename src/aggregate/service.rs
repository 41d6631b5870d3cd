//! The aggregates that one processor serves. Types are erased here, once: names and JSON go in, decisions come out.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::Error as _;

use super::parts::{name_and_data, read_variant, variants_of};
use super::{Aggregate, Context, EventError, EventTypes, Folded};
use crate::model::error::caught;
use crate::model::{AggregateId, AggregateType, EventRef, RecordedEvent, Rejection, Snapshot, Version};

/// The aggregates that one processor serves; the same value runs in production and in tests.
///
/// ```
/// use hapax::Service;
/// use hapax::samples::{Account, Order};
/// let service = Service::new().with::<Account>().with::<Order>();
/// assert_eq!(service.types().collect::<Vec<_>>(), ["account", "order"]);
/// ```
#[derive(Debug, Default)]
pub struct Service {
    kinds: BTreeMap<AggregateType, Box<dyn Kind>>,
}

impl Service {
    /// A service without aggregates.
    pub fn new() -> Service {
        Service::default()
    }

    /// Serves one more type of aggregate.
    ///
    /// # Panics
    /// If the type cannot be served whatever is sent, which its author must know before production does: its `TYPE` is
    /// no token or taken, commands, events or rejections are no externally tagged enums, a name is the protocol's own, or
    /// its upcasters leave a form of an event out.
    #[must_use]
    pub fn with<A: Aggregate>(mut self) -> Service {
        let kind =
            AggregateType::parse(A::TYPE).unwrap_or_else(|error| panic!("{:?} as Aggregate::TYPE: {error}", A::TYPE));
        assert!(!A::TYPE.starts_with('_'), "Aggregate::TYPE {kind}: names that begin with '_' are the protocol's own");
        let must_be = |what| format!("{kind}: {what} must be an enum, externally tagged (serde's default)");
        let commands = variants_of::<A::Command>().unwrap_or_else(|| panic!("{}", must_be("Command")));
        let events = EventTypes::of::<A>().unwrap_or_else(|| panic!("{}", must_be("Event")));
        if let Err(why) = events.check() {
            panic!("{kind}: Aggregate::UPCASTERS: {why}");
        }
        for reason in variants_of::<A::Rejection>().unwrap_or_else(|| panic!("{}", must_be("Rejection"))) {
            assert!(!Rejection::RESERVED.contains(reason), "{kind}: the reason {reason} is the protocol's own");
        }
        for name in commands {
            assert!(!name.starts_with('_'), "{kind}: the command {name} begins with '_', which is the protocol's own");
        }
        let typed = Typed::<A> { types: Types { commands, events }, aggregate: std::marker::PhantomData };
        let before = self.kinds.insert(kind, Box::new(typed));
        assert!(before.is_none(), "two aggregates have the type {}", A::TYPE);
        self
    }

    /// The types that are served, in alphabetical order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(AggregateType::as_str)
    }

    /// The commands of a type; none for a type that is not served.
    pub fn commands(&self, kind: &str) -> impl Iterator<Item = &'static str> {
        let found = self.kinds.iter().find(|(served, _)| served.as_str() == kind);
        found.map_or(&[][..], |(_, kind)| kind.types().commands).iter().copied()
    }

    /// Whether aggregates of this type are served.
    pub fn serves(&self, kind: &AggregateType) -> bool {
        self.kinds.contains_key(kind)
    }

    /// The state before anything happened; `None` for a type that is not served.
    pub fn start(&self, kind: &AggregateType) -> Option<Folded> {
        let kind = self.kinds.get(kind)?;
        Some(Folded { state: kind.start(), version: Version(0), last: None })
    }

    /// The state that a snapshot holds; `None` for a type that is not served, a snapshot of another fold, or one that
    /// cannot be read: a snapshot is a cache, so the fold then begins at the first event.
    pub fn resume(&self, aggregate: &AggregateId, snapshot: &Snapshot) -> Option<Folded> {
        let kind = self.kinds.get(&aggregate.kind)?;
        if kind.fold() != snapshot.fold {
            return None;
        }
        Some(Folded { state: kind.read(&snapshot.state)?, version: snapshot.version, last: None })
    }

    /// A recorded event in today's form: what it means to today's code, and what is to be compared where an old decision is
    /// with one of today. `None` for a type that is not served.
    ///
    /// # Errors
    /// [`EventError`].
    pub fn upcast(&self, kind: &AggregateType, event: &RecordedEvent) -> Option<Result<RecordedEvent, EventError>> {
        self.kinds.get(kind).map(|kind| kind.types().events.upcast(event.borrowed()))
    }

    /// The snapshot of a state; `None` for a type that is not served or a state that is not JSON.
    pub fn snapshot(&self, aggregate: &AggregateId, folded: &Folded) -> Option<Snapshot> {
        let fold = self.kinds.get(&aggregate.kind)?.fold();
        let state = folded.state.to_json().ok()?.into();
        Some(Snapshot { version: folded.version, fold, state })
    }
}

/// What would come of a command.
#[derive(Debug)]
pub enum Decided {
    /// These events, and the state after them.
    Accepted {
        /// As they are recorded.
        events: Vec<RecordedEvent>,
        /// The state after them.
        next: Box<dyn State>,
    },
    /// The aggregate's own rule says no.
    Rejected(Rejection),
}

/// A command that the aggregate cannot read, or a decision that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// It has no such command.
    #[error("it has: {}", .known.join(", "))]
    UnknownCommand {
        /// The commands it has.
        known: &'static [&'static str],
    },
    /// The body does not have the command's fields.
    #[error(transparent)]
    Malformed(serde_json::Error),
    /// An event or a rejection does not become JSON of an externally tagged enum: the author's bug.
    #[error("the decision is not JSON")]
    Unwritable(#[source] serde_json::Error),
}

/// The state of one aggregate, its type erased.
pub trait State: Debug + Send + Sync {
    /// Decides, and lets the events happen to a copy. The author's code may panic here.
    ///
    /// # Errors
    /// [`DecideError`].
    fn decide(&self, name: &str, data: &[u8], context: &Context<'_>) -> Result<Decided, DecideError>;

    /// Lets a recorded event have happened. The author's code may panic here; the state is then to be dropped.
    ///
    /// # Errors
    /// The event cannot be read by today's code.
    fn evolve(&mut self, event: EventRef<'_>) -> Result<(), EventError>;

    /// The state as JSON.
    ///
    /// # Errors
    /// The author's `Serialize` failed, or a map has keys that are not strings.
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// A copy.
    fn clone_box(&self) -> Box<dyn State>;
}

impl Clone for Box<dyn State> {
    fn clone(&self) -> Box<dyn State> {
        (**self).clone_box()
    }
}

/// What an aggregate's code knows by name.
#[derive(Debug, Clone, Copy)]
struct Types {
    commands: &'static [&'static str],
    events: EventTypes,
}

trait Kind: Debug + Send + Sync {
    fn types(&self) -> &Types;
    fn fold(&self) -> u32;
    fn start(&self) -> Box<dyn State>;
    fn read(&self, state: &[u8]) -> Option<Box<dyn State>>;
}

struct Typed<A> {
    types: Types,
    aggregate: std::marker::PhantomData<fn() -> A>,
}

impl<A: Aggregate> Debug for Typed<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(A::TYPE).field("types", &self.types).finish()
    }
}

impl<A: Aggregate> Kind for Typed<A> {
    fn types(&self) -> &Types {
        &self.types
    }

    fn fold(&self) -> u32 {
        A::FOLD
    }

    fn start(&self) -> Box<dyn State> {
        Box::new(TypedState { state: A::default(), types: self.types })
    }

    fn read(&self, state: &[u8]) -> Option<Box<dyn State>> {
        let state: A = caught(|| serde_json::from_slice(state)).ok()?.ok()?;
        Some(Box::new(TypedState { state, types: self.types }))
    }
}

#[derive(Debug)]
struct TypedState<A> {
    state: A,
    types: Types,
}

impl<A: Aggregate> State for TypedState<A> {
    fn decide(&self, name: &str, data: &[u8], context: &Context<'_>) -> Result<Decided, DecideError> {
        let Types { commands, events: types } = self.types;
        if !commands.contains(&name) {
            return Err(DecideError::UnknownCommand { known: commands });
        }
        let command: A::Command = read_variant(name, data).map_err(DecideError::Malformed)?;
        let events = match self.state.decide(command, context) {
            Ok(events) => events,
            Err(rejection) => {
                let (reason, details) = name_and_data(&rejection).map_err(DecideError::Unwritable)?;
                let details = (details.get() != "{}").then_some(details);
                return Ok(Decided::Rejected(Rejection::by_rule(reason, rejection.to_string(), details)));
            }
        };
        let mut recorded = Vec::with_capacity(events.len());
        for event in &events {
            let (kind, data) = name_and_data(event).map_err(DecideError::Unwritable)?;
            recorded.push(RecordedEvent { schema: types.schema_today(&kind), kind, data });
        }
        // On a copy: if `evolve` panics, the state before is still the state.
        let state = events.iter().fold(self.state.clone(), A::evolve);
        Ok(Decided::Accepted { events: recorded, next: Box::new(TypedState { state, types: self.types }) })
    }

    fn evolve(&mut self, event: EventRef<'_>) -> Result<(), EventError> {
        let event: A::Event = self.types.events.read(event)?;
        self.state = std::mem::take(&mut self.state).evolve(&event);
        Ok(())
    }

    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        // Caught, since this runs outside a decision: one author's bug must not end a processor that many use.
        caught(|| serde_json::to_vec(&self.state)).unwrap_or_else(|panic| Err(serde_json::Error::custom(panic)))
    }

    fn clone_box(&self) -> Box<dyn State> {
        Box::new(TypedState { state: self.state.clone(), types: self.types })
    }
}
