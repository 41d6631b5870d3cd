//! `send --file --atomic`: the lines of a file as one decision. They are read to the end before anything is sent.

use std::path::Path;

use super::line::{self, Line};
use super::{ids, next_line, open};
use crate::cli::batch;
use crate::cli::connection::Sender;
use crate::cli::exit::{Exit, Failure};
use crate::cli::send::{Many, unknown};
use crate::cli::signals::Signals;
use crate::model::limits::ATOMIC_COMMANDS_MAX;
use crate::model::{AggregateId, AggregateType};

pub(in crate::cli) async fn run_atomic(path: &Path, many: &Many, sender: &Sender, json: bool) -> Result<Exit, Failure> {
    let mut source = open(path).await?;
    let ids = ids(path, many, sender)?;
    let (mut lines, mut numbers) = (Vec::new(), Vec::new());
    let mut number = 0;
    loop {
        number += 1;
        let in_line =
            |Failure { exit, message }| Failure::new(exit, format!("line {number} of {}: {message}", source.name));
        let Some(text) = next_line(&mut source.lines).await.map_err(in_line)? else { break };
        if text.trim().is_empty() {
            continue;
        }
        if lines.len() == ATOMIC_COMMANDS_MAX {
            let message = format!("one too many: at most {ATOMIC_COMMANDS_MAX} are decided together");
            return Err(in_line(Failure::usage(message)));
        }
        lines.push(line::read_item(text.trim(), number, &ids).map_err(Failure::usage).map_err(in_line)?);
        numbers.push(number);
    }
    let key = match lines.first() {
        None => return Err(Failure::usage(format!("{}: no command in it", source.name))),
        Some(Line::Command(command)) => command.aggregate.key.clone(),
        Some(Line::Check(aggregate, _)) => aggregate.key.clone(),
    };
    let kind = AggregateType::parse(AggregateType::BATCH).expect("the protocol's own type is a token");
    let to = AggregateId { kind, key };
    let id = ids.of_batch(&lines);

    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let client = sender.client().await?;
    let mut atomic = client.batch().id(id.clone()).deadline(sender.deadline());
    for line in lines {
        atomic = match line {
            Line::Command(command) => atomic.command_raw(command),
            Line::Check(aggregate, version) => atomic.check_raw(aggregate, version),
        };
    }
    eprintln!("id {id}"); // Before anything is sent: whoever is interrupted can go on with it.
    let sent = tokio::select! {
        sent = atomic.run() => sent,
        () = signals.next() => return Err(unknown(&to, &id, sender, "interrupted")),
    };
    let name = |at| numbers.get(at).map_or_else(|| batch::item(at), |number| format!("line {number}"));
    batch::settled(sent, &to, &id, sender, json, name)
}
