//! `void`: certainty about a command that its sender gives up.

use clap::Args;

use super::batch;
use super::connection::Sender;
use super::exit::{Exit, Failure};
use super::send::settled;
use crate::model::{AggregateId, CommandId};

/// Settle a command that you give up: its outcome if it was decided, else it never will be
///
/// Exits with the outcome's code: 3 if it is voided now or was rejected, 0 if it was accepted before.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax void account/42 salary-2026-11-ann")]
pub(super) struct Arguments {
    /// To whom the command was sent, as type/key; _batch/key for an atomic batch, with the key of its first item
    aggregate: AggregateId,

    /// The command's id
    id: CommandId,

    /// Print the outcome as the JSON that came
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sender: Sender,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { aggregate, id, json, sender } = arguments;
    let client = sender.client().await?;
    if aggregate.kind.is_batch() {
        let voided = client.void_batch(&aggregate.key, &id, sender.deadline()).await;
        return batch::settled(voided, &aggregate, &id, &sender, json, batch::item);
    }
    let voided = client.void(&aggregate, &id, sender.deadline()).await;
    settled(voided, &aggregate, &id, &sender, json)
}
