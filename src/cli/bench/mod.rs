//! `bench`: how fast the processor is on this machine: against the echo floor, against the usual way, and with
//! stores of several sizes, all in one run.
//!
//! * `workload`: what can be measured, and the order in which it is · `growth`: the one that fills stores first ·
//!   `replay`: the one that reads back
//! * `measure`: one measurement · `world`: the broker and the folder that it is made in · `role`: who answers
//! * `figures`, `report`: what came of it · `table`, `svg`: shown

mod role;
mod world;
mod workload;
mod figures;
mod measure;
mod growth;
mod replay;
mod report;
mod table;
mod svg;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, Failure};
use super::output;
use super::signals::Signals;
use crate::bench::is_in_memory;
use figures::Figure;
use growth::growth;
use measure::{Settings, measure};
use replay::replay;
use report::{Report, Row};
use role::{Role, answer};
use workload::{BODY_BYTES, WINDOW, Workload, is_chosen, plan};
use world::Place;

/// Commands that are recorded before all of them are sent again, if nothing is said.
const RETRIES: u64 = 1_000_000;

/// Runs, if nothing is said.
const RUNS: u32 = 3;

/// Measure this machine: throughput, latency and what it costs, against the echo floor, in one run
///
/// Starts a NATS server of its own, and then, in turn, a processor that only replies and acknowledges (the floor) and
/// the real one, fully durable. Client, server and processor share this machine, so that only the ratios mean something.
/// Nothing is left behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hapax bench --window 64,1024 --seconds 10
  hapax bench --workload retries,usual --svg bench.svg
  hapax bench --workload single --window 64 --rate 5000    # latency at a set rate")]
pub(super) struct Arguments {
    /// What is sent, several with commas between them
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "single")]
    workload: Vec<Workload>,

    /// Messages in flight, several with commas; growth takes the first, of batches there are always 16 [default:
    /// 1,64,1024,4096; fed, retries, hot, wide and growth: 1024]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=20_000))]
    window: Vec<u32>,

    /// How long each measurement takes, a day at most; retries take as long as there are recorded commands
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,

    /// How often everything is measured, in turn; the median counts [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,

    /// Messages a second, instead of as many as are answered; a latency then counts from when its message was due
    #[arg(long, value_name = "N", value_parser = rate, allow_negative_numbers = true)]
    rate: Option<f64>,

    /// Commands that are recorded before, by retries, growth and replay [default: 1000000, growth 10000000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    recorded: Option<u64>,

    /// Aggregates of the workload wide
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    aggregates: u64,

    /// A NATS server that runs already and that no processor uses; its streams are made and removed
    #[arg(long, value_name = "URL", value_parser = one_server)]
    server: Option<String>,

    /// Folder on the disk that is to be measured [default: the one for temporary files]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Print a JSON document instead of the table
    #[arg(long)]
    json: bool,

    /// Draw throughput and latencies into a file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// What a child of this command does
    #[arg(long, hide = true, requires = "server", requires = "data")]
    role: Option<Role>,
}

/// Reads the URL of one server. Of several, which one a connection is to would be up to chance, and streams are removed.
fn one_server(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(',') { Err("name one server".into()) } else { Ok(text.to_owned()) }
}

/// Reads a rate: from one in 100 s up to more than any machine sends.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=100_000_000.0).contains(rate));
    rate.ok_or_else(|| "a rate is a number from 0.01 to 100000000".into())
}

pub(super) async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    if let (Some(role), Some(server), Some(data)) = (arguments.role, &arguments.server, &arguments.data) {
        return answer(role, server.clone(), data.clone()).await;
    }
    let mut signals = Signals::listen().map_err(Failure::io("cannot listen to signals"))?;
    let folder = arguments.data.clone().unwrap_or_else(std::env::temp_dir);
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(Failure::usage(format!("--data: {folder} is no folder that is there: make it, or name another")));
    }
    let cannot_draw = |path: &Path| Failure::io(format!("--svg: cannot write {}", path.display()));
    if let Some(path) = &arguments.svg {
        // Looked at now, and not after all that work. A picture that is there stays until there is another.
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        opened.map_err(cannot_draw(path))?;
    }
    if is_in_memory(&folder) {
        let folder = folder.display();
        eprintln!("WARNING: {folder} is in memory, where an fsync costs nothing: name a folder on a disk with --data");
    }
    let place = Place { server: arguments.server.clone(), folder };
    place.must_be_free().await?;
    let measured = tokio::select! {
        measured = measure_all(&arguments, &place) => measured,
        // What was started is ended by being dropped.
        () = signals.next() => Err(Failure::new(Exit::Failed, "interrupted")),
    };
    let report = match measured {
        Ok(report) => report,
        Err(failure) => {
            let _ = place.clear().await; // The failure is what is told.
            return Err(failure);
        }
    };
    if arguments.json {
        output::line(serde_json::to_vec(&report).expect("its keys are texts and its numbers are numbers"))?;
    } else {
        table::table(&report).iter().try_for_each(output::line)?;
    }
    if let Some(path) = &arguments.svg {
        std::fs::write(path, svg::svg(&report)).map_err(cannot_draw(path))?;
    }
    Ok(Exit::Done)
}

async fn measure_all(arguments: &Arguments, place: &Place) -> Result<Report, Failure> {
    let settings = Settings {
        place: place.clone(),
        time: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        retries: arguments.recorded.unwrap_or(RETRIES),
        wide: arguments.aggregates,
    };
    let windows: Vec<usize> = arguments.window.iter().map(|window| *window as usize).collect();
    let mut rows = rows_of_plan(arguments, &settings, &windows).await?;
    if is_chosen(&arguments.workload, Workload::Growth) {
        let window = windows.first().copied().unwrap_or(WINDOW);
        let recorded = arguments.recorded.unwrap_or(growth::RECORDED);
        let say = |text: &str| eprintln!("{text}");
        rows.append(&mut growth(&settings, window, recorded, arguments.runs.unwrap_or(RUNS), say).await?);
    }
    if is_chosen(&arguments.workload, Workload::Replay) {
        let recorded = arguments.recorded.unwrap_or(replay::RECORDED);
        let say = |text: &str| eprintln!("{text}");
        rows.append(&mut replay(place, recorded, arguments.runs.unwrap_or(RUNS), say).await?);
    }
    let mut report = Report {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        os: std::env::consts::OS,
        body_bytes: BODY_BYTES,
        seconds: arguments.seconds,
        rate: arguments.rate,
        rows,
    };
    report.finish();
    Ok(report)
}

/// Each run measures everything once, so that what is compared lies side by side.
async fn rows_of_plan(arguments: &Arguments, settings: &Settings, windows: &[usize]) -> Result<Vec<Row>, Failure> {
    let plan = plan(&arguments.workload, windows);
    let mut rows: Vec<Vec<Row>> = Vec::new();
    for (window, cases) in &plan {
        let row = |case: &workload::Case| {
            Row::new(case.name().into(), case.window(*window), case.compared().map(workload::Case::name))
        };
        rows.push(cases.iter().map(row).collect());
    }
    let runs = arguments.runs.unwrap_or(RUNS);
    for run in 1..=runs {
        for ((window, cases), rows) in plan.iter().zip(&mut rows) {
            for (index, case) in cases.iter().enumerate() {
                let mut figures = measure(settings, *case, *window).await?;
                let shown = case.window(*window);
                eprintln!("run {run} of {runs}: {}, window {shown}: {}", case.name(), figures.short());
                let of_this_run = |other| {
                    let other = cases.iter().position(|case| *case == other).filter(|other| *other < index);
                    other.and_then(|other| rows[other].runs.last())
                };
                if let Some(floor) = of_this_run(workload::Case::Floor) {
                    figures.compare(Figure::OfFloor, Figure::PerSecond, floor);
                    figures.compare(Figure::P50OfFloor, Figure::P50, floor);
                }
                if let Some(compared) = case.compared().and_then(of_this_run) {
                    figures.compare(Figure::Compared, Figure::PerSecond, compared);
                    figures.compare(Figure::P99Compared, Figure::P99, compared);
                }
                rows[index].runs.push(figures);
            }
        }
    }
    Ok(rows.into_iter().flatten().collect())
}
