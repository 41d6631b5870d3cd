//! `send`: one command, or with `--file` many.

use bytes::Bytes;
use clap::Args;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::connection::Sender;
use super::exit::{Exit, Failure};
use super::signals::Signals;
use super::{output, program};
use crate::client::{RawCommand, SendError};
use crate::model::{AggregateId, CommandId, CommandName, Timestamp, Version};

/// Send a command and print its outcome
///
/// The id is printed before anything is sent. Whatever happens then (ctrl-c, a lost connection, a power cut), the same
/// command with the same id gets the one outcome, however often and however late it is sent.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hapax send account/42 deposit '{\"amount\":100}' --id salary-2026-11-ann")]
pub(super) struct Arguments {
    /// To whom, as type/key
    aggregate: AggregateId,

    /// Which command
    #[arg(value_parser = CommandName::parse)]
    command: CommandName,

    /// Its fields as a JSON object
    #[arg(default_value = "{}", hide_default_value = true)]
    data: String,

    /// The command's id: 16 to 64 of A-Z, a-z, 0-9, _ and - [default: a new UUIDv7]
    #[arg(long)]
    id: Option<CommandId>,

    /// Decide only if the aggregate has this version; 0: it must not exist
    #[arg(long, value_name = "VERSION")]
    expect: Option<u64>,

    /// Do not decide later than that; RFC 3339, like 2026-11-24T20:15:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_after: Option<Timestamp>,

    /// Print the outcome as the JSON that came
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    sender: Sender,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    send_one(arguments).await
}

async fn send_one(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { aggregate, command, data, id, expect, not_after, json, sender } = arguments;
    if let Err(error) = serde_json::from_str::<&RawValue>(&data) {
        return Err(Failure::usage(format!("the command's fields are not JSON: {error}")));
    }
    let id = id.unwrap_or_else(|| Uuid::now_v7().into());
    let command = RawCommand {
        id: id.clone(),
        aggregate: aggregate.clone(),
        name: command,
        data: Bytes::from(data),
        expected: expect.map(Version),
        not_after,
    };
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let client = sender.client().await?;
    eprintln!("id {id}"); // Before anything is sent: whoever is interrupted can go on with it.
    let sent = tokio::select! {
        sent = client.send_raw(command, sender.deadline()) => sent,
        () = signals.next() => return Err(unknown(&aggregate, &id, &sender, "interrupted")),
    };
    settled(sent, &aggregate, &id, &sender, json)
}

/// Prints an outcome, or says why there is none.
pub(super) fn settled(
    sent: Result<crate::client::RawOutcome, SendError>,
    aggregate: &AggregateId,
    id: &CommandId,
    sender: &Sender,
    json: bool,
) -> Result<Exit, Failure> {
    match sent {
        Ok(raw) => {
            output::outcome(&raw, json)?;
            Ok(Exit::of(&raw.outcome))
        }
        Err(SendError::Unknown { cause, .. }) => {
            if json {
                output::line(format!(r#"{{"id":"{id}","status":"unknown"}}"#))?;
            }
            Err(unknown(aggregate, id, sender, cause))
        }
        Err(error) => {
            if let (true, SendError::Refused { refusal, .. }) = (json, &error) {
                output::line(refusal.to_json(Some(id)))?;
            }
            Err(error.into())
        }
    }
}

fn unknown(aggregate: &AggregateId, id: &CommandId, sender: &Sender, why: impl std::fmt::Display) -> Failure {
    let (program, flags) = (program(), sender.flags());
    Failure::new(
        Exit::Unknown,
        format!("outcome unknown ({why}), ask again: {program} outcome {aggregate} {id}{flags}"),
    )
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "not an RFC 3339 time, like 2026-11-24T20:15:00Z".into())
}
