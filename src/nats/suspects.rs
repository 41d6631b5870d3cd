//! Of which commands may processes have died? Of those that one had in hand, and nothing else, when it ended.
//!
//! How often a command was delivered does not tell: over a bad line that number rises although nothing arrives. So before a
//! command that was delivered often is handed out, alone, that is noted on disk, and it is struck out again when the command
//! is settled. What a process leaves noted, it has ended with.
//!
//! Without an fsync: a process that dies leaves its pages to the kernel, and a power cut is no command's fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use crate::model::error::with_sources;

/// How many are remembered; the newest, since older ones are settled.
const SUSPECTS_MAX: usize = 64;

/// The commands of one partition that processes have ended with.
pub struct Suspects {
    /// `None`: nothing outlives this process.
    path: Option<PathBuf>,
    /// By number in the stream: how many processes, and one more if it is in hand.
    ended: BTreeMap<u64, u32>,
    in_hand: Option<u64>,
}

impl Suspects {
    /// What earlier processes left in a file. Whoever cannot read it begins anew: that only makes more processes end.
    pub fn open(path: PathBuf) -> Suspects {
        let ended = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        };
        let ended = ended.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), error = with_sources(&error), "which commands are suspect is not known");
            BTreeMap::new()
        });
        Suspects { path: Some(path), ended, in_hand: None }
    }

    /// For whoever decides nothing that it could die of.
    pub fn none() -> Suspects {
        Suspects { path: None, ended: BTreeMap::new(), in_hand: None }
    }

    /// How many processes have ended with a command, and nothing else, in hand.
    pub(super) fn ended_with(&self, sequence: u64) -> u32 {
        self.ended.get(&sequence).copied().unwrap_or(0)
    }

    /// A command is about to be handed out alone.
    pub(super) fn hand_out(&mut self, sequence: u64) {
        self.in_hand = Some(sequence);
        *self.ended.entry(sequence).or_default() += 1;
        while SUSPECTS_MAX < self.ended.len() {
            self.ended.pop_first();
        }
        self.write();
    }

    /// What was handed out alone is settled.
    pub(super) fn settled(&mut self) {
        if let Some(sequence) = self.in_hand.take() {
            self.ended.remove(&sequence);
            self.write();
        }
    }

    /// Another stream counts from 1.
    pub(super) fn clear(&mut self) {
        self.in_hand = None;
        if !self.ended.is_empty() {
            self.ended.clear();
            self.write();
        }
    }

    fn write(&self) {
        let Some(path) = &self.path else { return };
        let json = serde_json::to_vec(&self.ended).expect("numbers are JSON");
        if let Err(error) = fs::write(path, json) {
            // Then nobody is convicted.
            tracing::warn!(path = %path.display(), error = with_sources(&error), "what is handed out alone cannot be noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_ended_with_is_counted_and_what_it_settled_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Suspects::open(folder.path().join("suspects.json"));
        for died in 0..3 {
            let mut process = open();
            assert_eq!(process.ended_with(7), died);
            process.hand_out(5);
            process.settled();
            process.hand_out(7); // And dies.
        }
        assert_eq!((open().ended_with(7), open().ended_with(5)), (3, 0));
        let mut process = open();
        process.hand_out(7);
        process.settled();
        assert_eq!(open().ended_with(7), 0, "it was not that");
        (1..1_000).for_each(|sequence| process.hand_out(sequence));
        assert_eq!((open().ended_with(1), open().ended_with(999)), (0, 1));
        process.clear();
        assert_eq!(open().ended_with(999), 0);
        fs::write(folder.path().join("suspects.json"), "rubbish").unwrap();
        assert_eq!(open().ended_with(7), 0);
    }
}
