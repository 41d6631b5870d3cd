//! How a command and what came of it are told to people: in the same words in a timeline, a history, a story and a table of
//! transitions.

use std::fmt;

use super::command::Command;
use super::commit::RecordedEvent;
use super::outcome::{Decision, Refusal, Rejection};

/// What is said of an acceptance without events.
pub const ALREADY_SO: &str = "it was already so";

/// `deposit {"amount":100}`; the name alone where there are no fields.
pub fn named(name: impl fmt::Display, fields: &str) -> String {
    if fields == "{}" { name.to_string() } else { format!("{name} {fields}") }
}

/// Its name and fields, as they were sent: `deposit {"amount":100}`.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&named(&self.name, &String::from_utf8_lossy(&self.data)))
    }
}

/// `deposited {"amount":100}`
impl fmt::Display for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&named(&self.kind, self.data.get()))
    }
}

/// The events, or `accepted: it was already so`, or the rejection.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Accepted(events) if events.is_empty() => write!(f, "accepted: {ALREADY_SO}"),
            Decision::Accepted(events) => {
                let events: Vec<String> = events.iter().map(RecordedEvent::to_string).collect();
                f.write_str(&events.join(", "))
            }
            Decision::Rejected(rejection) => rejection.fmt(f),
        }
    }
}

/// `rejected insufficient_funds: balance 100 is less than 500`
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejected {}: {}", self.reason, self.message)
    }
}

/// `refused id_reused: this id was used for another command …`
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused {}: {}", self.reason, self.message)
    }
}
