//! One measurement: an empty world, what must be recorded before, a moment to warm up, and then the clock runs. What the
//! first command to an aggregate costs is not in it: only that one is looked up.

use std::time::Duration;

use super::figures::{Figure, Figures};
use super::role::Role;
use super::workload::Case;
use super::world::{Answering, Place, World};
use crate::bench::{Expect, Flow, Message, Source, cpu_time, load, resident_peak};
use crate::cli::exit::{Exit, Failure};
use crate::model::error::with_sources;

/// How long commands are sent before the clock runs: connections, caches and files are new.
const WARM_UP: Duration = Duration::from_millis(500);

/// Messages in flight while something is recorded that is not measured.
const RECORDING_WINDOW: usize = 1_024;

/// Copies of a command that come sooner may be absorbed by the stream, and get no answer.
const COPIES_APART: Duration = Duration::from_millis(500);

const MIB: f64 = 1_048_576.0;

/// What all measurements of one call have in common.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) place: Place,
    /// How long the clock runs.
    pub(super) time: Duration,
    /// Messages a second, if it is set.
    pub(super) rate: Option<f64>,
    /// Commands that are recorded before all of them are sent again.
    pub(super) retries: u64,
    /// Aggregates of the workload `wide`.
    pub(super) wide: u64,
}

/// Measures one case in a world of its own.
pub(super) async fn measure(settings: &Settings, case: Case, window: usize) -> Result<Figures, Failure> {
    let world = World::make(&settings.place).await?;
    let answering = world.answer(case.role()).await?;
    let flow = |time| Flow { window: case.window(window), rate: settings.rate, time };
    let mut source = case.source(settings.wide);
    let mut figures = match case {
        Case::Retries => {
            record(&world, source.by_ref().take(count_of(settings.retries))).await?;
            world.until_indexed().await?;
            tokio::time::sleep(COPIES_APART).await;
            let again = source.again().take(count_of(settings.retries));
            observe(&world, &answering, case.role(), again, flow(None), case.expect()).await?
        }
        _ => {
            send_to_each(&world, &mut source, case.expect()).await?;
            if case == Case::Wide {
                source.scatter();
                world.until_indexed().await?;
            }
            warm_up(&world, source.by_ref(), flow(None), case.expect()).await?;
            observe(&world, &answering, case.role(), source.by_ref(), flow(Some(settings.time)), case.expect()).await?
        }
    };
    answering.stop().await; // With a checkpoint, so that the index is written.
    if case.role().is_processor() {
        figures.set_bytes(world.bytes()?, source.taken());
    }
    world.end(&settings.place).await?;
    Ok(figures)
}

/// A number of messages, as an iterator counts them.
pub(super) fn count_of(messages: u64) -> usize {
    usize::try_from(messages).unwrap_or(usize::MAX)
}

/// Has commands recorded, unmeasured.
pub(super) async fn record(world: &World, messages: impl Iterator<Item = Message>) -> Result<(), Failure> {
    let flow = Flow { window: RECORDING_WINDOW, rate: None, time: None };
    send(world, messages, flow, Expect::Accepted).await.map(drop)
}

/// Sends one command to each aggregate, unmeasured.
pub(super) async fn send_to_each(world: &World, source: &mut Source, expect: Expect) -> Result<(), Failure> {
    let flow = Flow { window: RECORDING_WINDOW, rate: None, time: None };
    let messages = count_of(source.messages_to_each());
    send(world, source.by_ref().take(messages), flow, expect).await.map(drop)
}

/// Sends as it will be measured, for a moment.
pub(super) async fn warm_up(
    world: &World,
    messages: impl Iterator<Item = Message>,
    flow: Flow,
    expect: Expect,
) -> Result<(), Failure> {
    send(world, messages, Flow { time: Some(WARM_UP), ..flow }, expect).await.map(drop)
}

async fn send(
    world: &World,
    messages: impl Iterator<Item = Message>,
    flow: Flow,
    expect: Expect,
) -> Result<crate::bench::Measured, Failure> {
    let sent = load(&world.client, messages, flow, expect).await;
    sent.map_err(|error| Failure::new(Exit::Failed, with_sources(&error)))
}

/// CPU time so far.
struct Taken {
    client: Option<Duration>,
    broker: Option<Duration>,
    answering: Option<Duration>,
}

impl Taken {
    fn so_far(world: &World, answering: &Answering) -> Taken {
        Taken {
            client: cpu_time(std::process::id()),
            broker: world.broker_pid().and_then(cpu_time),
            answering: cpu_time(answering.pid()),
        }
    }
}

/// Sends messages while the clock runs, and looks at everybody before and after.
pub(super) async fn observe(
    world: &World,
    answering: &Answering,
    role: Role,
    messages: impl Iterator<Item = Message>,
    flow: Flow,
    expect: Expect,
) -> Result<Figures, Failure> {
    let is_processor = role.is_processor();
    if is_processor {
        world.until_indexed().await?; // What came before is not to be paid for now.
    }
    let syncs_before = if is_processor { world.health().await?.syncs } else { 0 };
    let before = Taken::so_far(world, answering);
    let measured = send(world, messages, flow, expect).await?;
    let mut after = Taken::so_far(world, answering);
    let mut figures = Figures::default();
    figures.set(Figure::PerSecond, measured.per_second());
    for (figure, share) in [(Figure::P50, 0.5), (Figure::P99, 0.99), (Figure::P999, 0.999)] {
        figures.set(figure, measured.latency_ms(share));
    }
    if is_processor {
        // Retries need none, and then this is no number.
        let health = world.health().await?;
        figures.set(Figure::PerSync, measured.commands as f64 / (health.syncs - syncs_before) as f64);
        figures.set(Figure::Behind, health.unindexed as f64);
        world.until_indexed().await?;
        after.answering = cpu_time(answering.pid()); // With the index of all that was answered.
    }
    let millions = measured.commands as f64 / 1_000_000.0;
    for (figure, before, after) in [
        (Figure::ClientCpu, before.client, after.client),
        (Figure::BrokerCpu, before.broker, after.broker),
        (Figure::ProcessorCpu, before.answering, after.answering),
    ] {
        let taken = before.zip(after).map(|(before, after)| after.saturating_sub(before).as_secs_f64() / millions);
        figures.set(figure, taken);
    }
    figures.set(Figure::Resident, peak(answering));
    Ok(figures)
}

/// The most memory that whoever answers has taken so far, in MiB.
pub(super) fn peak(answering: &Answering) -> Option<f64> {
    resident_peak(answering.pid()).map(|bytes| bytes as f64 / MIB)
}

impl Figures {
    /// Notes what recorded commands take on disk.
    pub(super) fn set_bytes(&mut self, (journal, index): (u64, u64), recorded: u64) {
        self.set(Figure::JournalBytes, journal as f64 / recorded as f64);
        self.set(Figure::IndexBytes, index as f64 / recorded as f64);
    }
}
