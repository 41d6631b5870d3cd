//! One run: everything in it comes from one seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hapax::model::{AggregateId, Commit, Position};
use hapax::samples::service;
use hapax::store::CommitReader;
use hapax::store::file::FileReader;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::clients::{Client, Errand};
use crate::common::checker::{Counts, Evidence, Feed, check};
use crate::common::ended::{Ended, Step};
use crate::common::feed_world::Way;
use crate::common::history::{Event, History, Number};
use crate::common::pure::{Build, Pure, STORE};
use crate::faults::{FAULTS, Fired, rates};

/// How many commands the clients of a run have in mind.
pub(crate) const COMMANDS: usize = 200;

/// Steps after which a run goes to its end, whatever is still open.
const STEPS_MAX: usize = 200 * COMMANDS;

/// Rounds in which everything must come to its end once the faults are gone.
const ROUNDS_MAX: usize = 100;

pub(crate) struct Run {
    pub(crate) random: StdRng,
    pub(crate) pure: Pure,
    pub(crate) clients: Vec<Client>,
    pub(crate) errands: Vec<Errand>,
    /// All errands before this one are over.
    pub(crate) first_open: usize,
    pub(crate) errand_of: BTreeMap<Number, usize>,
    /// The last version of each aggregate that a client has seen.
    pub(crate) seen: BTreeMap<AggregateId, u64>,
    pub(crate) to_issue: usize,
    /// How many errands are open at once.
    pub(crate) window: usize,
    pub(crate) keys: usize,
    /// How often a client packs what it has in mind.
    pub(crate) batches: f64,
    pub(crate) loses_messages: bool,
    pub(crate) loses_replies: bool,
    pub(crate) fired: Fired,
    rates: [f64; FAULTS.len()],
    batch: usize,
    step_ms: u64,
    /// A bit has turned over, and nobody has noticed yet.
    is_rotten: bool,
}

/// What came of a run in which nothing was wrong.
pub(crate) struct Summary {
    pub(crate) counts: Counts,
    pub(crate) fired: Fired,
    pub(crate) commits: usize,
    pub(crate) commands: usize,
    pub(crate) history: History,
}

/// Runs a seed.
///
/// # Errors
/// What was wrong, line by line. `tells`: with the history on standard error.
pub(crate) fn run(seed: u64, build: Build, tells: bool) -> Result<Summary, String> {
    let mut run = Run::new(seed, build);
    let result = run.play();
    if tells {
        run.pure.history.events.iter().enumerate().for_each(|(number, event)| eprintln!("{number:>6} {event}"));
    }
    result
}

impl Run {
    fn new(seed: u64, build: Build) -> Run {
        let mut random = StdRng::seed_from_u64(seed);
        let segment_bytes_max = [2_000, 10_000, 1 << 20][random.gen_range(0..3)];
        let rates = rates(&mut random);
        Run {
            pure: Pure::build(service(), Build { segment_bytes_max, ..build }),
            clients: (0..random.gen_range(2..=4)).map(Client::new).collect(),
            errands: Vec::new(),
            first_open: 0,
            errand_of: BTreeMap::new(),
            seen: BTreeMap::new(),
            to_issue: COMMANDS,
            window: random.gen_range(1..16),
            keys: random.gen_range(1..6),
            loses_messages: false,
            loses_replies: false,
            fired: Fired::new(),
            rates,
            batches: if random.gen_bool(0.4) { 0.0 } else { random.gen_range(0.0..0.5) },
            batch: random.gen_range(1..20),
            step_ms: random.gen_range(1..60),
            is_rotten: false,
            random,
        }
    }

    fn play(&mut self) -> Result<Summary, String> {
        let mut steps = 0;
        while steps < STEPS_MAX && (self.to_issue > 0 || self.first_open < self.errands.len()) {
            steps += 1;
            self.step();
        }
        self.heal();
        self.finish()?;
        let commits = self.read_back()?;
        if let Some(position) = self.pure.feed.torn_at {
            return Err(format!(
                "I18: the feed could be read while it ended in an atomic batch, at position {position}"
            ));
        }
        let (service, index, checkpoint) = self.pure.evidence();
        let is_lossy = self.pure.broker.is_lossy;
        let index = Some((index, checkpoint));
        let feed = Feed { messages: &self.pure.feed.stream, is_whole: true };
        let evidence =
            Evidence { id: STORE, service, commits: &commits, index, feed: Some(feed), all_settled: !is_lossy };
        let counts = check(&self.pure.history, &evidence)
            .map_err(|violations| violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let mut fired = self.fired;
        fired.take_stock(self);
        fired.take_stock_of(&commits);
        let history = std::mem::take(&mut self.pure.history);
        Ok(Summary { counts, fired, commands: self.errands.len(), commits: commits.len(), history })
    }

    fn step(&mut self) {
        self.pure.now = self.pure.now.plus(Duration::from_micros(self.random.gen_range(0..1_000 * self.step_ms)));
        self.misfortune();
        if !self.pure.is_alive() && self.random.gen_bool(0.05) {
            self.start();
        }
        let step = match self.random.gen_range(0..100) {
            0..28 => {
                self.client_acts();
                return;
            }
            28..40 => {
                let max = self.random.gen_range(1..=self.batch);
                self.pure.deliver(max)
            }
            40..54 => self.pure.look_up(),
            54..66 => self.pure.sync(),
            66..72 => self.pure.note(),
            72..86 => {
                self.reply_arrives();
                return;
            }
            86 => self.pure.state_synced(),
            87 => {
                let way = match self.random.gen_range(0..10) {
                    0 => Way::Lost,
                    1 => Way::Late,
                    2 => Way::Unacknowledged,
                    3 => {
                        self.pure.feed.late_arrives();
                        return;
                    }
                    _ => Way::Acknowledged,
                };
                self.pure.feed(way)
            }
            88..90 => self.pure.tick(Duration::ZERO),
            90 => Ok(self.pure.checkpoint()),
            91..93 => {
                let again = self.pure.broker.redeliver_overdue(self.pure.now);
                self.fired.shown("a message was delivered again in its time", again as u64);
                return;
            }
            93 => {
                self.ask_for_state();
                return;
            }
            _ => {
                self.ease();
                return;
            }
        };
        self.went_on(step);
    }

    /// Perhaps something goes wrong.
    fn misfortune(&mut self) {
        let mut chance: f64 = self.random.r#gen();
        for (number, (_, happen)) in FAULTS.iter().enumerate() {
            if chance < self.rates[number] {
                self.fired.0[number] += u64::from(happen(self));
                return;
            }
            chance -= self.rates[number];
        }
    }

    /// What lasts comes to an end, one thing at a time.
    fn ease(&mut self) {
        match self.random.gen_range(0..8) {
            0 => self.pure.disk.fill(None),
            1 => self.pure.disk.refuse_to_be_read(false),
            2 => self.pure.break_index(false),
            3 => self.loses_messages = false,
            4 => self.loses_replies = false,
            5 => self.pure.loses_acks = false,
            6 => self.pure.quarantine_refuses = false,
            _ => {
                self.pure.skew = 0;
                self.pure.check_clock(Ok(()));
            }
        }
    }

    fn heal(&mut self) {
        self.world("all faults end");
        self.pure.disk.fill(None);
        self.pure.disk.refuse_to_be_read(false);
        self.pure.disk.die_after(None);
        self.pure.disk.fail_sync_after(None);
        self.pure.break_index(false);
        self.loses_messages = false;
        self.loses_replies = false;
        self.pure.loses_acks = false;
        self.pure.quarantine_refuses = false;
        self.pure.skew = 0;
        self.pure.check_clock(Ok(()));
        self.rates = [0.0; FAULTS.len()];
    }

    pub(crate) fn world(&mut self, what: &str) {
        self.pure.history.note(Event::World(what.to_owned()));
    }

    pub(crate) fn die(&mut self, why: &str) {
        self.world(why);
        self.pure.die();
        self.pure.disk.die_after(None);
    }

    /// A process starts; it may die before it is there.
    fn start(&mut self) {
        let dies_soon = self.rates[2] > 0.0 && self.random.gen_bool(0.3);
        let changes = self.random.gen_range(0..8);
        self.pure.disk.die_after(dies_soon.then_some(changes));
        let deaths = self.pure.disk.happened().deaths;
        let started = self.pure.start();
        if deaths < self.pure.disk.happened().deaths {
            self.fired.shown("died while it recovered", 1);
        }
        self.went_on(started);
    }

    /// A process that has ended is no surprise if there was a reason.
    pub(crate) fn went_on(&mut self, step: Step) {
        let Err(ended) = step else { return };
        match ended {
            Ended::Disk(_) => {}
            Ended::Damage(_) if self.is_rotten => {
                self.world("damage is named, and the clean copy restored");
                self.fired.shown("damage was named", 1);
                self.pure.disk.restore();
                self.is_rotten = false;
            }
            Ended::Damage(what) => panic!("damage without a cause: {what}"),
            Ended::Index(what) => panic!("a wrong index without a cause: {what}"),
        }
        self.pure.disk.die_after(None);
    }

    /// A bit turns over that is stored for good and of which the journal says so: what no statement vouches for yet is lost
    /// unnoticed if the power goes too. The process may still read for a while, and then it is started anew.
    pub(crate) fn rot(&mut self) -> bool {
        if !self.pure.is_alive() || self.is_rotten {
            return false;
        }
        let stated = self.pure.state_synced();
        self.went_on(stated);
        if !self.pure.is_stated() || !self.pure.disk.rot(self.random.r#gen()) {
            return false;
        }
        self.is_rotten = true;
        for _ in 0..self.random.gen_range(0..4) {
            let read = self.pure.look_up();
            self.went_on(read);
            let taken_in = self.pure.deliver(1);
            self.went_on(taken_in);
        }
        self.die("a bit has turned over");
        true
    }

    fn reply_arrives(&mut self) {
        if self.pure.replies.is_empty() {
            return;
        }
        let which = self.random.gen_range(0..self.pure.replies.len());
        let answer = self.pure.replies.swap_remove(which);
        if self.loses_replies && self.random.gen_bool(0.5) {
            self.fired.shown("a reply was lost", 1);
            return;
        }
        self.receive(answer);
    }

    pub(crate) fn lose_client(&mut self) -> bool {
        let which = self.random.gen_range(0..self.clients.len());
        let is_last = self.clients.iter().filter(|client| client.lives).count() == 1;
        let lived = self.clients[which].lives && !is_last;
        self.clients[which].lives &= is_last;
        lived
    }

    /// Nothing goes wrong any more. Every client that lives comes to certainty.
    fn finish(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            while !self.pure.is_alive() {
                self.start();
            }
            self.pure.now = self.pure.now.plus(Duration::from_secs(6));
            self.pure.broker.redeliver_overdue(self.pure.now);
            self.clients_act();
            loop {
                let batch = self.batch;
                let mut step = || -> Step {
                    let pure = &mut self.pure;
                    Ok(pure.look_up()?
                        || pure.sync()?
                        || pure.note()?
                        || pure.deliver(batch)?
                        || pure.feed(Way::Acknowledged)?
                        || pure.feed.late_arrives())
                };
                let step = step();
                let goes_on = step != Ok(false);
                self.went_on(step);
                if !goes_on || !self.pure.is_alive() {
                    break;
                }
            }
            let ticked = self.pure.tick(Duration::ZERO);
            self.went_on(ticked);
            while !self.pure.replies.is_empty() {
                self.reply_arrives();
            }
            let is_certain = |errand: &Errand| errand.is_over || !self.clients[errand.client].lives;
            if self.pure.is_alive() && self.errands.iter().all(is_certain) && self.pure.broker.outstanding() == 0 {
                return self.ask_for_all_states();
            }
        }
        let open = self.errands.iter().filter(|errand| !errand.is_over && self.clients[errand.client].lives).count();
        let left = self.pure.broker.outstanding();
        Err(format!("liveness: {open} errands have no end, {left} messages are not acknowledged"))
    }

    fn ask_for_all_states(&mut self) -> Result<(), String> {
        for _ in 0..2 * self.keys {
            self.ask_for_state();
        }
        while let Ok(true) = self.pure.look_up() {}
        while !self.pure.replies.is_empty() {
            self.reply_arrives();
        }
        Ok(())
    }

    /// The store, as another process reads it after the last power cut.
    fn read_back(&mut self) -> Result<Vec<Commit>, String> {
        for _ in 0..3 {
            self.die("the last power cut");
            self.pure.disk.cut(self.random.r#gen());
            self.start();
            if !self.pure.is_alive() {
                continue;
            }
            let disk = Arc::new(self.pure.disk.clone());
            let read = FileReader::open_read_only_on(disk, Path::new("journal")).map_err(|error| error.to_string())?;
            // Some bits belong to no commit: reading does not need them, and verifying reads all there is.
            let verified = read.verify(|_| {}).map(drop);
            let commits = verified.and_then(|()| read.read(Position::FIRST).collect::<Result<Vec<Commit>, _>>());
            match commits {
                Ok(commits) => return Ok(commits),
                Err(error) => self.went_on(Err(error.into())),
            }
        }
        Err("the store cannot be read back".to_owned())
    }
}
