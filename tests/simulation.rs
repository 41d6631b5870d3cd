//! The shipped processor and journal in a world that fails: simulated broker, disk, index, clock, network and clients. One
//! seed gives one run, bit for bit; the checker judges it.
//!
//! `HAPAX_SEED=17 cargo nextest run --test simulation no_seed --no-capture` runs one seed and shows its history;
//! `HAPAX_SIM_MINUTES=30` goes on for so long, with seeds that nobody has tried; `HAPAX_SIM_SEEDS=300` is soon done.

mod common;
#[path = "simulation/batches.rs"]
mod batches;
#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/planted.rs"]
mod planted;
#[path = "simulation/run.rs"]
mod run;
#[path = "contract/wrong.rs"]
mod wrong;
#[path = "simulation/wrong_feeds.rs"]
mod wrong_feeds;

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::checker::Counts;
use common::pure::Build;
use common::row::{Row, Verdict};
use faults::Fired;
use planted::{NOT_HERE, planted};
use run::{COMMANDS, Summary, run};

/// How many seeds the test suite runs.
const SEEDS: u64 = 10_000;

/// In so many, every fault happens.
const SEEDS_WITH_ALL_FAULTS: u64 = 1_000;

/// A failing seed, and what was wrong.
type Failure = (u64, String);

/// Runs a seed; an assertion that fails is a failure like any other.
fn judged(seed: u64, build: Build, tells: bool) -> Result<Summary, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, build, tells))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("assertion: {}", text.unwrap_or_default()))
    })
}

#[derive(Default)]
struct Total {
    seeds: u64,
    commands: u64,
    commits: u64,
    counts: Counts,
    fired: Option<Fired>,
}

impl Total {
    fn add(&mut self, summary: &Summary) {
        self.seeds += 1;
        self.commands += summary.commands as u64;
        self.commits += summary.commits as u64;
        self.counts.add(&summary.counts);
        self.fired.get_or_insert_with(Fired::new).add(&summary.fired);
    }
}

/// Runs seeds on all cores until one fails or `goes_on` says no.
fn run_seeds(first: u64, tells: bool, goes_on: impl Fn(u64) -> bool + Sync) -> (Total, Option<Failure>) {
    let next = AtomicU64::new(first);
    let state = Mutex::new((Total::default(), None::<Failure>));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(seed - first) || state.lock().unwrap().1.is_some() {
                        return;
                    }
                    let result = judged(seed, Build::default(), tells);
                    let (total, failure) = &mut *state.lock().unwrap();
                    match result {
                        Ok(summary) => total.add(&summary),
                        Err(what) => *failure = Some(failure.take().unwrap_or((seed, what))),
                    }
                }
            });
        }
    });
    state.into_inner().unwrap()
}

#[test]
fn no_seed_breaks_a_promise() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let began = Instant::now();
    let (total, failure) = match (number("HAPAX_SEED"), number("HAPAX_SIM_MINUTES")) {
        (Some(seed), _) => run_seeds(seed, true, |done| done == 0),
        (None, Some(minutes)) => {
            let first = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_micros();
            run_seeds(first as u64, false, |_| began.elapsed() < Duration::from_secs(60 * minutes))
        }
        (None, None) => {
            let seeds = number("HAPAX_SIM_SEEDS").unwrap_or(SEEDS);
            run_seeds(1, false, |done| done < seeds)
        }
    };
    let mut row = Row::of("simulation: worlds of 200 commands, all faults at once");
    row.add(usize::try_from(total.seeds).expect("it was counted up"), "seeds", &Verdict::default());
    if let Some((seed, what)) = failure {
        let again = format!("HAPAX_SEED={seed} cargo nextest run --test simulation no_seed --no-capture");
        row.add(1, &format!("seed {seed}"), &Verdict::of(format!("{what}\n\n{again}")));
    }
    row.end();
    let (seconds, fired) = (began.elapsed().as_secs_f64(), total.fired.expect("a seed was run"));
    let Total { seeds, commands, commits, .. } = &total;
    println!("{seeds} seeds x {COMMANDS} commands, {commands} sent, {commits} decided, {seconds:.1} s\n");
    println!("{}\n", total.counts);
    fired.rows().for_each(|(name, times)| println!("{name:<52} {times:>12}"));
    if total.seeds >= SEEDS_WITH_ALL_FAULTS {
        let never: Vec<&str> = fired.rows().filter(|(_, times)| *times == 0).map(|(name, _)| name).collect();
        assert!(never.is_empty(), "never happened: {never:?}");
        assert!(total.counts.0.iter().all(|count| *count > 0), "an invariant was not checked once");
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let mut digests = HashSet::new();
    for seed in 1..=50 {
        let [first, second] = [0; 2].map(|_| judged(seed, Build::default(), false).unwrap().history.digest());
        assert_eq!(first, second, "seed {seed}");
        assert!(digests.insert(first), "another seed has the history of seed {seed}");
    }
}

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A planted bug may trip an assertion; that is being caught, too, and nobody wants to read it. Only for this thread.
fn stay_quiet() {
    IS_QUIET.set(true);
    let tell = take_hook();
    set_hook(Box::new(move |panic| {
        if !IS_QUIET.get() {
            tell(panic);
        }
    }));
}

#[test]
fn every_planted_bug_is_caught() {
    const SEEDS_MAX: u64 = 2_000;
    stay_quiet();
    let mut row = Row::of("simulation: planted bugs (survived: caught)");
    println!("{:<52} {:>6}  caught by", "planted bug", "seeds");
    for (name, build) in planted() {
        let caught = (1..=SEEDS_MAX).find_map(|seed| Some((seed, judged(seed, build, false).err()?)));
        match caught {
            None => row.add(1, name, &Verdict::of(format!("not caught in {SEEDS_MAX} seeds"))),
            Some((seed, what)) => {
                // Of an assertion, its text: whoever asserts has seen it too.
                let by = |line: &str| match line.split_once(": ") {
                    Some(("assertion", text)) => text.chars().take(60).collect(),
                    Some((invariant, _)) => invariant.to_owned(),
                    None => String::new(),
                };
                println!("{name:<52} {seed:>6}  {}", what.lines().map(by).collect::<Vec<_>>().join(" "));
                row.add(1, name, &Verdict::default());
            }
        }
    }
    for (name, why) in NOT_HERE {
        println!("{name:<52}      -  for the vectors alone: {why}");
    }
    row.end();
}
