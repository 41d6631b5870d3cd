//! Does it stay fast? For each size a store of its own is filled. Then new commands are measured several times, each time
//! by a processor that has just started, and in turn with an empty store. What is measured is recorded too, so a size is
//! how many commands there were before the first run; how many before each, its figures tell.

use super::figures::{Figure, Figures};
use super::measure::{Settings, count_of, observe, peak, record, send_to_each, warm_up};
use super::report::Row;
use super::role::Role;
use super::workload::single;
use super::world::World;
use crate::bench::{Expect, Flow, Ids, Source};
use crate::cli::exit::Failure;

/// Recorded commands that are measured at, apart from the last.
const SIZES: [u64; 2] = [100_000, 1_000_000];

/// Recorded commands if nothing is said.
pub(super) const RECORDED: u64 = 10_000_000;

/// After so many commands it says how far it is.
const STEP: u64 = 1_000_000;

/// Measures both kinds of ids, with up to so many recorded commands.
pub(super) async fn growth(
    settings: &Settings,
    window: usize,
    recorded: u64,
    runs: u32,
    say: impl Fn(&str),
) -> Result<Vec<Row>, Failure> {
    let flow = Flow { window, rate: settings.rate, time: Some(settings.time) };
    let mut rows = Vec::new();
    for (ids, kind, compared) in [(Ids::V7, "v7", "empty, v7"), (Ids::Random, "random", "empty, random")] {
        let mut empty = Row::new(compared.into(), window, None);
        let mut grown = Vec::new();
        for size in sizes(recorded) {
            let mut row = Row::new(format!("growth, {kind}, {}", amount(size)), window, Some(compared));
            let say = |text: &str| say(&format!("{}: {text}", row.workload));
            let its_runs = measure_size(settings, flow, ids, size, runs, say).await?;
            empty.runs.extend(its_runs.empty);
            row.runs = its_runs.grown;
            grown.push(row);
        }
        rows.push(empty);
        rows.append(&mut grown);
    }
    Ok(rows)
}

/// What came of one size, a run each.
#[derive(Default)]
struct Runs {
    empty: Vec<Figures>,
    grown: Vec<Figures>,
}

/// Measures a store of one size, and an empty one beside each run. On a broker of somebody else, where there is room for
/// one world at a time, the empty one is measured once, before.
async fn measure_size(
    settings: &Settings,
    flow: Flow,
    ids: Ids,
    size: u64,
    runs: u32,
    say: impl Fn(&str),
) -> Result<Runs, Failure> {
    let mut done = Runs::default();
    let is_beside = settings.place.server.is_none();
    if !is_beside {
        done.empty.push(measure_empty(settings, flow, ids).await?);
    }
    let world = World::make(&settings.place).await?;
    let mut source = single(ids);
    let filling = fill(&world, &mut source, size, &say).await?;
    for run in 1..=runs {
        if is_beside {
            done.empty.push(measure_empty(settings, flow, ids).await?);
        }
        let base = done.empty.last().expect("it was measured before");
        let mut figures = measure_from_start(&world, &mut source, flow).await?;
        figures.raise(Figure::Resident, filling);
        figures.compare(Figure::Compared, Figure::PerSecond, base);
        figures.compare(Figure::P99Compared, Figure::P99, base);
        say(&format!("run {run} of {runs}: {}, and empty {}", figures.short(), base.short()));
        done.grown.push(figures);
    }
    world.end(&settings.place).await?;
    Ok(done)
}

/// Has so many commands recorded, and tells the most memory that it took, in MiB.
async fn fill(world: &World, source: &mut Source, size: u64, say: impl Fn(&str)) -> Result<Option<f64>, Failure> {
    let answering = world.answer(Role::Processor).await?;
    while source.taken() < size {
        let step = STEP.min(size - source.taken());
        record(world, source.by_ref().take(count_of(step))).await?;
        say(&format!("{} recorded", amount(source.taken())));
    }
    world.until_indexed().await?;
    let peak = peak(&answering);
    answering.stop().await;
    Ok(peak)
}

/// New commands to a store that holds none.
async fn measure_empty(settings: &Settings, flow: Flow, ids: Ids) -> Result<Figures, Failure> {
    let world = World::make(&settings.place).await?;
    let figures = measure_from_start(&world, &mut single(ids), flow).await?;
    world.end(&settings.place).await?;
    Ok(figures)
}

/// New commands to a processor that has just started, after those that it gets to know its aggregates by.
async fn measure_from_start(world: &World, source: &mut Source, flow: Flow) -> Result<Figures, Failure> {
    let recorded_before = source.taken();
    let answering = world.answer(Role::Processor).await?;
    send_to_each(world, source, Expect::Accepted).await?;
    warm_up(world, source.by_ref(), flow, Expect::Accepted).await?;
    let mut figures = observe(world, &answering, Role::Processor, source.by_ref(), flow, Expect::Accepted).await?;
    figures.set(Figure::Recorded, recorded_before as f64);
    figures.set(Figure::Start, answering.started_within.as_secs_f64());
    answering.stop().await;
    figures.set_bytes(world.bytes()?, source.taken());
    Ok(figures)
}

fn sizes(recorded: u64) -> Vec<u64> {
    SIZES.into_iter().filter(|size| *size < recorded).chain([recorded]).collect()
}

/// 100k, 10M, 1234.
fn amount(commands: u64) -> String {
    match commands {
        _ if commands > 0 && commands.is_multiple_of(1_000_000) => format!("{}M", commands / 1_000_000),
        _ if commands > 0 && commands.is_multiple_of(1_000) => format!("{}k", commands / 1_000),
        _ => commands.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_end_with_what_is_asked_for() {
        assert_eq!(sizes(RECORDED), [100_000, 1_000_000, 10_000_000]);
        assert_eq!(sizes(1_000_000), [100_000, 1_000_000]);
        assert_eq!(sizes(500), [500]);
    }

    #[test]
    fn amounts_are_short() {
        assert_eq!([100_000, 10_000_000, 1_234, 0].map(amount), ["100k", "10M", "1234", "0"]);
    }
}
