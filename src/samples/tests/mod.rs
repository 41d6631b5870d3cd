//! What the sample domain decides, from state to state.

use crate::aggregate::{Aggregate, Context};
use crate::model::{CommandId, Principal, Timestamp};

mod account;
mod order;

/// Decides, and lets the events happen.
fn after<A: Aggregate>(state: A, commands: impl IntoIterator<Item = A::Command>) -> Result<A, A::Rejection> {
    let principal = Principal::parse("alice").unwrap();
    let id = CommandId::parse("a-command-of-a-test").unwrap();
    let context = Context { time: Timestamp::EPOCH, principal: &principal, id: &id };
    commands.into_iter().try_fold(state, |state, command| {
        let events = state.decide(command, &context)?;
        Ok(events.iter().fold(state, A::evolve))
    })
}
