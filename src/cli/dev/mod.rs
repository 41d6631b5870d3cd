//! `dev`: everything on this machine, for a try: a nats-server and a processor as children, on the loopback.
//!
//! They are in process groups of their own, so that ctrl-c reaches only us: the processor must have answered what it
//! took in before its server goes. If we are killed, the processor sees its stdin end and stops; the server goes on, and
//! holds a lock that names it to the next `dev`.

pub(super) mod nats_server;
pub(super) mod child;
mod processor;
mod lock;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::net::TcpStream;

use super::exit::{Exit, Failure};
use super::output;
use super::program;
use super::serve::FeedChoice;
use super::signals::Signals;
use crate::aggregate::Service;
use child::{Child, how};
use lock::FolderLock;
use processor::Processor;

/// How long the server may take until it listens.
const SERVER_START_MAX: Duration = Duration::from_secs(20);

/// How often we look whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Start a NATS server and a processor on this machine, for a try
///
/// Everything stays under the data directory, so that a second start goes on where the first stopped. A processor that
/// is killed is started again. Ctrl-c stops everything.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  hapax dev
  hapax send account/42 open '{\"owner\":\"ann\"}'    # in another terminal")]
pub(super) struct Arguments {
    /// The data directory; made if it does not exist
    #[arg(long, value_name = "DIR", default_value = "./hapax-data")]
    data: PathBuf,

    /// Where the NATS server listens, on the loopback; 0 takes a free port
    #[arg(long, default_value_t = 4222)]
    port: u16,

    /// Whether every commit is copied to the streams EVENTS_<p>, for those who read events
    #[arg(long, value_name = "HOW", default_value = "on")]
    feed: FeedChoice,
}

pub(super) async fn run(arguments: Arguments, service: &Service) -> Result<Exit, Failure> {
    let Arguments { data, port, feed } = arguments;
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let program = nats_server::find()?;
    let port = free_port(port)?;
    let folder = data.join("nats");
    std::fs::create_dir_all(&folder).map_err(Failure::io(format_args!("cannot make {}", folder.display())))?;
    let lock = FolderLock::take(&folder)?;
    let mut command = nats_server::command(&program, port, &folder);
    let mut server = Child::start("nats-server", command.stdin(lock.stdin()?))?;
    drop(command); // It has the lock too.
    lock.hand_over(server.pid())?;
    let mut processor = None;
    let ended = tokio::select! {
        failure = keep_running(&mut server, &mut processor, port, &data, feed, service) => Err(failure),
        () = signals.next() => Ok(Exit::Done),
    };
    eprintln!("stopping");
    let stopping = async {
        // The processor first: what it took in is answered over this server.
        if let Some(Processor { child, .. }) = &mut processor {
            child.stop().await;
        }
        server.stop().await;
    };
    tokio::select! {
        () = stopping => {}
        // Told once more: both are killed when they are dropped.
        () = signals.next() => {}
    }
    ended
}

/// Runs until something goes wrong.
async fn keep_running(
    server: &mut Child,
    processor: &mut Option<Processor>,
    port: u16,
    data: &Path,
    mut feed: FeedChoice,
    service: &Service,
) -> Failure {
    let url = format!("nats://127.0.0.1:{port}");
    let running = async {
        output::line(format!("nats-server pid {} at {url}, log in {}", server.pid(), data.join("nats/log").display()))?;
        wait_until_it_listens(server, port).await?;
        let mut hints = Some(hints(service, port));
        loop {
            let processor = processor.insert(Processor::start(&url, data, feed)?);
            if feed == FeedChoice::Anew {
                feed = FeedChoice::On; // It was said about the stream that is lost now.
            }
            output::line(format!("processor pid {}", processor.child.pid()))?;
            let end = tokio::select! {
                end = processor.run(&mut hints) => end?,
                status = server.wait() => return Err(server_ended(&how(status))),
            };
            if !end.worth_another_start() {
                return Err(Failure::new(end.exit(), format!("processor ended ({})", how(end.status))));
            }
            eprintln!("processor ended ({}), starting it again", how(end.status));
        }
    };
    let ended: Result<std::convert::Infallible, Failure> = running.await;
    match ended {
        Err(failure) => failure,
        Ok(never) => match never {},
    }
}

pub(super) async fn wait_until_it_listens(server: &mut Child, port: u16) -> Result<(), Failure> {
    let listens = async {
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = listens => Ok(()),
        status = server.wait() => Err(server_ended(&how(status))),
        () = tokio::time::sleep(SERVER_START_MAX) => {
            Err(Failure::new(Exit::Failed, format!("nats-server does not listen after {} s", SERVER_START_MAX.as_secs())))
        }
    }
}

fn server_ended(how: &str) -> Failure {
    Failure::new(Exit::Failed, format!("nats-server ended ({how}); its log says why"))
}

/// A port of the loopback that nobody listens on. Between now and the server's start somebody may take it, and then the
/// server ends.
pub(super) fn free_port(wanted: u16) -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => Failure::new(
            Exit::Failed,
            format!("port {wanted} is in use, perhaps by another nats-server: stop that one, or take another --port"),
        ),
        _ => Failure::io(format_args!("cannot listen on port {wanted}"))(error),
    })?;
    let address = listener.local_addr().map_err(Failure::io("cannot find a free port"))?;
    Ok(address.port())
}

/// Three lines to paste into another terminal.
fn hints(service: &Service, port: u16) -> String {
    let server = if port == 4222 { String::new() } else { format!(" --server nats://127.0.0.1:{port}") };
    let program = program();
    let of_kind = |kind| service.commands(kind).map(move |name| (kind, name));
    let known: Vec<_> = service.types().flat_map(of_kind).collect();
    let Some(&(kind, name)) = known.iter().find(|known| **known == ("account", "open")).or(known.first()) else {
        return "\nCtrl-c stops everything.\n".into(); // There is nothing to be sent.
    };
    let aggregate = format!("{kind}/42");
    // Of others than our sample only the names are known. A field that is missing is named by the refusal.
    let fields = if (kind, name) == ("account", "open") { r#"{"owner":"ann"}"# } else { "{}" };
    let command = format!("{name} '{fields}'");
    format!(
        "\nIn another terminal:\n\n  \
         {program} send {aggregate} {command} --id my-first-command{server}\n  \
         {program} send {aggregate} {command} --id my-first-command{server}    # again: the same outcome\n  \
         {program} state {aggregate}{server}\n\n\
         Ctrl-c stops everything.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Order, service};

    #[test]
    fn hints_name_commands_that_there_are() {
        let first = |service: &Service| {
            let hints = hints(service, 4222);
            let (_, command) = hints.split_once(" send ").unwrap_or_default();
            command.lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(first(&service()), r#"account/42 open '{"owner":"ann"}' --id my-first-command"#);
        assert_eq!(first(&Service::new().with::<Order>()), "order/42 place '{}' --id my-first-command");
        assert_eq!(first(&Service::new()), "");
    }
}
