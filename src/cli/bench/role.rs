//! Who answers: this program itself, as a child that goes on until it is told to stop.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::aggregate::Service;
use crate::bench::{Entries, echo, usual};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::signals::Signals;
use crate::model::error::with_sources;
use crate::nats::ConnectOptions;
use crate::serve::{Feed, Notice, Settings, serve};

/// Bytes of the echo's replies: those of an outcome with one event that repeats a body of 256 bytes.
const REPLY_BYTES: usize = 512;

/// Messages that the usual way has on their way into its stream, where it does not go one after the other.
const PUBLISHING_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Role {
    /// The floor.
    Echo,
    /// What is measured.
    Processor,
    /// The same, with a feed.
    FedProcessor,
    /// The usual way.
    Usual,
    /// The usual way, of many messages at once.
    UsualPipelined,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Echo => "echo",
            Role::Processor => "processor",
            Role::FedProcessor => "fed-processor",
            Role::Usual => "usual",
            Role::UsualPipelined => "usual-pipelined",
        }
    }

    pub(super) fn is_processor(self) -> bool {
        matches!(self, Role::Processor | Role::FedProcessor)
    }

    /// The child's command line.
    pub(super) fn arguments(self, url: &str, data: &Path) -> Vec<std::ffi::OsString> {
        let mut arguments = ["bench", "--role", self.name(), "--server", url, "--data"].map(Into::into).to_vec();
        arguments.push(data.into());
        arguments
    }
}

/// Spawned, so that it runs on a worker beside its connections, as the processor's loop does on its own thread: the main
/// thread would have to be woken for each message.
async fn task<T: Send + 'static>(answering: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(answering).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Answers until it is told to stop, and says when it begins.
pub(super) async fn answer(role: Role, server: String, data: PathBuf) -> Result<Exit, Failure> {
    let stop = Signals::listen().map_err(Failure::io("cannot listen to signals"))?.into_token();
    let nats = ConnectOptions { servers: vec![server], ..ConnectOptions::default() };
    // Nobody reads on only if the measuring side has ended.
    let ready = || drop(output::line("ready"));
    let failed = |error: &dyn std::error::Error| Failure::new(Exit::Failed, with_sources(error));
    let answering = async {
        match role {
            Role::Echo => task(echo(nats, REPLY_BYTES, ready)).await,
            Role::Usual => task(usual(nats, 1, ready)).await,
            Role::UsualPipelined => task(usual(nats, PUBLISHING_MAX, ready)).await,
            Role::Processor | Role::FedProcessor => {
                let feed = if role == Role::FedProcessor { Feed::On } else { Feed::Off };
                let settings = Settings { nats, data, partitions: None, provision: true, take_over: false, feed };
                let notify = move |notice| match notice {
                    Notice::Ready => ready(),
                    Notice::IndexDoubted(_, why) => eprintln!("the index is built anew, since {why}"),
                    Notice::NoAuthentication | Notice::Created(_) | Notice::Rebuilding(..) => {}
                };
                // Told to stop, it answers what it took in and writes a checkpoint first.
                return serve(Service::new().with::<Entries>(), settings, stop.clone(), notify)
                    .await
                    .map_err(Failure::from);
            }
        }
        .map_err(|error| failed(&error))
    };
    match role {
        Role::Processor | Role::FedProcessor => answering.await?,
        // They have nothing to bring to an end.
        Role::Echo | Role::Usual | Role::UsualPipelined => tokio::select! {
            ended = answering => ended?,
            () = stop.cancelled() => {}
        },
    }
    Ok(Exit::Done)
}
