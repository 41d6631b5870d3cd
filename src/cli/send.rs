//! `send`: one command, or with `--file` many.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::connection::Sender;
use super::exit::{Exit, Failure, said};
use super::send_file::{self, IdFrom};
use super::signals::Signals;
use super::{output, program};
use crate::client::{RawCommand, SendError};
use crate::model::limits::{BATCH_ITEMS_MAX, IN_FLIGHT_COMMANDS_MAX};
use crate::model::{AggregateId, CommandId, CommandName, Timestamp, Version};

/// Send a command and print its outcome; or many, from a file
///
/// The id is printed before anything is sent. Whatever happens then (ctrl-c, a lost connection, a power cut), the same
/// command with the same id gets the one outcome, however often and however late it is sent.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hapax send account/42 deposit '{\"amount\":100}' --id salary-2026-11-ann
  hapax send --file commands.jsonl --id-from line --window 1000
  hapax send --file commands.jsonl --batch 100 --window 16
  hapax send --file transfer.jsonl --atomic

A line of a file:
  {\"id\":\"salary-2026-11-ann\",\"aggregate\":\"account\",\"key\":\"42\",\"command\":\"deposit\",\"data\":{\"amount\":100}}
An id may be missing if --id-from says how to derive it. expected_version may be there, data missing;
null is the same as missing. An id may come again only with the same command.

Lines to one aggregate are decided in the order of the file, unless one is lost on the way and
sent again behind the next; with --window 1 always. A file whose sending was interrupted is simply
sent again.

With --atomic the lines are decided as one, up to 999 of them; a line may also be a check that
the batch is guarded by:
  {\"check\":{\"aggregate\":\"account\",\"key\":\"44\",\"version\":7}}
The batch's own id comes from those of its lines, so the same file is the same batch.")]
pub(super) struct Arguments {
    /// To whom, as type/key
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    aggregate: Option<AggregateId>,

    /// Which command
    #[arg(required_unless_present = "file", value_parser = CommandName::parse)]
    command: Option<CommandName>,

    /// Its fields as a JSON object
    #[arg(default_value = "{}", hide_default_value = true)]
    data: String,

    /// The command's id: 16 to 64 of A-Z, a-z, 0-9, _ and - [default: a new UUIDv7]
    #[arg(long, conflicts_with = "file")]
    id: Option<CommandId>,

    /// Decide only if the aggregate has this version; 0: it must not exist
    #[arg(long, value_name = "VERSION", conflicts_with = "file")]
    expect: Option<u64>,

    /// Do not decide later than that; RFC 3339, like 2026-11-24T20:15:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    not_after: Option<Timestamp>,

    /// Print each outcome as JSON: the one that came, or with its line number for a file
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    many: Many,

    #[command(flatten)]
    sender: Sender,
}

/// What is said about a file of commands. `requires` alone would let them pass beside a single command, which a file
/// conflicts with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many commands")]
pub(super) struct Many {
    /// A file with a command on each line; - is stdin
    #[arg(long)]
    pub(super) file: Option<PathBuf>,

    /// How many may be under way at once
    #[arg(long, value_name = "N", default_value_t = 256, requires = "file", conflicts_with = "aggregate")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_COMMANDS_MAX as i64))]
    pub(super) window: u32,

    /// Derive missing ids from the line's number, its content (which merges equal lines), or a member of it or its data:
    /// line, content or field:NAME. The same file gets the same ids each time
    #[arg(long, value_name = "WHAT", requires = "file", conflicts_with = "aggregate")]
    pub(super) id_from: Option<IdFrom>,

    /// What the derived ids belong to beside the principal [default: the file's name; stdin has none]
    #[arg(long, value_name = "NAME", requires = "id_from")]
    pub(super) source: Option<String>,

    /// Send them in batches of up to so many, each command still decided for itself; --window then counts batches
    #[arg(long, value_name = "N", requires = "file", conflicts_with = "aggregate")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=BATCH_ITEMS_MAX as i64))]
    pub(super) batch: Option<u32>,

    /// How many partitions the processor has: a batch holds commands of one of them only
    #[arg(long, value_name = "N", default_value_t = 1, requires = "batch")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) partitions: u32,

    /// Decide all lines as one: all are accepted, or all rejected
    #[arg(long, requires = "file", conflicts_with_all = ["aggregate", "batch", "window"])]
    pub(super) atomic: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { aggregate, command, data, id, expect, not_after, many, json, sender } = arguments;
    if let Some(file) = &many.file {
        return match many.atomic {
            true => send_file::run_atomic(file, &many, &sender, json).await,
            false => send_file::run(file, &many, &sender, json).await,
        };
    }
    let (Some(aggregate), Some(name)) = (aggregate, command) else {
        return Err(Failure::usage("name an aggregate and a command, or a file of commands"));
    };
    if let Err(error) = serde_json::from_str::<&RawValue>(&data) {
        return Err(Failure::usage(format!("the command's fields are not JSON: {error}")));
    }
    let id = id.unwrap_or_else(|| Uuid::now_v7().into());
    let to = aggregate.clone();
    let expected = expect.map(Version);
    let command = RawCommand { id: id.clone(), aggregate, name, data: Bytes::from(data), expected, not_after };
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let client = sender.client().await?;
    eprintln!("id {id}"); // Before anything is sent: whoever is interrupted can go on with it.
    let sent = tokio::select! {
        sent = client.send_raw(command, sender.deadline()) => sent,
        () = signals.next() => return Err(unknown(&to, &id, &sender, "interrupted")),
    };
    settled(sent, &to, &id, &sender, json)
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
            said(output::outcome(&raw, json))?;
            Ok(Exit::of(&raw.outcome))
        }
        Err(error) => Err(not_settled(error, aggregate, id, sender, json)?),
    }
}

/// Why there is no outcome.
pub(super) fn not_settled(
    error: SendError,
    aggregate: &AggregateId,
    id: &CommandId,
    sender: &Sender,
    json: bool,
) -> Result<Failure, Failure> {
    match error {
        SendError::Unknown { cause, .. } => {
            if json {
                said(output::line(format!(r#"{{"id":"{id}","status":"unknown"}}"#)))?;
            }
            Ok(unknown(aggregate, id, sender, cause))
        }
        error => {
            if let (true, SendError::Refused { refusal, .. }) = (json, &error) {
                said(output::line(refusal.to_json(Some(id))))?;
            }
            Ok(error.into())
        }
    }
}

pub(super) fn unknown(
    aggregate: &AggregateId,
    id: &CommandId,
    sender: &Sender,
    why: impl std::fmt::Display,
) -> Failure {
    let (program, flags) = (program(), sender.flags());
    Failure::new(
        Exit::Unknown,
        format!("outcome unknown ({why}), ask again: {program} outcome {aggregate} {id}{flags}"),
    )
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "not an RFC 3339 time, like 2026-11-24T20:15:00Z".into())
}
