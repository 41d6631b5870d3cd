//! `outcome`: what came of a command?

use std::time::Duration;

use clap::Args;

use super::connection::Sender;
use super::exit::{Exit, Failure, said};
use super::{batch, output};
use crate::client::{Known, QueryError, RawBatch, RawOutcome};
use crate::model::{AggregateId, CommandId, Position};

/// Ask for the recorded outcome of a command
///
/// Exits with the outcome's code, 5 if there is none yet. That is no proof that there will be none: only an outcome is,
/// or a void.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax outcome account/42 salary-2026-11-ann --wait")]
pub(super) struct Arguments {
    /// To whom the command was sent, as type/key; _batch/key for an atomic batch, with the key of its first item
    aggregate: AggregateId,

    /// The command's id
    id: CommandId,

    /// Wait until it is decided, for as long as --timeout says
    #[arg(long)]
    wait: bool,

    /// Print the outcome as the JSON that came
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sender: Sender,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { aggregate, id, wait, json, sender } = arguments;
    let client = sender.client().await?;
    let wait = if wait { sender.deadline() } else { Duration::ZERO };
    match client.outcome(&aggregate, &id, wait).await {
        Ok(Known::Decided(raw)) => {
            let exit = Exit::of(&raw.outcome);
            // That it was decided before is what was asked.
            said(output::outcome(&RawOutcome { replayed: false, ..raw }, json))?;
            Ok(exit)
        }
        Ok(Known::Batch(raw)) => batch::decided(&RawBatch { replayed: false, ..raw }, &aggregate, json, batch::item),
        Ok(Known::Unknown { as_of, after }) => {
            let as_of = as_of.map_or(0, Position::get);
            if json {
                let after_ms = after.as_millis();
                let unknown = format!(r#"{{"id":"{id}","status":"unknown","as_of":{as_of},"after_ms":{after_ms}}}"#);
                said(output::line(unknown))?;
            }
            let message = format!("{id} is not decided up to position {as_of}; it may be yet, unless it is voided");
            Err(Failure::new(Exit::Unknown, message))
        }
        // Whether it was decided is as unknown as before.
        Err(error @ (QueryError::NoProcessor | QueryError::Timeout)) => {
            Err(Failure { exit: Exit::Unknown, ..error.into() })
        }
        Err(error) => Err(error.into()),
    }
}
