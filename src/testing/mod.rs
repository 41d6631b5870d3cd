//! What an author's own tests say of an aggregate, as texts that a snapshot test compares and a reader reads.
//!
//! * [`Story`]: what was sent to it, what came of it, and what that changed
//! * [`wire`](wire()): how commands, events and rejections look on the wire, in every form that they ever had
//! * [`transitions`](transitions()): what comes of each command in each state
//!
//! # Stories
//! A [`Story`] runs on the same [`Service`] that a program serves, so the fixture is production. What is sent becomes a
//! delivery, what is looked up comes from what the story's place holds, and what is compared are the bytes of the reply.
//! Ids, times and positions are the same in every run, so nothing in a text has to be redacted.
//!
//! Where it runs is not in the story: [`everywhere`] tells the same one in memory, on files with a crash after each step
//! in turn, and on a nats-server, and wants the same text each time.
//!
//! At each step is checked, of every aggregate, without a word in the story:
//! * command, event, rejection and state survive their JSON by value;
//! * `decide` says the same twice, what it says is what was recorded, and it changes nothing;
//! * `evolve` forgets no event, and the live state is what the stored events make, also after a rejection;
//! * a snapshot at any version, and the events behind it, make the same state;
//! * no upcaster changes an event of today;
//! * whoever sends a command again gets the same bytes, and nothing is recorded for it.
//!
//! A clock that moves more slowly than a test runs may give `decide` the same time twice; the texts of [`everywhere`] then
//! differ. For stories that nobody has written, see [`stories`].

use std::sync::Arc;

mod message;
mod home;
mod machine;
mod files;
mod live;
mod check;
mod render;
mod story;
mod telling;
mod script;
mod wire;
mod transitions;
#[cfg(test)]
mod tests;

pub use script::{Script, json, stories};
pub use story::{Item, Place, Story, check, command};
pub use transitions::{States, transitions};
pub use wire::{Samples, wire};

use crate::aggregate::Service;

/// Tells a story in memory, on files with a crash after each step in turn, and on a real nats-server.
///
/// ```no_run
/// use hapax::samples::{Account, AccountCommand::*, AccountEvent::*};
/// use hapax::testing::{Story, everywhere};
/// use hapax::{Aggregate, samples};
///
/// fn overdrawn(story: Story) -> Story {
///     story
///         .given(Account::at("42"), [Opened { owner: "ann".to_owned() }])
///         .when(Account::at("42"), Withdraw { amount: 500 })
///         .rejected("insufficient_funds")
/// }
///
/// let text = everywhere(samples::service(), overdrawn).to_string();
/// ```
///
/// # Panics
/// If it fails somewhere, if there is no nats-server, or if its texts differ. Like [`Place::Nats`] not within another
/// runtime: in a plain `#[test]`.
#[track_caller]
pub fn everywhere(service: impl Into<Arc<Service>>, story: impl Fn(Story) -> Story) -> Story {
    let service = service.into();
    let told = offline(service.clone(), &story);
    same_text(&told, &story(Story::at(Place::Nats, service)), Place::Nats);
    told
}

/// Tells a story in memory, and on files with a crash after each step in turn: [`everywhere`] without the broker.
///
/// # Panics
/// If it fails somewhere, or if its texts differ.
#[track_caller]
pub fn offline(service: impl Into<Arc<Service>>, story: impl Fn(Story) -> Story) -> Story {
    let service = service.into();
    let told = story(Story::of(service.clone()));
    for step in 1..=told.steps() {
        let place = Place::Files { crash_after: Some(step) };
        same_text(&told, &story(Story::at(place, service.clone())), place);
    }
    told
}

#[track_caller]
fn same_text(told: &Story, elsewhere: &Story, place: Place) {
    let (told, elsewhere) = (told.to_string(), elsewhere.to_string());
    if told != elsewhere {
        let at = told.lines().zip(elsewhere.lines()).take_while(|(left, right)| left == right).count();
        panic!(
            "in {place:?} the story is another one, from line {} on\n\nIn memory:\n\n{told}\n\nIn {place:?}:\n\n{elsewhere}\n",
            at + 1
        );
    }
}
