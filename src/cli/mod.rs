//! The command line: everything about a service that is done from a terminal, by one call from its `main`.
//!
//! Results go to stdout, all else to stderr; with `--json` a result is one JSON document a line. How it ends is told by
//! the exit code; see `--help`.
//!
//! * [`run`]: from arguments to an exit code
//! * `exit`: the exit codes, and which error has which
//! * `connection`: which server, and as whom
//! * `output`: what people read · `bars`: how far it is · `signals`: being told to stop
//! * `journal`: what is read of a data directory
//! * one file for each subcommand

mod exit;
mod connection;
mod output;
mod bars;
mod signals;
mod journal;
mod dev;
mod serve;
mod send;
mod send_file;
mod outcome;
mod batch;
mod void;
mod point;
mod state;
mod replay;
mod project;
mod ask;
mod why;
mod again;
mod feed;
mod verify;
mod restore;
mod export;
mod import;
mod health;
mod quarantine;
mod bench;
// What the tests of this module compare is compared as in all other tests.
#[cfg(test)]
#[path = "../../tests/common/shown.rs"]
#[allow(unreachable_pub, reason = "pub for the test binaries that have it in `common`")]
mod shown;

use std::io;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

use crate::aggregate::Service;
use crate::index::checkpoint::INDEX_FORMAT;
use crate::model::WIRE_FORMAT;
use crate::projection::{Definition, PROJECTION_FORMAT, Projection};
use crate::replay::export::EXPORT_FORMAT;
use crate::serve::data_dir::DATA_FORMAT;
use crate::store::file::FORMAT as JOURNAL_FORMAT;
use exit::{EXIT_CODES, Exit, Failure};

/// How long what is left in the background may take once all is said.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\njournal format {JOURNAL_FORMAT}\nindex format {INDEX_FORMAT}\ndata directory format {DATA_FORMAT}\n\
         export format {EXPORT_FORMAT}\nprojection format {PROJECTION_FORMAT}\nwire contract {WIRE_FORMAT}",
        env!("CARGO_PKG_VERSION")
    )
});

static NAME: LazyLock<String> = LazyLock::new(|| match program() {
    own if own != "hapax" => format!("{own}, with hapax"),
    ours => ours,
});

/// Commands that are decided at most once, for ever: run the processor, send commands, read back what happened
#[derive(Debug, Parser)]
#[command(name = "hapax", version, long_version = VERSION.as_str(), after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Arguments),
    Serve(serve::Arguments),
    Send(Box<send::Arguments>),
    Outcome(outcome::Arguments),
    Void(void::Arguments),
    State(state::Arguments),
    Replay(replay::Arguments),
    Project(project::Arguments),
    Ask(ask::Arguments),
    Why(why::Arguments),
    Verify(Box<verify::Arguments>),
    Restore(restore::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Health(health::Arguments),
    Quarantine(quarantine::Arguments),
    Bench(bench::Arguments),
    /// Print a script that completes this command line in a shell
    #[command(after_help = "Example:\n  hapax completions bash > ~/.local/share/bash-completion/completions/hapax")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What a program is about: the aggregates that it serves, and the projections that it folds.
///
/// ```
/// use hapax::Service;
/// use hapax::cli::Program;
/// use hapax::samples::{Account, Balances};
/// let program = Program::from(Service::new().with::<Account>()).with::<Balances>();
/// ```
#[derive(Debug)]
pub struct Program {
    service: Service,
    projections: Vec<Definition>,
}

impl From<Service> for Program {
    fn from(service: Service) -> Program {
        Program { service, projections: Vec::new() }
    }
}

impl Program {
    /// Folds one more projection, if `hapax project` names it.
    ///
    /// # Panics
    /// If its name is no token of a subject or taken, which its author must know before production does.
    #[must_use]
    pub fn with<P: Projection>(mut self) -> Program {
        let added = Definition::of::<P>();
        let is_taken = self.projections.iter().any(|known| known.name() == added.name());
        assert!(!is_taken, "two projections have the name {}", added.name());
        self.projections.push(added);
        self
    }
}

/// Runs the command line of a program and says how it ended. Call it from `main` and return what it returns: it reads
/// the arguments, makes a runtime, logs to stderr (`RUST_LOG`), and handles ctrl-c and SIGTERM.
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     hapax::cli::run(hapax::samples::service()) // Yours has your own aggregates.
/// }
/// ```
pub fn run(program: impl Into<Program>) -> ExitCode {
    // A service has a program of its own, and its version is not ours.
    let command = Arguments::command().display_name(NAME.as_str());
    let parsed = command.try_get_matches().and_then(|found| Arguments::from_arg_matches(&found));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print(); // If stderr is gone, nobody wants to know.
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    log(&arguments.command);
    let runtime = match Builder::new_multi_thread().worker_threads(workers()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(Failure::io("cannot start")(error))),
    };
    let ended = runtime.block_on(dispatch(arguments.command, program.into()));
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    end(ended)
}

/// Half of the cores, for the feed, questions and what sends; the other half is for the partitions, which decide on threads
/// of their own, and for the journal, the index and the broker. A hop from one worker to another costs more than it gains.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

async fn dispatch(command: Command, Program { service, projections }: Program) -> Result<Exit, Failure> {
    match command {
        Command::Dev(arguments) => dev::run(arguments, &service).await,
        Command::Serve(arguments) => serve::run(arguments, service).await,
        Command::Send(arguments) => send::run(*arguments).await,
        Command::Outcome(arguments) => outcome::run(arguments).await,
        Command::Void(arguments) => void::run(arguments).await,
        Command::State(arguments) => state::run(arguments, &service).await,
        Command::Replay(arguments) => replay::run(arguments).await,
        Command::Project(arguments) => project::run(arguments, projections).await,
        Command::Ask(arguments) => ask::run(arguments).await,
        Command::Why(arguments) => why::run(&arguments, &service),
        Command::Verify(arguments) => verify::run(*arguments, service).await,
        Command::Export(arguments) => export::run(&arguments, service),
        Command::Import(arguments) => import::run(&arguments),
        Command::Restore(arguments) => restore::run(arguments).await,
        Command::Health(arguments) => health::run(arguments).await,
        Command::Quarantine(arguments) => quarantine::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), program(), &mut script);
            output::line(script)?;
            Ok(Exit::Done)
        }
    }
}

fn end(ended: Result<Exit, Failure>) -> ExitCode {
    match ended {
        Ok(exit) => exit.into(),
        Err(Failure { exit, message }) => {
            if !message.is_empty() {
                eprintln!("error: {message}");
            }
            exit.into()
        }
    }
}

/// A processor tells what it does, and a projection what hinders it. The others say what is to be said themselves, unless
/// `RUST_LOG` asks for more.
fn log(command: &Command) {
    let (default, json) = match command {
        Command::Serve(arguments) => ("warn,hapax=info", arguments.logs_json()),
        Command::Project(_) => ("warn", false),
        _ => ("off", false),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = if json {
        subscriber.json().try_init()
    } else {
        let colours = io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
        subscriber.with_ansi(colours).try_init()
    };
    // The service's `main` may have made a subscriber of its own; then that one is used.
    let _ = installed;
}

/// The name that this program was called by, for hints that can be pasted.
fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from);
    path.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())).unwrap_or_else(|| "hapax".into())
}
