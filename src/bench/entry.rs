//! The aggregate that is measured: as little rule as a real one has, and bodies of a set size.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};

/// A sum of entries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Entries {
    sum: i64,
}

/// What may be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EntriesCommand {
    /// Adds one.
    Enter {
        /// How much.
        amount: i64,
        /// Fills the body up.
        note: String,
    },
}

/// What may happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntriesEvent {
    /// One was added.
    Entered {
        /// How much.
        amount: i64,
        /// As it was sent.
        note: String,
    },
}

/// Why not.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntriesRejection {
    /// The sum would not fit.
    #[error("the sum would be too large")]
    TooLarge {},
}

impl Aggregate for Entries {
    const TYPE: &'static str = "entries";
    type Command = EntriesCommand;
    type Event = EntriesEvent;
    type Rejection = EntriesRejection;

    fn decide(&self, command: EntriesCommand, _: &Context<'_>) -> Result<Vec<EntriesEvent>, EntriesRejection> {
        let EntriesCommand::Enter { amount, note } = command;
        self.sum.checked_add(amount).ok_or(EntriesRejection::TooLarge {})?;
        Ok(vec![EntriesEvent::Entered { amount, note }])
    }

    fn evolve(self, event: &EntriesEvent) -> Entries {
        let EntriesEvent::Entered { amount, .. } = event;
        Entries { sum: self.sum + amount }
    }
}

/// The command that a body means. The processor does it by the command's name; here there is one.
pub(super) fn read_command(body: &[u8]) -> serde_json::Result<EntriesCommand> {
    #[derive(Deserialize)]
    struct Enter {
        amount: i64,
        note: String,
    }
    let Enter { amount, note } = serde_json::from_slice(body)?;
    Ok(EntriesCommand::Enter { amount, note })
}

/// A body of this many bytes.
pub(super) fn body(bytes: usize) -> String {
    let frame = r#"{"amount":1,"note":""}"#.len();
    format!(r#"{{"amount":1,"note":"{}"}}"#, "n".repeat(bytes.saturating_sub(frame)))
}
