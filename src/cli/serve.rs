//! `serve`: the processor.

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::bars::IndexBars;
use super::connection::Connection;
use super::exit::{Exit, Failure};
use super::output;
use super::signals::Signals;
use crate::aggregate::Service;
use crate::serve::{DataDir, Feed, Notice, Settings, serve};

/// Run the processor: takes commands from NATS, decides each once, answers
///
/// The data directory is the only truth; keep it on a local disk. SIGTERM and ctrl-c answer what was taken in and stop,
/// a second ctrl-c ends at once, which loses nothing either. A server that cannot be reached yet is waited for.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax serve --server nats://127.0.0.1:4222 --data /var/lib/hapax")]
pub(super) struct Arguments {
    /// The data directory; made if it does not exist
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Number of partitions, fixed for ever when the store is made [default: 1]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=999))]
    partitions: Option<u32>,

    /// Only check streams and consumers, create none
    #[arg(long)]
    no_provision: bool,

    /// Take the consumers over from another store, or from a processor that is known to be dead
    #[arg(long)]
    take_over: bool,

    /// Whether every commit is copied to the streams EVENTS_<p>, for those who read events
    #[arg(long, value_name = "HOW", default_value = "on")]
    feed: FeedChoice,

    /// Form of the log on stderr
    #[arg(long, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,

    /// Stop when stdin ends, which it does when the process at its other end is gone, however it ended
    #[arg(long, hide = true)]
    until_stdin_ends: bool,

    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FeedChoice {
    /// It is; a stream that is lost is refused
    On,
    /// It is not
    Off,
    /// It is, and a stream that is lost is made again from the first commit: only if the data is no older copy of itself
    Anew,
}

impl From<FeedChoice> for Feed {
    fn from(choice: FeedChoice) -> Feed {
        match choice {
            FeedChoice::On => Feed::On,
            FeedChoice::Off => Feed::Off,
            FeedChoice::Anew => Feed::Anew,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Arguments {
    pub(super) fn logs_json(&self) -> bool {
        self.log_format == LogFormat::Json
    }
}

pub(super) async fn run(arguments: Arguments, service: Service) -> Result<Exit, Failure> {
    let mut nats = arguments.connection.options()?;
    nats.wait_for_server = true;
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        eprintln!("stopping: what was taken in is answered first; once more ends at once");
        told.cancel();
        signals.next().await;
        // Nothing is lost by this: what was not answered is delivered again.
        std::process::exit(Exit::Failed as i32);
    });
    if arguments.until_stdin_ends {
        let told = stop.clone();
        // A thread, which nobody waits for: an end of the process does not wait for stdin.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink()); // An error is an end too.
            told.cancel();
        });
    }
    let data = DataDir::open_or_create(&arguments.data, arguments.partitions)?;
    let ready = format!("ready: store {}, {} partition(s)", data.store(), data.partitions());
    let settings = Settings {
        nats,
        data: arguments.data,
        partitions: arguments.partitions,
        provision: !arguments.no_provision,
        take_over: arguments.take_over,
        feed: arguments.feed.into(),
    };
    let bars = IndexBars::default();
    serve(service, settings, stop, move |notice| tell(notice, &ready, &bars)).await?;
    Ok(Exit::Done)
}

fn tell(notice: Notice, ready: &str, bars: &IndexBars) {
    match notice {
        Notice::NoAuthentication => eprintln!(
            "WARNING: this NATS server does not authenticate its clients. Whoever reaches it may send commands in\n\
             WARNING: the name of any principal, and read and change its streams. Do not expose it."
        ),
        Notice::Created(names) => eprintln!("created on the server: {}", names.join(", ")),
        Notice::IndexDoubted(partition, why) => {
            eprintln!("partition {partition}: the index is built anew from the store, since {why}");
        }
        Notice::Rebuilding(partition, progress) => bars.show(partition, progress),
        Notice::Ready => {
            let _ = output::line(ready); // It serves also when nobody reads that.
        }
    }
}
