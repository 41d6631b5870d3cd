//! Does it stay fast? One store grows; at each size new commands are measured, several times in turn with an empty store,
//! and then a start. What is measured is recorded too, so a size is how many commands there were before its first run.

use super::figures::{Figure, Figures};
use super::measure::{Settings, observe, record, send_to_each, warm_up};
use super::report::Row;
use super::role::Role;
use super::workload::single;
use super::world::World;
use crate::bench::{Expect, Flow, Ids};
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
    let mut rows = Vec::new();
    for (ids, name) in [(Ids::V7, "v7"), (Ids::Random, "random")] {
        let mut empty = Row::new(format!("empty, {name}"), window, None);
        let named = |size| (size, Row::new(format!("growth, {name}, {}", amount(size)), window, Some("empty")));
        let mut grown: Vec<(u64, Row)> = sizes(recorded).into_iter().map(named).collect();
        let say = |text: &str| say(&format!("growth, {name} ids: {text}"));
        grow(settings, window, ids, runs, &mut empty, &mut grown, say).await?;
        rows.push(empty);
        rows.extend(grown.into_iter().map(|(_, row)| row));
    }
    Ok(rows)
}

async fn grow(
    settings: &Settings,
    window: usize,
    ids: Ids,
    runs: u32,
    empty: &mut Row,
    grown: &mut [(u64, Row)],
    say: impl Fn(&str),
) -> Result<(), Failure> {
    let flow = Flow { window, rate: settings.rate, time: Some(settings.time) };
    // On a broker of somebody else there is room for one world at a time.
    let beside = settings.place.server.is_none();
    let mut base = if beside { Figures::default() } else { measure_empty(settings, ids, flow).await? };
    let world = World::make(&settings.place).await?;
    let mut answering = world.answer(Role::Processor).await?;
    let mut source = single(ids);
    for (size, row) in grown {
        while source.taken() < *size {
            let step = STEP.min(*size - source.taken());
            record(&world, source.by_ref().take(usize::try_from(step).unwrap_or(usize::MAX))).await?;
            say(&format!("{} recorded", amount(source.taken())));
        }
        for run in 1..=runs {
            world.until_indexed().await?;
            if beside {
                base = measure_empty(settings, ids, flow).await?;
            }
            let mut figures =
                observe(&world, &answering, Role::Processor, source.by_ref(), flow, Expect::Accepted).await?;
            figures.compare(Figure::Compared, Figure::PerSecond, &base);
            figures.compare(Figure::P99Compared, Figure::P99, &base);
            say(&format!("run {run} of {runs}: {}, and empty {}", figures.short(), base.short()));
            row.runs.push(figures);
            empty.runs.push(base.clone());
        }
        answering.stop().await;
        let bytes = world.bytes()?;
        answering = world.answer(Role::Processor).await?;
        let last = row.runs.last_mut().expect("it runs once at least");
        last.set_bytes(bytes, source.taken());
        last.set(Figure::Start, answering.started_within.as_secs_f64());
    }
    answering.stop().await;
    world.end(&settings.place).await
}

/// New commands to a store that holds none.
async fn measure_empty(settings: &Settings, ids: Ids, flow: Flow) -> Result<Figures, Failure> {
    let world = World::make(&settings.place).await?;
    let answering = world.answer(Role::Processor).await?;
    let mut source = single(ids);
    send_to_each(&world, &mut source, Expect::Accepted).await?;
    warm_up(&world, source.by_ref(), flow, Expect::Accepted).await?;
    let mut figures = observe(&world, &answering, Role::Processor, source.by_ref(), flow, Expect::Accepted).await?;
    figures.set(Figure::Start, answering.started_within.as_secs_f64());
    answering.stop().await;
    figures.set_bytes(world.bytes()?, source.taken());
    world.end(&settings.place).await?;
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
