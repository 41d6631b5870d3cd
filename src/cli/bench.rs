//! `bench`: how fast the processor is, as a share of the echo floor, on this machine and in this run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::dev::child::Child;
use super::dev::{free_port, nats_server, wait_until_it_listens};
use super::exit::{Exit, Failure};
use super::output;
use super::signals::Signals;
use crate::aggregate::Service;
use crate::bench::{Entries, Load, Measured, echo, load};
use crate::model::error::with_sources;
use crate::nats::{ConnectOptions, connect};
use crate::serve::{Notice, Settings, serve};

/// Bytes of the echo's replies: those of an outcome with one event that repeats a body of 256 bytes.
const REPLY_BYTES: usize = 512;

/// Measure this machine: commands a second against the echo floor, in one run
///
/// Starts a NATS server of its own, and then, in turn, a processor that only replies and acknowledges (the floor) and
/// the real one, fully durable. Client, server and processor share this machine, so that only the ratio means something.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hapax bench --window 1024 --runs 3")]
pub(super) struct Arguments {
    /// Commands in flight
    #[arg(long, default_value_t = 1024)]
    window: usize,

    /// How long each measurement takes
    #[arg(long, default_value_t = 5)]
    seconds: u64,

    /// Pairs of measurements; the median of their ratios counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// What a child of this command does
    #[arg(long, hide = true, requires = "server", requires = "data")]
    role: Option<Role>,
    #[arg(long, hide = true)]
    server: Option<String>,
    #[arg(long, hide = true)]
    data: Option<PathBuf>,
}

/// Who answers.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    Echo,
    Processor,
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    if let (Some(role), Some(server), Some(data)) = (arguments.role, arguments.server, arguments.data) {
        return answer(role, server, data).await;
    }
    let workload = Load {
        window: arguments.window,
        time: Duration::from_secs(arguments.seconds),
        aggregates: 10_000,
        body_bytes: 256,
    };
    output::line(format!(
        "window {}, bodies of {} bytes, {} aggregates",
        workload.window, workload.body_bytes, workload.aggregates
    ))?;
    output::line("run     floor/s  hapax/s   share  floor p50/p99 ms  hapax p50/p99 ms")?;
    let mut shares = Vec::new();
    for number in 1..=arguments.runs {
        let floor = measure(Role::Echo, workload).await?;
        let hapax = measure(Role::Processor, workload).await?;
        let share = hapax.per_second / floor.per_second;
        shares.push(share);
        output::line(format!(
            "{number:<5} {:>9.0} {:>8.0} {share:>7.2} {:>17} {:>17}",
            floor.per_second,
            hapax.per_second,
            latencies(floor),
            latencies(hapax)
        ))?;
    }
    shares.sort_by(f64::total_cmp);
    output::line(format!("median share of the floor: {:.2}", shares[shares.len() / 2]))?;
    Ok(Exit::Done)
}

fn latencies(measured: Measured) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    format!("{:.2} / {:.2}", ms(measured.p50), ms(measured.p99))
}

/// One measurement in an empty world of its own.
async fn measure(role: Role, workload: Load) -> Result<Measured, Failure> {
    let folder = std::env::temp_dir().join(format!("hapax-bench-{}", Uuid::now_v7()));
    let measured = measure_in(&folder, role, workload).await;
    // What is left behind in the temporary folder harms nobody.
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

async fn measure_in(folder: &Path, role: Role, workload: Load) -> Result<Measured, Failure> {
    let broker = folder.join("nats");
    std::fs::create_dir_all(&broker).map_err(Failure::io(format_args!("cannot make {}", broker.display())))?;
    let port = free_port(0)?;
    let mut server = Child::start("nats-server", &mut nats_server::command(&nats_server::find()?, port, &broker))?;
    wait_until_it_listens(&mut server, port).await?;
    let url = format!("nats://127.0.0.1:{port}");
    let mut answering = start(role, &url, &folder.join("data")).await?;
    let client = client(&url).await?;
    let measured = load(&client, workload).await;
    answering.stop().await;
    server.stop().await;
    measured.map_err(|error| Failure::new(Exit::Failed, with_sources(&error)))
}

/// The same program in another process, when it is ready.
async fn start(role: Role, url: &str, data: &Path) -> Result<Child, Failure> {
    let program = std::env::current_exe().map_err(Failure::io("cannot find this program"))?;
    let mut command = Command::new(program);
    let name = role.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    command.args(["bench", "--role", &name, "--server", url, "--data"]).arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Child::start("the answering side", &mut command)?;
    let ready = match child.process.stdout.take() {
        Some(stdout) => BufReader::new(stdout).lines().next_line().await.ok().flatten(),
        None => None,
    };
    ready.map(|_| child).ok_or_else(|| Failure::new(Exit::Failed, "the answering side has ended".to_owned()))
}

async fn client(url: &str) -> Result<async_nats::Client, Failure> {
    let options = ConnectOptions { servers: vec![url.to_owned()], ..ConnectOptions::default() };
    connect(&options).await.map_err(|error| Failure::new(Exit::Unreachable, with_sources(&error)))
}

/// Answers until it is told to stop.
async fn answer(role: Role, server: String, data: PathBuf) -> Result<Exit, Failure> {
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let failed = |error: &dyn std::error::Error| Failure::new(Exit::Failed, with_sources(error));
    // Nobody reads on only if the measuring side has ended.
    let ready = || drop(output::line("ready"));
    match role {
        Role::Echo => {
            let options = ConnectOptions { servers: vec![server], ..ConnectOptions::default() };
            tokio::select! {
                ended = echo(options, REPLY_BYTES, ready) => ended.map_err(|error| failed(&error))?,
                () = signals.next() => {}
            }
        }
        Role::Processor => {
            let nats = ConnectOptions { servers: vec![server], ..ConnectOptions::default() };
            let settings = Settings { nats, data, partitions: None, provision: true, take_over: false };
            let stop = CancellationToken::new();
            let notify = move |notice| {
                if let Notice::Ready = notice {
                    ready();
                }
            };
            let serving = serve(Service::new().with::<Entries>(), settings, stop.clone(), notify);
            let stopping = async {
                signals.next().await;
                stop.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                ended = serving => ended.map_err(|error| failed(&error))?,
                () = stopping => {}
            }
        }
    }
    Ok(Exit::Done)
}
