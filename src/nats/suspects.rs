//! Of which commands may processes have died? Of those that one had in hand, and nothing else of their partition, when it
//! died.
//!
//! How often a command was delivered does not tell: over a bad line that number rises although nothing arrives. So before a
//! command that was delivered often is handed out, alone, that is noted on disk, and the note is taken back when the command
//! is settled or the process ends in order. What a process leaves noted, it has died with.
//!
//! Without an fsync: a process that dies leaves its pages to the kernel, and a power cut is no command's fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io, thread};

use serde::{Deserialize, Serialize};

use crate::model::error::with_sources;
use crate::model::limits::IN_FLIGHT_COMMANDS_MAX;

/// The commands of one partition that processes have died with. Whoever drops them ends in order, be it with an error: not of
/// what is in hand, so that does not count; unless a panic is what ends it.
pub struct Suspects {
    /// `None`: nothing outlives this process.
    path: Option<PathBuf>,
    noted: Noted,
    in_hand: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
struct Noted {
    /// When the consumer was made that counts them; another one may be of another stream, which counts from 1.
    consumer_made: String,
    /// By number in the stream: how many processes, and one more if it is in hand. The newest [`IN_FLIGHT_COMMANDS_MAX`]:
    /// no more than that may come again, so older ones are settled.
    ended: BTreeMap<u64, u32>,
}

impl Suspects {
    /// What earlier processes left in a file. Whoever cannot read it begins anew: that only makes more processes end.
    pub fn open(path: PathBuf) -> Suspects {
        let noted = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Noted::default()),
            Err(error) => Err(error),
        };
        let noted = noted.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), error = with_sources(&error), "which commands are suspect is not known");
            Noted::default()
        });
        Suspects { path: Some(path), noted, in_hand: None }
    }

    /// For whoever decides nothing that it could die of.
    pub fn none() -> Suspects {
        Suspects { path: None, noted: Noted::default(), in_hand: None }
    }

    /// How many processes have died with a command, and nothing else of its partition, in hand.
    pub(super) fn ended_with(&self, sequence: u64) -> u32 {
        self.noted.ended.get(&sequence).copied().unwrap_or(0)
    }

    /// A command is about to be handed out alone.
    pub(super) fn hand_out(&mut self, sequence: u64) {
        self.in_hand = Some(sequence);
        if self.noted.ended.len() == IN_FLIGHT_COMMANDS_MAX && self.ended_with(sequence) == 0 {
            self.noted.ended.pop_first();
        }
        *self.noted.ended.entry(sequence).or_default() += 1;
        self.write();
    }

    /// What was handed out alone is settled.
    pub(super) fn settled(&mut self) {
        if let Some(sequence) = self.in_hand.take() {
            self.noted.ended.remove(&sequence);
            self.write();
        }
    }

    /// From now on they are counted by a consumer that was made then. What another one has counted is forgotten.
    pub(super) fn begin(&mut self, consumer_made: String) {
        if self.noted.consumer_made != consumer_made {
            self.in_hand = None;
            self.noted = Noted { consumer_made, ended: BTreeMap::new() };
        }
    }

    fn write(&self) {
        let Some(path) = &self.path else { return };
        let json = serde_json::to_vec(&self.noted).expect("numbers are JSON");
        let anew = path.with_extension("new"); // Half a file would forget them all.
        if let Err(error) = fs::write(&anew, json).and_then(|()| fs::rename(&anew, path)) {
            // Then nobody is convicted.
            tracing::warn!(path = %path.display(), error = with_sources(&error), "what is handed out alone cannot be noted");
        }
    }
}

impl Drop for Suspects {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        if let Some(sequence) = self.in_hand.take() {
            let ended = self.ended_with(sequence) - 1;
            self.noted.ended.remove(&sequence);
            if 0 < ended {
                self.noted.ended.insert(sequence, ended);
            }
            self.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn die(process: Suspects) {
        std::mem::forget(process);
    }

    #[test]
    fn what_a_process_died_with_is_counted_and_what_it_settled_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Suspects::open(folder.path().join("suspects.json"));
        for died in 0..3 {
            let mut process = open();
            assert_eq!(process.ended_with(7), died);
            process.hand_out(5);
            process.settled();
            process.hand_out(7);
            die(process);
        }
        assert_eq!((open().ended_with(7), open().ended_with(5)), (3, 0));
        let mut process = open();
        process.hand_out(7);
        process.settled();
        assert_eq!(open().ended_with(7), 0, "it was not that");
        fs::write(folder.path().join("suspects.json"), "rubbish").unwrap();
        assert_eq!(open().ended_with(7), 0);
    }

    /// It was convicted of damage that it had asked for.
    #[test]
    fn who_ends_with_an_error_convicts_nothing_and_who_panics_does() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Suspects::open(folder.path().join("suspects.json"));
        let mut process = open();
        process.hand_out(7);
        drop(process);
        assert_eq!(open().ended_with(7), 0);
        let mut process = open();
        process.hand_out(7);
        thread::spawn(move || {
            let _dies_with_it = process;
            panic!("as planted");
        })
        .join()
        .unwrap_err();
        assert_eq!(open().ended_with(7), 1);
        let mut process = open();
        process.hand_out(7);
        drop(process);
        assert_eq!(open().ended_with(7), 1, "others have died with it");
    }

    #[test]
    fn another_consumer_counts_anew() {
        let folder = tempfile::tempdir().unwrap();
        let open = |made: &str| {
            let mut suspects = Suspects::open(folder.path().join("suspects.json"));
            suspects.begin(made.to_owned());
            suspects
        };
        let mut process = open("today");
        process.hand_out(7);
        die(process);
        assert_eq!(open("today").ended_with(7), 1);
        assert_eq!(open("tomorrow").ended_with(7), 0);
    }

    #[test]
    fn the_oldest_are_forgotten_and_never_what_is_in_hand() {
        let mut process = Suspects::none();
        for sequence in 2..=IN_FLIGHT_COMMANDS_MAX as u64 + 1 {
            process.hand_out(sequence);
        }
        process.hand_out(1);
        assert_eq!((process.ended_with(1), process.ended_with(2), process.ended_with(3)), (1, 0, 1));
        process.hand_out(1);
        assert_eq!((process.ended_with(1), process.ended_with(3)), (2, 1));
    }
}
