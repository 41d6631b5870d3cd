//! Is this processor well? Told from work done, never from a connection's flag: the library says that it is connected
//! also when its connection's task has died.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::feed::Fed;
use crate::index::Progress;
use crate::model::Position;
use crate::nats::connect::can_open_more;
use crate::processor::Counts;
use crate::store::file::FileReader;

/// How long the disk may take to make something durable before that is said. A healthy one needs milliseconds.
const SYNC_MAX: Duration = Duration::from_secs(2);

/// How long a partition's loop may tell nothing before that is said. It does so 40 times a second.
const STILL_MAX: Duration = Duration::from_secs(2);

/// How long the broker may be silent before that is said: twice the heartbeat and a reopened pull.
const SILENCE_MAX: Duration = Duration::from_secs(6);

/// What the loop of one partition tells about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vitals {
    pub(super) counts: Counts,
    /// Commands that went into quarantine without having come in.
    pub(super) put_away: u64,
    pub(super) durable: Option<Position>,
    pub(super) indexed: Option<Position>,
    pub(super) silent_since: Option<Instant>,
    pub(super) has_room: bool,
    pub(super) faults: u64,
    /// When the loop told this.
    pub(super) told_at: Instant,
}

impl Vitals {
    /// At the start, or while there is no loop.
    pub(super) fn new(last: Option<Position>) -> Vitals {
        Vitals {
            counts: Counts::default(),
            put_away: 0,
            durable: last,
            indexed: last,
            silent_since: None,
            has_room: true,
            faults: 0,
            told_at: Instant::now(),
        }
    }
}

/// Where a partition stands in its life.
#[derive(Clone)]
enum Stage {
    Starting,
    Rebuilding(Progress),
    Running(watch::Receiver<Vitals>, FileReader, Option<watch::Receiver<Fed>>),
    Stopping,
}

/// Health of all partitions, shared by those who live it and those who tell it.
#[derive(Clone)]
pub(super) struct Health {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    stages: Vec<Stage>,
    clock: Result<(), String>,
    quarantine: Result<(), String>,
    /// Messages in the stream that no consumer gets.
    stranded: u64,
}

/// The answer to a health query.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `starting`, `rebuilding`, `ready`, `degraded` or `stopping`.
    pub state: &'static str,
    /// What is wrong, if it is `degraded`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
    /// This program's version.
    pub version: &'static str,
    /// Each partition, in order.
    pub partitions: Vec<PartitionReport>,
}

/// One partition's part of the answer.
#[derive(Debug, Serialize)]
pub struct PartitionReport {
    /// Its number.
    pub partition: u32,
    /// `starting`, `rebuilding`, `running` or `stopping`.
    pub stage: &'static str,
    /// While rebuilding: commits noted, and to be noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noted: Option<u64>,
    /// See `noted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The last durable position.
    pub durable: Option<Position>,
    /// Durable commits that the index does not know yet.
    pub unindexed: u64,
    /// Durable commits that have not come to the feed yet, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfed: Option<u64>,
    /// Decisions recorded since the start.
    pub decided: u64,
    /// Copies that got an earlier outcome.
    pub replayed: u64,
    /// Copies that were refused.
    pub refused: u64,
    /// Deliveries whose reply address was not their principal's.
    pub silent: u64,
    /// Commands put into quarantine.
    pub quarantined: u64,
    /// Fsyncs of the journal since the start. The more commands come at once, the more share one.
    pub syncs: u64,
}

impl Health {
    pub(super) fn starting(partitions: u32) -> Health {
        let stages = (0..partitions).map(|_| Stage::Starting).collect();
        Health { shared: Arc::new(Mutex::new(Shared { stages, clock: Ok(()), quarantine: Ok(()), stranded: 0 })) }
    }

    pub(super) fn rebuilding(&self, partition: u32, progress: Progress) {
        self.set(partition, Stage::Rebuilding(progress));
    }

    pub(super) fn running(
        &self,
        partition: u32,
        vitals: watch::Receiver<Vitals>,
        store: FileReader,
        fed: Option<watch::Receiver<Fed>>,
    ) {
        self.set(partition, Stage::Running(vitals, store, fed));
    }

    pub(super) fn stopping(&self) {
        self.with(|shared| shared.stages.fill(Stage::Stopping));
    }

    pub(super) fn clock(&self, agreement: Result<(), String>) {
        self.with(|shared| shared.clock = agreement);
    }

    pub(super) fn quarantine(&self, presence: Result<(), String>) {
        self.with(|shared| shared.quarantine = presence);
    }

    pub(super) fn stranded(&self, messages: u64) {
        self.with(|shared| shared.stranded = messages);
    }

    fn set(&self, partition: u32, stage: Stage) {
        self.with(|shared| {
            if let Some(place) = usize::try_from(partition).ok().and_then(|number| shared.stages.get_mut(number)) {
                *place = stage;
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        // Nothing in here can panic half way through a change.
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn report(&self) -> Report {
        self.with(|shared| {
            let faults = [&shared.clock, &shared.quarantine];
            let mut why: Vec<String> = faults.into_iter().filter_map(|fault| fault.clone().err()).collect();
            if shared.stranded > 0 {
                let messages = shared.stranded;
                why.push(format!("{messages} messages in the stream COMMANDS reach no consumer and fill it up"));
            }
            if let Err(error) = can_open_more() {
                why.push(format!("no file or connection can be opened: {error}; raise the limit of open files"));
            }
            let partitions: Vec<_> =
                (0..).zip(&shared.stages).map(|(number, stage)| partition_report(number, stage, &mut why)).collect();
            let state = ["stopping", "starting", "rebuilding"]
                .into_iter()
                .find(|state| partitions.iter().any(|partition| partition.stage == *state))
                .unwrap_or(if why.is_empty() { "ready" } else { "degraded" });
            Report { state, why, version: env!("CARGO_PKG_VERSION"), partitions }
        })
    }
}

fn partition_report(partition: u32, stage: &Stage, why: &mut Vec<String>) -> PartitionReport {
    let number = |position: Option<Position>| position.map_or(0, Position::get);
    let mut unfed = None;
    let (stage, progress, vitals, syncs) = match stage {
        Stage::Starting => ("starting", None, Vitals::new(None), 0),
        Stage::Rebuilding(progress) => ("rebuilding", Some(*progress), Vitals::new(None), 0),
        Stage::Stopping => ("stopping", None, Vitals::new(None), 0),
        Stage::Running(vitals, store, fed) => {
            let vitals = *vitals.borrow();
            if vitals.silent_since.is_some_and(|since| since.elapsed() > SILENCE_MAX) {
                why.push(format!("partition {partition}: the broker is silent ({} faults so far)", vitals.faults));
            }
            let silent = vitals.told_at.elapsed();
            // First: the loop writes a lone commit itself, and is then as silent as its disk.
            if let Some(waited) =
                store.writer_busy_since().map(|since| since.elapsed()).filter(|waited| SYNC_MAX < *waited)
            {
                let seconds = waited.as_secs();
                why.push(format!("partition {partition}: the disk has made nothing durable for {seconds} s"));
            } else if STILL_MAX < silent {
                why.push(format!(
                    "partition {partition}: nothing is decided for {} s: an aggregate's code does not return, or the broker \
                     takes no replies",
                    silent.as_secs()
                ));
            }
            if !vitals.has_room {
                why.push(format!("partition {partition}: intake waits for the disk or the index"));
            }
            if let Some(fed) = fed {
                let fed = fed.borrow();
                let behind = number(vitals.durable).saturating_sub(number(fed.upto));
                unfed = Some(behind);
                why.extend(fed.trouble(behind).map(|trouble| format!("partition {partition}: {trouble}")));
            }
            ("running", None, vitals, store.syncs())
        }
    };
    PartitionReport {
        partition,
        stage,
        noted: progress.map(|progress| progress.noted),
        total: progress.map(|progress| progress.total),
        durable: vitals.durable,
        unindexed: number(vitals.durable).saturating_sub(number(vitals.indexed)),
        unfed,
        decided: vitals.counts.decided,
        replayed: vitals.counts.replayed,
        refused: vitals.counts.refused,
        silent: vitals.counts.silent,
        quarantined: vitals.counts.quarantined + vitals.put_away,
        syncs,
    }
}
