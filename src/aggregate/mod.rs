//! What a domain author writes, and how aggregates of many types are handled as one.
//!
//! An [`Aggregate`] is a state with two functions: `decide` says what would happen, `evolve` lets it have happened. Both
//! are pure: no clock, no randomness, no I/O; what a decision may depend on besides state and command is in its
//! [`Context`]. Types are erased once, in [`service`]; bytes and wire formats stay on this side of it.

#![deny(clippy::disallowed_methods)]

use std::fmt::Debug;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{CommandId, Principal, Timestamp};

mod parts;
pub mod upcast;
pub mod service;
pub mod fold;
#[cfg(test)]
mod tests;

pub use fold::{FoldError, Folded};
#[cfg(feature = "testing")]
pub(crate) use parts::variants_of;
pub(crate) use parts::{name_and_data, read_variant};
pub use service::Service;
pub(crate) use upcast::EventTypes;
pub use upcast::{EventError, Upcaster};

/// A domain type: its value is the state, `Default` the state before anything happened.
///
/// ```
/// use hapax::{Aggregate, Context};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
/// struct Counter { count: u64 }
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Command { Add { amount: u64 } }
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Event { Added { amount: u64 } }
///
/// #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Rejection {
///     #[error("{amount} would be too much")]
///     TooMuch { amount: u64 },
/// }
///
/// impl Aggregate for Counter {
///     const TYPE: &'static str = "counter"; // `hapax send counter/1 add '{"amount":2}'`
///     type Command = Command;
///     type Event = Event;
///     type Rejection = Rejection;
///
///     fn decide(&self, command: Command, _: &Context<'_>) -> Result<Vec<Event>, Rejection> {
///         let Command::Add { amount } = command;
///         match self.count.checked_add(amount) {
///             Some(_) => Ok(vec![Event::Added { amount }]),
///             None => Err(Rejection::TooMuch { amount }),
///         }
///     }
///
///     fn evolve(self, event: &Event) -> Counter {
///         let Event::Added { amount } = event;
///         Counter { count: self.count + amount }
///     }
/// }
/// ```
pub trait Aggregate:
    Default + Clone + PartialEq + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The token in `cmd.alice.account.42.deposit`: 1 to 128 bytes of printable ASCII without space, `.`, `*`, `>`, and
    /// without a leading `_`.
    const TYPE: &'static str;

    /// Raised when `evolve` or the state's fields change: snapshots that another version folded are ignored.
    const FOLD: u32 = 1;

    /// How events that were recorded in another form than today's are read. Added to when a variant of `Event` gets other
    /// fields or another name, and never taken from: a store keeps what it has.
    const UPCASTERS: &'static [Upcaster] = &[];

    /// What may be asked: an enum; a variant's serde name is the command, its fields are the body.
    type Command: Clone + Debug + Serialize + DeserializeOwned;

    /// What may happen: an enum; a variant's serde name is the event's type, its fields are its data.
    type Event: Clone + PartialEq + Debug + Serialize + DeserializeOwned;

    /// Why not: an enum; a variant's serde name is the reason, its fields are the details, `Display` is the message.
    type Rejection: std::error::Error + Serialize + DeserializeOwned;

    /// Says what would happen, and changes nothing. No events: it is already so, which is accepted.
    ///
    /// # Errors
    /// The rejection, which is recorded and final for this command.
    fn decide(&self, command: Self::Command, context: &Context<'_>) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Lets an event have happened. It cannot fail: an event is a fact.
    #[must_use]
    fn evolve(self, event: &Self::Event) -> Self;

    /// Addresses one aggregate of this type: `Account::at("42")`.
    fn at(key: impl Into<String>) -> Address<Self> {
        Address { key: key.into(), aggregate: PhantomData }
    }
}

/// What a decision may depend on besides state and command. Nothing else: the same store prefix, command and context
/// give the same outcome, so that a store can be decided again and compared.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time of the decision; it is recorded.
    pub time: Timestamp,
    /// Who sent the command.
    pub principal: &'a Principal,
    /// The command's id.
    pub id: &'a CommandId,
}

/// One aggregate of a known type: what [`Aggregate::at`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<A> {
    /// Its key, as the caller wrote it; the grammar is checked when it is used.
    pub key: String,
    aggregate: PhantomData<fn() -> A>,
}
