//! `quarantine`: what could not be decided or even read, to be looked at, sent again or removed.

use std::io::{self, BufRead, IsTerminal, Write};

use async_nats::jetstream;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::connection::Connection;
use super::exit::{Exit, Failure};
use super::output::{self, Paint};
use super::program;
use crate::model::Timestamp;
use crate::nats::connect;
use crate::nats::quarantine::{self, QuarantineError, Quarantined};

/// Look at commands that could not be decided or even read, send them again, or remove them
///
/// A command comes here when its headers cannot be read by any NATS client, when nobody could be told that it is
/// malformed, when the aggregate's code panicked on it, or when processors died of it. Its sender may not know: it has
/// no outcome.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax quarantine list\n  hapax quarantine retry 7")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what is there, one command a line
    #[command(after_help = "Example:\n  hapax quarantine list --json")]
    List {
        /// Print each as a JSON document on a line of its own
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        connection: Connection,
    },
    /// Show one command as it came
    #[command(after_help = "Example:\n  hapax quarantine show 7")]
    Show {
        /// Its number in the list
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        number: u64,

        /// Print it as JSON, headers and body in base64
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        connection: Connection,
    },
    /// Publish commands again as they were, for instance after a new release
    ///
    /// Each is removed from the list once the stream has it. It keeps its id: what was decided meanwhile is not decided
    /// again.
    #[command(after_help = "Example:\n  hapax quarantine retry 7 8\n  hapax quarantine retry --all")]
    Retry {
        #[command(flatten)]
        which: Which,

        #[command(flatten)]
        connection: Connection,
    },
    /// Remove commands for good
    #[command(after_help = "Example:\n  hapax quarantine drop 7 --yes")]
    Drop {
        #[command(flatten)]
        which: Which,

        /// Do not ask
        #[arg(long)]
        yes: bool,

        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Numbers in the list
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    numbers: Vec<u64>,

    /// All that is there now
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.action {
        Action::List { json, connection } => list(&context(&connection).await?, json).await,
        Action::Show { number, json, connection } => {
            show(&quarantine::get(&context(&connection).await?, number).await?, json)
        }
        Action::Retry { which, connection } => {
            let context = context(&connection).await?;
            let mut exit = Exit::Done;
            for number in which.numbers(&context).await? {
                let retried = async { quarantine::retry(&context, &quarantine::get(&context, number).await?).await };
                report(number, retried.await, "published again, and removed from quarantine", &mut exit)?;
            }
            Ok(exit)
        }
        Action::Drop { which, yes, connection } => {
            let context = context(&connection).await?;
            let numbers = which.numbers(&context).await?;
            if !yes && !numbers.is_empty() {
                ask(numbers.len())?;
            }
            let mut exit = Exit::Done;
            for number in numbers {
                report(number, quarantine::remove(&context, number).await, "removed for good", &mut exit)?;
            }
            Ok(exit)
        }
    }
}

async fn context(connection: &Connection) -> Result<jetstream::Context, Failure> {
    let options = connection.options()?;
    let client = connect(&options).await?;
    Ok(options.jetstream(client))
}

impl Which {
    async fn numbers(self, context: &jetstream::Context) -> Result<Vec<u64>, Failure> {
        if !self.all {
            return Ok(self.numbers);
        }
        let (mut numbers, mut from) = (Vec::new(), 1);
        while let Some(command) = quarantine::next(context, from).await? {
            numbers.push(command.sequence);
            from = command.sequence + 1;
        }
        Ok(numbers)
    }
}

/// One that fails does not keep the others from their turn.
fn report(number: u64, done: Result<(), QuarantineError>, what: &str, exit: &mut Exit) -> Result<(), Failure> {
    match done {
        Ok(()) => output::line(format!("{number}  {what}")),
        Err(error) => {
            let failure = Failure::from(error);
            eprintln!("error: {}", failure.message);
            *exit = failure.exit;
            Ok(())
        }
    }
}

fn ask(count: usize) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody can be asked here; say --yes to remove for good"));
    }
    eprint!("Remove {count} command(s) from quarantine for good? [y/N] ");
    let mut answer = String::new();
    let read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.map_err(Failure::io("cannot read the answer"))?;
    if answer.trim().eq_ignore_ascii_case("y") { Ok(()) } else { Err(Failure::new(Exit::Failed, "nothing is removed")) }
}

#[derive(Serialize)]
struct Row<'a> {
    number: u64,
    at: Timestamp,
    principal: &'a str,
    subject: &'a str,
    reason: &'a str,
    command_sequence: Option<u64>,
    #[serde(flatten)]
    content: Option<Content>,
}

#[derive(Serialize)]
struct Content {
    headers_base64: String,
    body_base64: String,
}

impl<'a> Row<'a> {
    fn of(command: &'a Quarantined) -> Row<'a> {
        Row {
            number: command.sequence,
            at: command.at,
            principal: command.principal(),
            subject: &command.subject,
            reason: &command.reason,
            command_sequence: command.command_sequence,
            content: None,
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("a row is numbers and strings")
    }
}

async fn list(context: &jetstream::Context, json: bool) -> Result<Exit, Failure> {
    let mut from = 1;
    while let Some(command) = quarantine::next(context, from).await? {
        from = command.sequence + 1;
        if json {
            output::line(Row::of(&command).json())?;
        } else {
            let Quarantined { sequence, at, subject, reason, .. } = &command;
            let [principal, subject, reason] = [command.principal(), subject, reason].map(output::shown);
            output::line(format!("{sequence:<5} {at}  {principal}  {subject}: {reason}"))?;
        }
    }
    if from == 1 && !json {
        output::line("nothing is in quarantine")?;
    }
    Ok(Exit::Done)
}

fn show(command: &Quarantined, json: bool) -> Result<Exit, Failure> {
    if json {
        let content =
            Content { headers_base64: STANDARD.encode(&command.headers), body_base64: STANDARD.encode(&command.body) };
        output::line(Row { content: Some(content), ..Row::of(command) }.json())?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![
        ("number", command.sequence.to_string()),
        ("since", command.at.to_string()),
        ("reason", command.reason.clone()),
        ("principal", command.principal().to_owned()),
        ("subject", command.subject.clone()),
    ];
    if let Some(sequence) = command.command_sequence {
        rows.push(("command", format!("number {sequence} of the stream COMMANDS")));
    }
    let mut name = "headers";
    for line in String::from_utf8_lossy(&command.headers).split("\r\n").filter(|line| !line.is_empty()) {
        rows.push((std::mem::take(&mut name), line.to_owned()));
    }
    rows.push(("body", String::from_utf8_lossy(&command.body).into_owned()));
    output::rows(Paint::for_stdout(), &rows)?;
    Ok(Exit::Done)
}

impl From<QuarantineError> for Failure {
    fn from(error: QuarantineError) -> Failure {
        let program = program();
        let remedy = match &error {
            QuarantineError::Missing => format!("`{program} serve` makes it where it runs"),
            QuarantineError::Unknown(_) => format!("`{program} quarantine list` shows what is there"),
            QuarantineError::Unreadable { sequence, .. } => format!(
                "its sender has to mend it and send it again; `{program} quarantine drop {sequence}` removes this one"
            ),
            QuarantineError::Absorbed(_) => "try again later".into(),
            QuarantineError::Broker { .. } => {
                "if the server runs, this user may not publish to $JS.API.STREAM.MSG.> and cmd.>".into()
            }
        };
        let said = crate::model::error::with_sources(&error);
        Failure::new(Exit::Failed, format!("{said}; {remedy}"))
    }
}
