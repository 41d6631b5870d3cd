//! Any sequence of appends, syncs, failed fsyncs, killed processes and power cuts: what was called durable is there
//! afterwards, what is there is whole and in order, groups are there as a whole, and nothing of it is taken for damage.

use std::path::Path;
use std::sync::Arc;

use super::commits::{STORE, following};
use super::common::cut_disk::CutDisk;
use super::groups::group;
use hapax::store::file::OpenError;
use hapax::store::file::journal::Journal;
use hapax::store::{CommitReader, Tip};
use hapax::{ChainHash, Commit, Position};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u64,
        bytes: usize,
    },
    /// An atomic batch of so many commands.
    AppendGroup {
        commands: u64,
        bytes: usize,
    },
    Sync,
    /// What an idle journal does.
    State,
    /// What a journal that is never idle does.
    SyncProof,
    /// From now on so many fsyncs succeed, and the next one fails.
    FailSyncAfter(usize),
    /// The process is killed in the middle of the change that comes after so many others.
    DieAfter(usize),
    /// The process ends. The page cache does not.
    /// A copy whose last segment is cut off does not pass for the whole.
    Kill {
        checkpoint: bool,
        cut: u64,
    },
    PowerCut {
        seed: u64,
        checkpoint: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6_u64, 0..300_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        2 => (1..6_u64, 0..300_usize).prop_map(|(commands, bytes)| Step::AppendGroup { commands, bytes }),
        4 => Just(Step::Sync),
        1 => Just(Step::State),
        1 => Just(Step::SyncProof),
        1 => (0..4_usize).prop_map(Step::FailSyncAfter),
        1 => (0..12_usize).prop_map(Step::DieAfter),
        1 => (any::<bool>(), any::<u64>()).prop_map(|(checkpoint, cut)| Step::Kill { checkpoint, cut }),
        1 => (any::<u64>(), any::<bool>()).prop_map(|(seed, checkpoint)| Step::PowerCut { seed, checkpoint }),
    ]
}

/// A journal that small rolls all the time; one of the other size writes zeros beforehand.
const SEGMENT_BYTES_MAX: [u64; 2] = [2_000, 200_000];

struct Run {
    disk: CutDisk,
    segment_bytes_max: u64,
    journal: Option<Journal>,
    /// The chain hashes of what was appended, from position 1.
    appended: Vec<ChainHash>,
    durable: Option<Position>,
}

impl Run {
    fn open(&mut self, checkpoint: bool) {
        let proven = self.durable.filter(|_| checkpoint);
        let disk = Arc::new(self.disk.clone());
        let opened = Journal::open(disk, Path::new("journal"), STORE, proven, self.segment_bytes_max);
        let journal = match opened {
            // The failing fsync, or the kill, came while it opened.
            Err(OpenError::Io { .. }) => return self.restart(),
            opened => opened.unwrap_or_else(|error| panic!("{error}")),
        };
        let tip = journal.tip();
        assert!(self.durable <= tip.position, "{:?} was durable, {:?} is there", self.durable, tip.position);
        self.appended.truncate(tip.position.map_or(0, Position::get) as usize);
        // What the store shows when it is open may be relied on from then on.
        self.durable = tip.position;
        self.check(&journal, tip);
        self.journal = Some(journal);
    }

    fn check(&self, journal: &Journal, tip: Tip) {
        let reader = journal.reader();
        let hashes: Vec<ChainHash> = reader.read(Position::FIRST).map(|commit| commit.unwrap().hash).collect();
        assert_eq!(hashes, self.appended);
        assert_eq!(reader.verify(|_| {}).unwrap(), tip, "and no group is torn");
    }

    fn append(&mut self, commits: &[Commit]) {
        // If it fails, some of them may be on disk.
        self.appended.extend(commits.iter().map(|commit| commit.hash));
        if self.journal.as_mut().is_some_and(|journal| journal.append(commits).is_err()) {
            self.restart();
        }
    }

    fn take(&mut self, step: &Step) {
        match (step, &mut self.journal) {
            (Step::Append { count, bytes }, Some(journal)) => {
                let commits = following(journal.tip(), *count, *bytes);
                self.append(&commits);
            }
            (Step::AppendGroup { commands, bytes }, Some(journal)) => {
                let commits = group(journal.tip(), *commands, *bytes);
                self.append(&commits);
            }
            (Step::Sync, Some(journal)) => match journal.sync() {
                Ok(durable) => self.durable = durable.map(|durable| durable.get()),
                Err(_) => self.restart(),
            },
            (Step::State, Some(journal)) => match journal.state_synced() {
                Ok(()) => {}
                Err(_) => self.restart(),
            },
            (Step::SyncProof, Some(journal)) => match journal.sync_proof() {
                Ok(()) => {}
                Err(_) => self.restart(),
            },
            (Step::FailSyncAfter(syncs), _) => self.disk.fail_sync_after(Some(*syncs)),
            (Step::DieAfter(changes), _) => self.disk.die_after(Some(*changes)),
            (Step::Kill { checkpoint, cut }, _) => {
                self.journal = None;
                self.check_cut(*cut);
                self.open(*checkpoint);
            }
            (Step::PowerCut { seed, checkpoint }, _) => {
                self.journal = None;
                self.disk.cut(*seed);
                self.open(*checkpoint);
            }
            _ => {}
        }
    }

    /// Nobody but the proof knows of commits that only the last segment had.
    fn check_cut(&self, seed: u64) {
        let disk = self.disk.copy();
        disk.fail_sync_after(None);
        disk.die_after(None);
        disk.shorten(seed);
        match Journal::open(Arc::new(disk), Path::new("journal"), STORE, None, self.segment_bytes_max) {
            Ok(journal) => assert!(self.durable <= journal.tip().position, "{:?} was durable", self.durable),
            Err(error) => assert!(matches!(error, OpenError::Damage(_)), "{error}"),
        }
    }

    /// As the process does after an `AppendError`: it ends, and starts again from disk.
    fn restart(&mut self) {
        self.journal = None;
        self.disk.fail_sync_after(None);
        self.disk.die_after(None);
        self.open(false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_durable_is_lost(
        steps in proptest::collection::vec(step(), 1..60),
        segment_bytes_max in proptest::sample::select(&SEGMENT_BYTES_MAX),
    ) {
        let (disk, appended) = (CutDisk::default(), Vec::new());
        let mut run = Run { disk, segment_bytes_max, journal: None, appended, durable: None };
        run.open(false);
        for step in &steps {
            run.take(step);
        }
        run.take(&Step::PowerCut { seed: 1, checkpoint: true });
        prop_assert!(run.journal.is_some());
    }
}
