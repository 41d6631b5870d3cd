//! Have we decided this command before?

use super::intake::Fault;
use super::turn::Recorded;
use crate::model::Command;

/// What an id means to us.
#[derive(Debug)]
pub(super) enum Seen {
    /// Never decided.
    New,
    /// Decided; this copy gets the first outcome.
    Before(Recorded),
    /// Decided with another content, which stands; nothing is executed (I4).
    Reused(Recorded),
}

/// Compares what is asked with what is recorded under the same identity.
pub(super) fn dedupe(recorded: Option<Recorded>, asked: &Command, fault: Option<&Fault>) -> Seen {
    let Some(recorded) = recorded else { return Seen::New };
    let first = &recorded.commit.command;
    // A void asks what became of an id, whatever its content was; and a voided id is settled for every content.
    if asked.name.is_void() || first.name.is_void() {
        return Seen::Before(recorded);
    }
    let unreadable = fault.is_some_and(|fault| fault.in_content);
    if !unreadable && first.same_content(asked) { Seen::Before(recorded) } else { Seen::Reused(recorded) }
}
