//! `send --file`: many commands, with a window. Each line is checked as it is read; one that cannot be understood ends
//! the reading, and those under way are still waited for.

mod line;
mod summary;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;

use futures::{Stream, StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::connection::Sender;
use super::exit::{Exit, Failure};
use super::output::{self, Paint};
use super::send::Many;
use super::signals::Signals;
use crate::client::{RawCommand, RawOutcome, SendError};
use crate::model::CommandId;
use line::Ids;
use summary::Summary;

pub(super) use line::IdFrom;

/// What reading and settling share.
#[derive(Default)]
struct Shared {
    /// Commands read so far.
    count: usize,
    /// Bytes read so far.
    bytes: u64,
    /// Line and id of those that were read and not settled.
    under_way: HashMap<usize, (u64, CommandId)>,
    /// No more is read.
    stopped: bool,
    /// Why the reading ended before the file did.
    bad_line: Option<Failure>,
}

pub(super) async fn run(path: &Path, many: &Many, sender: &Sender, json: bool) -> Result<Exit, Failure> {
    let file = File::open(path).await.map_err(Failure::io(format_args!("cannot read {}", path.display())))?;
    let bytes = file.metadata().await.map_or(0, |metadata| metadata.len());
    let name = || path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let source = many.source.clone().unwrap_or_else(name);
    let ids = Ids { from: many.id_from.clone(), principal: sender.principal.clone(), source };
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let client = sender.client().await?;

    let shared = RefCell::new(Shared::default());
    let bar = bytes_bar(bytes);
    let mut summary = Summary::default();
    let window = usize::try_from(many.window).unwrap_or(usize::MAX);
    let mut settled = pin!(client.send_all_raw(commands(file, path, &ids, &shared), window, sender.deadline()));
    let mut interrupted = false;
    while let Some((number, result)) = tokio::select! {
        settled = settled.next() => settled,
        () = signals.next() => { interrupted = true; None }
    } {
        let (line, id) = {
            let mut shared = shared.borrow_mut();
            bar.set_position(shared.bytes);
            // Nothing more can be sent; the next ones need not wait for the deadline each.
            shared.stopped |= matches!(result, Err(SendError::NotSent(_)));
            shared.under_way.remove(&number).expect("what is settled was read, and is settled once")
        };
        summary.add(line, &result);
        bar.set_message(format!("{} settled", summary.settled()));
        if json {
            output::line(json_line(line, &id, &result))?;
        }
    }
    bar.finish_and_clear();
    let shared = shared.take();
    if interrupted {
        summary.interrupted(shared.under_way.len().try_into().unwrap_or(u64::MAX));
    }
    report(&summary, json)?;
    match (shared.bad_line, summary.exit()) {
        // What may have happened comes before what is wrong with the file.
        (Some(failure), exit) if exit != Exit::Unknown => Err(failure),
        (_, Exit::Unknown) => {
            let message = "some outcomes are unknown: send the same file again, with the same options";
            Err(Failure::new(Exit::Unknown, message))
        }
        (_, exit) => Ok(exit),
    }
}

/// The commands of a file, until it ends or a line is wrong.
fn commands<'a>(
    file: File,
    path: &'a Path,
    ids: &'a Ids,
    shared: &'a RefCell<Shared>,
) -> impl Stream<Item = RawCommand> + 'a {
    stream::unfold((BufReader::new(file).lines(), 0_u64), move |(mut lines, mut number)| async move {
        loop {
            if shared.borrow().stopped {
                return None;
            }
            let read = lines.next_line().await;
            number += 1;
            let mut shared = shared.borrow_mut();
            let bad_line = match read {
                Ok(None) => return None,
                Ok(Some(text)) => {
                    shared.bytes += text.len() as u64 + 1;
                    match text.trim() {
                        "" => continue,
                        text => match line::read(text, number, ids) {
                            Ok(command) => {
                                let place = shared.count;
                                shared.under_way.insert(place, (number, command.id.clone()));
                                shared.count += 1;
                                return Some((command, (lines, number)));
                            }
                            Err(why) => Failure::usage(format!("line {number} of {}: {why}", path.display())),
                        },
                    }
                }
                Err(error) => Failure::io(format_args!("cannot read line {number} of {}", path.display()))(error),
            };
            shared.bad_line = Some(bad_line);
            return None;
        }
    })
}

/// One line for each command: which line of the file it was, and what came.
#[derive(Serialize)]
struct JsonLine<'a> {
    line: u64,
    replayed: bool,
    outcome: &'a RawValue,
}

fn json_line(line: u64, id: &CommandId, settled: &Result<RawOutcome, SendError>) -> Vec<u8> {
    let (json, replayed) = match settled {
        Ok(raw) => (raw.json.to_vec(), raw.replayed),
        Err(SendError::Refused { refusal, .. }) => (refusal.to_json(Some(id)), false),
        Err(error) => {
            let status = if error.nothing_was_published() { "not_sent" } else { "unknown" };
            (format!(r#"{{"id":"{id}","status":"{status}"}}"#).into_bytes(), false)
        }
    };
    let outcome = serde_json::from_slice(&json).expect("what was read as a reply, or made here, is JSON");
    serde_json::to_vec(&JsonLine { line, replayed, outcome }).expect("numbers and JSON are JSON")
}

/// The summary is a result for people, and a remark where a program reads the results.
fn report(summary: &Summary, json: bool) -> Result<(), Failure> {
    for failure in summary.shown() {
        eprintln!("{failure}");
    }
    let paint = Paint::for_stdout();
    if !json {
        return output::rows(paint, &summary.rows());
    }
    for row in output::aligned(Paint::none(), &summary.rows()) {
        eprintln!("{row}");
    }
    Ok(())
}

/// A progress bar on stderr; it shows on a terminal only.
fn bytes_bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {msg}, {eta} left")
        .expect("the template is constant");
    ProgressBar::new(bytes).with_style(style)
}
