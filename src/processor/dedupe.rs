//! Have we decided this command before?

use super::intake::Intent;
use crate::model::Commit;

/// What an id means to us.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// Never decided.
    New,
    /// Decided; this copy gets the first outcome.
    Before(&'a Commit),
    /// Decided with another content, which stands; nothing is executed (I4).
    Reused(&'a Commit),
}

/// Compares what is asked with what is recorded under the same identity.
pub(super) fn dedupe<'a>(recorded: Option<&'a Commit>, intent: &Intent) -> Seen<'a> {
    let Some(commit) = recorded else { return Seen::New };
    // A void asks what became of an id, whatever its content was; and a voided id is settled for every content.
    if intent.command.name.is_void() || commit.command.name.is_void() {
        return Seen::Before(commit);
    }
    let unreadable = intent.fault.as_ref().is_some_and(|fault| fault.in_content);
    if !unreadable && commit.command.same_content(&intent.command) {
        Seen::Before(commit)
    } else {
        Seen::Reused(commit)
    }
}
