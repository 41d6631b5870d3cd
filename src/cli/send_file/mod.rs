//! `send --file`: many commands, with a window. Each line is checked as it is read; one that cannot be understood ends
//! the reading, and those under way are still waited for.

mod atomic;
mod line;
mod seen;
mod summary;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::pin;

use futures::{Stream, StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::connection::Sender;
use super::exit::{Exit, Failure, said};
use super::output::{self, Paint};
use super::send::Many;
use super::signals::Signals;
use crate::client::{RawCommand, RawOutcome, SendError, Window};
use crate::model::CommandId;
use crate::model::limits::LINE_BYTES_MAX;
use line::Ids;
use seen::Seen;
use summary::Summary;

pub(super) use atomic::run_atomic;
pub(super) use line::IdFrom;

/// Where the commands come from.
struct Source {
    lines: BufReader<File>,
    /// As it is called in what is said about it.
    name: String,
    /// Its length, if it has one.
    bytes: Option<u64>,
}

/// What reading and settling share.
#[derive(Default)]
struct Shared {
    /// Commands read so far.
    count: usize,
    /// Bytes read so far.
    bytes: u64,
    /// Line and id of those that were read and not settled.
    under_way: HashMap<usize, (u64, CommandId)>,
    /// Ids of those that were read.
    seen: Seen,
    /// No more is read.
    stopped: bool,
    /// Why the reading ended before the file did.
    bad_line: Option<Failure>,
}

pub(super) async fn run(path: &Path, many: &Many, sender: &Sender, json: bool) -> Result<Exit, Failure> {
    let source = open(path).await?;
    let ids = ids(path, many, sender)?;
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let client = sender.client().await?;

    let shared = RefCell::new(Shared::default());
    let bar = bytes_bar(source.bytes);
    let mut summary = Summary::default();
    let mut window = Window::from(usize::try_from(many.window).unwrap_or(usize::MAX));
    if let Some(items) = many.batch {
        window = window.batches_of(usize::try_from(items).unwrap_or(usize::MAX)).partitions(many.partitions);
    }
    let mut settled = pin!(client.send_all_raw(commands(source, &ids, &shared), window, sender.deadline()));
    let mut interrupted = false;
    let mut unheard = None;
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
        if let (true, None) = (json, &unheard) {
            unheard = output::line(json_line(line, &id, &result)).err();
            // No more is sent whose outcome nobody hears. Those under way are waited for: so all that was sent is known.
            shared.borrow_mut().stopped |= unheard.is_some();
        }
    }
    bar.finish_and_clear();
    let shared = shared.take();
    if interrupted {
        summary.interrupted(shared.under_way.len().try_into().unwrap_or(u64::MAX));
    }
    if summary.total() > 0 || shared.bad_line.is_none() {
        report(&summary, json)?;
    }
    let again = "send the same file again, with the same options";
    // What may have happened comes before what is wrong with the file.
    match (summary.exit(), shared.bad_line, unheard) {
        (Exit::Unknown, ..) => Err(Failure::new(Exit::Unknown, format!("some outcomes are unknown: {again}"))),
        (_, Some(failure), _) => Err(failure),
        (_, None, Some(Failure { message, .. })) => {
            let why = if message.is_empty() { "nobody reads the outcomes any more" } else { &message };
            let message = format!("{why}: {} were settled and no more were sent; {again}", summary.settled());
            Err(Failure::new(Exit::Failed, message))
        }
        (exit, None, None) => Ok(exit),
    }
}

/// A file, or stdin for `-`.
async fn open(path: &Path) -> Result<Source, Failure> {
    if is_stdin(path) {
        let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Failure::io("cannot read stdin"))?;
        let lines = BufReader::new(File::from_std(stdin.into()));
        return Ok(Source { lines, name: "stdin".into(), bytes: None });
    }
    let name = path.display().to_string();
    let file = File::open(path).await.map_err(Failure::io(format_args!("cannot read {name}")))?;
    let bytes = file.metadata().await.ok().map(|metadata| metadata.len());
    Ok(Source { lines: BufReader::new(file), name, bytes })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn ids(path: &Path, many: &Many, sender: &Sender) -> Result<Ids, Failure> {
    let source = match (&many.source, path.file_name()) {
        (Some(source), _) => source.clone(),
        // Else all that ever comes through a pipe would share its ids: line 1 of today would be the one of yesterday.
        (None, _) if is_stdin(path) && many.id_from.is_some() => {
            return Err(Failure::usage(
                "ids derived from what comes through stdin need a --source that they belong to",
            ));
        }
        (None, name) => name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    Ok(Ids { from: many.id_from.clone(), principal: sender.principal.clone(), source })
}

/// The commands of a file, until it ends or a line is wrong.
fn commands<'a>(source: Source, ids: &'a Ids, shared: &'a RefCell<Shared>) -> impl Stream<Item = RawCommand> + 'a {
    stream::unfold((source, 0_u64), move |(mut source, mut number)| async move {
        loop {
            if shared.borrow().stopped {
                return None;
            }
            number += 1;
            let read = next_line(&mut source.lines).await;
            match read.and_then(|line| shared.borrow_mut().take_in(line.as_deref(), number, ids)) {
                Ok(Taken::End) => return None,
                Ok(Taken::Nothing) => {}
                Ok(Taken::Command(command)) => return Some((command, (source, number))),
                Err(Failure { exit, message }) => {
                    let message = format!("line {number} of {}: {message}", source.name);
                    shared.borrow_mut().bad_line = Some(Failure::new(exit, message));
                    return None;
                }
            }
        }
    })
}

/// What a line is.
enum Taken {
    Command(RawCommand),
    Nothing,
    End,
}

impl Shared {
    fn take_in(&mut self, line: Option<&str>, number: u64, ids: &Ids) -> Result<Taken, Failure> {
        let Some(line) = line else { return Ok(Taken::End) };
        self.bytes += line.len() as u64;
        let text = line.trim();
        if text.is_empty() {
            return Ok(Taken::Nothing);
        }
        let command = line::read(text, number, ids).map_err(Failure::usage)?;
        if let Some(before) = self.seen.other(number, &command) {
            let id = &command.id;
            return Err(Failure::usage(format!("id: line {before} has {id} for another command")));
        }
        self.under_way.insert(self.count, (number, command.id.clone()));
        self.count += 1;
        Ok(Taken::Command(command))
    }
}

/// The next line with its end, and never more of it than a command can have; `None`: there is no more.
async fn next_line(lines: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    let room = LINE_BYTES_MAX as u64 + 1;
    lines.take(room).read_until(b'\n', &mut line).await.map_err(Failure::io("cannot be read"))?;
    if LINE_BYTES_MAX < line.len() {
        return Err(Failure::usage(format!("longer than {LINE_BYTES_MAX} bytes")));
    }
    let line = String::from_utf8(line).map_err(|_| Failure::usage("not UTF-8"))?;
    Ok(Some(line).filter(|line| !line.is_empty()))
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
    if !json {
        return said(output::rows(Paint::for_stdout(), &summary.rows()));
    }
    for row in output::aligned(Paint::none(), &summary.rows()) {
        eprintln!("{row}");
    }
    Ok(())
}

/// A progress bar on stderr; it shows on a terminal only. What comes through a pipe has no length.
fn bytes_bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{wide_bar} {bytes}/{total_bytes}, {msg}, {eta} left"),
        None => (ProgressBar::no_length(), "{bytes}, {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is constant"))
}
