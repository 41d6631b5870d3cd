//! What the world does to a run. Each seed has some of these, each at a rate of its own (swarm testing): what never
//! happens together in a run where everything happens is found where only those two do.

use std::time::Duration;

use hapax::model::limits::CLOCK_SKEW_MAX;
use hapax::model::{Commit, Decision};
use rand::Rng;

use crate::common::history::Event;
use crate::run::Run;

/// A fault: its name, and what it does. Whether it could be done now.
pub(crate) type Fault = (&'static str, fn(&mut Run) -> bool);

/// Those that come at any step.
pub(crate) const FAULTS: [Fault; 23] = [
    ("the process is killed", |run| {
        let was_alive = run.pure.is_alive();
        run.die("killed");
        was_alive
    }),
    ("the power fails", |run| {
        run.die("power cut");
        let (pages, notes) = (run.random.r#gen(), run.random.gen_range(0..40));
        run.pure.disk.cut(pages);
        run.pure.cut_index(notes);
        true
    }),
    ("the process dies within a change to the disk", |run| {
        run.pure.disk.die_after(Some(run.random.gen_range(0..6)));
        run.pure.is_alive()
    }),
    ("an fsync fails", |run| {
        run.pure.disk.fail_sync_after(Some(run.random.gen_range(0..3)));
        true
    }),
    ("the disk is full", |run| {
        run.pure.disk.fill(Some(run.random.gen_range(0..3_000)));
        true
    }),
    ("the disk cannot be read", |run| {
        run.pure.disk.refuse_to_be_read(true);
        true
    }),
    ("a bit turns over", |run| run.rot()),
    ("the index is lost", |run| {
        run.die("index lost");
        run.pure.lose_index();
        true
    }),
    ("look-ups in the index fail", |run| {
        run.pure.break_index(true);
        true
    }),
    ("a message is delivered twice", |run| {
        let which = run.random.gen_range(0..1_000);
        run.pure.broker.duplicate(which)
    }),
    ("messages change places", |run| {
        let (first, second) = (run.random.gen_range(0..1_000), run.random.gen_range(0..1_000));
        run.pure.broker.reorder(first, second)
    }),
    ("everything unacknowledged is delivered again", |run| run.pure.broker.redeliver_all() > 0),
    ("the duplicate window is forgotten", |run| run.pure.broker.forget_window()),
    ("messages on their way are lost", |run| {
        run.loses_messages = true;
        true
    }),
    ("replies are lost", |run| {
        run.loses_replies = true;
        true
    }),
    ("acks are lost", |run| {
        run.pure.loses_acks = true;
        true
    }),
    ("the quarantine takes nothing", |run| {
        run.pure.quarantine_refuses = true;
        true
    }),
    ("the stream is made again", |run| {
        run.world("the stream is made again");
        run.pure.broker.recreate()
    }),
    ("the stream loses its end", |run| {
        run.world("the stream loses its end");
        let (messages, acks) = (run.random.gen_range(0..5), run.random.gen_range(0..5));
        run.pure.broker.truncate(messages, acks)
    }),
    ("the feed loses its end", |run| {
        let messages = run.random.gen_range(1..8);
        run.pure.feed.lose_end(messages)
    }),
    ("time jumps", |run| {
        let ms = run.random.gen_range(1_000..600_000);
        run.pure.now = run.pure.now.plus(Duration::from_millis(ms));
        true
    }),
    ("the clocks disagree", |run| {
        let seconds = run.random.gen_range(-90..90_i64);
        run.pure.skew = seconds * 1_000_000;
        let is_too_much = CLOCK_SKEW_MAX < Duration::from_secs(seconds.unsigned_abs());
        run.pure.check_clock(if is_too_much { Err("the clocks disagree".to_owned()) } else { Ok(()) });
        true
    }),
    ("a client dies", |run| run.lose_client()),
];

/// What is counted where it shows, not where it is caused.
pub(crate) const SHOWN: [&str; 30] = [
    "fsync said no",
    "write said that the disk is full",
    "read said no",
    "died within a change",
    "pages lost in a power cut",
    "pages torn in a power cut",
    "died while it recovered",
    "damage was named",
    "a look-up failed",
    "a message was lost",
    "a message was taken for a copy",
    "a message was delivered again in its time",
    "a reply was lost",
    "an ack was lost",
    "a command was not put into quarantine",
    "a client sent again",
    "a client asked for an outcome",
    "a client attached",
    "a client voided",
    "an id was used again",
    "an atomic batch is begun",
    "a batch each for itself is begun",
    "a batch has a check",
    "a batch has as many commands as are allowed",
    "a batch has one command too many",
    "an item of a batch was meant alone",
    "an atomic batch is accepted",
    "an atomic batch is rejected",
    "commits came to the feed late",
    "the feed refused commits",
];

/// How often each fault has come, by the order of [`FAULTS`] and then of [`SHOWN`].
#[derive(Clone, Copy)]
pub(crate) struct Fired(pub(crate) [u64; FAULTS.len() + SHOWN.len()]);

impl Fired {
    pub(crate) fn new() -> Fired {
        Fired([0; FAULTS.len() + SHOWN.len()])
    }

    pub(crate) fn shown(&mut self, name: &str, times: u64) {
        let index = SHOWN.iter().position(|shown| *shown == name).expect("it is in the list");
        self.0[FAULTS.len() + index] += times;
    }

    pub(crate) fn add(&mut self, other: &Fired) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FAULTS.iter().map(|(name, _)| *name).chain(SHOWN).zip(self.0)
    }

    /// What can only be counted when a run is over.
    pub(crate) fn take_stock(&mut self, run: &Run) {
        let disk = run.pure.disk.happened();
        self.shown("fsync said no", disk.failed_syncs);
        self.shown("write said that the disk is full", disk.full);
        self.shown("read said no", disk.failed_reads);
        self.shown("died within a change", disk.deaths);
        self.shown("pages lost in a power cut", disk.lost_pages);
        self.shown("pages torn in a power cut", disk.torn_pages);
        let failed = run.pure.history.events.iter().filter(|event| matches!(event, Event::LookUpFailed { .. }));
        self.shown("a look-up failed", failed.count() as u64);
        self.shown("an ack was lost", run.pure.lost_acks);
        self.shown("a command was not put into quarantine", run.pure.not_put_aside);
        self.shown("commits came to the feed late", run.pure.feed.late_sheaves);
        self.shown("the feed refused commits", run.pure.feed.refused_sheaves);
    }

    /// What came of the atomic batches.
    pub(crate) fn take_stock_of(&mut self, commits: &[Commit]) {
        for head in commits.iter().filter(|commit| commit.followers > 0) {
            let is_accepted = head.outcome().is_ok_and(|outcome| matches!(outcome.decision, Decision::Accepted(_)));
            self.shown(if is_accepted { "an atomic batch is accepted" } else { "an atomic batch is rejected" }, 1);
        }
    }
}

/// How likely each fault is at a step, for one seed.
pub(crate) fn rates(random: &mut impl Rng) -> [f64; FAULTS.len()] {
    let calm = random.gen_bool(0.1); // Now and then nothing goes wrong.
    std::array::from_fn(|_| {
        let is_in_this_run = random.gen_bool(0.4) && !calm;
        let rate = 10_f64.powf(random.gen_range(-4.0..-2.2));
        if is_in_this_run { rate } else { 0.0 }
    })
}
