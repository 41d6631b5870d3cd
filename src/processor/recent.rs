//! The commits that memory must answer for: those that are not in the index yet, and those that a look-up under way may
//! have missed.

use std::collections::{HashMap, VecDeque};

use super::turn::Recorded;
use crate::model::{Commit, Identity, Newest, Position};

#[derive(Debug)]
pub(super) struct Recent {
    commits: VecDeque<Commit>,
    positions: HashMap<Identity, Position>,
    bytes: usize,
    dropped: u64,
    /// Of the ids that are recorded and not held.
    newest_dropped: Newest,
}

impl Recent {
    /// Holds nothing. `newest`: of all ids that are recorded.
    pub(super) fn new(newest: Newest) -> Recent {
        Recent { commits: VecDeque::new(), positions: HashMap::new(), bytes: 0, dropped: 0, newest_dropped: newest }
    }

    /// Whether a command that is not held is known to be recorded nowhere, since its id is newer than all that are not.
    pub(super) fn excludes(&self, identity: &Identity) -> bool {
        self.newest_dropped.excludes(&identity.id)
    }

    /// Adds the next commit.
    pub(super) fn add(&mut self, commit: Commit) {
        self.bytes += commit.json().len();
        let before = self.positions.insert(commit.command.identity.clone(), commit.position);
        assert!(before.is_none(), "I1: two commits for {:?}", commit.command.identity);
        self.commits.push_back(commit);
    }

    /// The commit of a command.
    pub(super) fn get(&self, identity: &Identity) -> Option<&Commit> {
        self.commits.get(self.offset(identity)?)
    }

    /// The same, and what belongs to it. Commits leave from the front, so where the first one of a group is, all of it is.
    pub(super) fn recorded(&self, identity: &Identity) -> Option<Recorded> {
        let offset = self.offset(identity)?;
        let commit = self.commits.get(offset)?.clone();
        let followers = self.commits.range(offset + 1..).take(commit.followers as usize).cloned().collect();
        Some(Recorded { commit, followers })
    }

    fn offset(&self, identity: &Identity) -> Option<usize> {
        let position = self.positions.get(identity)?;
        let first = self.commits.front()?.position;
        Some(usize::try_from(position.get() - first.get()).expect("what is in memory can be counted"))
    }

    /// Drops the commits up to a position.
    pub(super) fn forget_upto(&mut self, position: Position) {
        while self.commits.front().is_some_and(|commit| commit.position <= position) {
            let Some(commit) = self.commits.pop_front() else { return };
            self.dropped += 1;
            self.bytes -= commit.json().len();
            self.positions.remove(&commit.command.identity);
            self.newest_dropped.add(&commit.command.identity.id);
        }
    }

    /// How many commits were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many commits are held.
    pub(super) fn len(&self) -> usize {
        self.commits.len()
    }

    /// How many bytes of JSON are held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
