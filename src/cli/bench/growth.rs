//! Does it stay fast? For each size a store of its own is filled. Then new commands are measured several times, each time
//! by a processor that has just started, and in turn with an empty store. What is measured is recorded too, so a size is
//! how many commands there were before its first run.

use super::figures::{Figure, Figures};
use super::measure::{Settings, observe, peak, record, send_to_each, warm_up};
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
    for (ids, name) in [(Ids::V7, "v7"), (Ids::Random, "random")] {
        let mut empty = Row::new(format!("empty, {name}"), window, None);
        let mut grown = Vec::new();
        for size in sizes(recorded) {
            let name = format!("growth, {name}, {}", amount(size));
            let say = |text: &str| say(&format!("{name}: {text}"));
            let mut row = Row::new(name.clone(), window, Some("empty"));
            measure_size(settings, flow, (ids, size), runs, [&mut empty, &mut row], say).await?;
            grown.push(row);
        }
        rows.push(empty);
        rows.append(&mut grown);
    }
    Ok(rows)
}

/// Measures stores of one size, and as many empty ones.
async fn measure_size(
    settings: &Settings,
    flow: Flow,
    (ids, size): (Ids, u64),
    runs: u32,
    [empty, grown]: [&mut Row; 2],
    say: impl Fn(&str),
) -> Result<(), Failure> {
    // On a broker of somebody else there is room for one world at a time.
    let before = if settings.place.server.is_some() { Some(measure_empty(settings, flow, ids).await?) } else { None };
    let world = World::make(&settings.place).await?;
    let mut source = single(ids);
    let filling = fill(&world, &mut source, size, &say).await?;
    for run in 1..=runs {
        let base = match &before {
            Some(base) => base.clone(),
            None => measure_empty(settings, flow, ids).await?,
        };
        let mut figures = measure_from_start(&world, &mut source, flow).await?;
        figures.raise(Figure::Resident, filling);
        figures.compare(Figure::Compared, Figure::PerSecond, &base);
        figures.compare(Figure::P99Compared, Figure::P99, &base);
        say(&format!("run {run} of {runs}: {}, and empty {}", figures.short(), base.short()));
        grown.runs.push(figures);
        empty.runs.push(base);
    }
    world.end(&settings.place).await
}

/// Has so many commands recorded, and tells the most memory that it took, in MiB.
async fn fill(world: &World, source: &mut Source, size: u64, say: impl Fn(&str)) -> Result<Option<f64>, Failure> {
    let answering = world.answer(Role::Processor).await?;
    while source.taken() < size {
        let step = STEP.min(size - source.taken());
        record(world, source.by_ref().take(usize::try_from(step).unwrap_or(usize::MAX))).await?;
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
    let answering = world.answer(Role::Processor).await?;
    send_to_each(world, source, Expect::Accepted).await?;
    warm_up(world, source.by_ref(), flow, Expect::Accepted).await?;
    let mut figures = observe(world, &answering, Role::Processor, source.by_ref(), flow, Expect::Accepted).await?;
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
