//! The stream of a feed in memory, and the processor's part of it, moved by single steps. What may happen to messages on their
//! way is tried where the feeder is (`src/nats/feed`); here it is about the store that is fed.

use hapax::Position;
use hapax::model::Commit;
use hapax::nats::feed::{Answer, Feeder, Next, Stand};
use hapax::store::CommitReader;
use hapax::store::file::FileReader;

use super::ended::{Ended, Step};
use super::feed::Fed;

/// Commits that are published at once, unless an atomic batch needs more.
const SHEAF: usize = 5;

#[derive(Default)]
pub struct FeedWorld {
    pub stream: Vec<Fed>,
    feeder: Feeder,
}

impl FeedWorld {
    /// The last position of the stream, which the store must have.
    pub fn last(&self) -> Option<Position> {
        Position::new(self.stream.len() as u64)
    }

    /// The process has ended.
    pub fn die(&mut self) {
        self.feeder = Feeder::new();
    }

    /// The broker has lost the end, of which no atomic batch is torn.
    pub fn lose_end(&mut self, messages: usize) -> bool {
        let mut left = self.stream.len().saturating_sub(messages);
        while 0 < left && left < self.stream.len() && !self.is_whole(left) {
            left -= 1;
        }
        let is_less = left < self.stream.len();
        self.stream.truncate(left);
        self.feeder.doubt();
        is_less
    }

    /// Whether no atomic batch is half in so many messages.
    fn is_whole(&self, messages: usize) -> bool {
        let mut owed = 0_u32;
        for fed in &self.stream[..messages] {
            let hash = fed.chain_hash.parse().expect("it is one of ours");
            let commit = Commit::from_json(fed.body.clone(), hash).expect("it is one of ours");
            owed = owed.checked_sub(1).unwrap_or(commit.followers);
        }
        owed == 0
    }

    /// What a start checks.
    pub fn compare(&self, reader: &FileReader) -> Result<(), Ended> {
        let ours = self.last().filter(|last| Some(*last) <= reader.last());
        let ours = ours.map(|last| reader.get(last)).transpose()?.map(|commit| commit.hash);
        self.stand().compare(reader.last(), ours).map_err(|error| Ended::Damage(error.to_string()))
    }

    fn stand(&self) -> Stand {
        let hash = self.stream.last().and_then(|fed| fed.chain_hash.parse().ok());
        Stand { last: self.last(), hash, missing: 0 }
    }

    /// Does what is to be done next. Of what is published so many units arrive; the answer may be lost. Whether there was
    /// anything to do.
    pub fn step(&mut self, reader: &FileReader, arriving: usize, is_answered: bool) -> Step {
        match self.feeder.next(reader.last()) {
            Next::Wait => Ok(false),
            Next::Ask => {
                self.compare(reader)?;
                let ours = self.last().map(|last| reader.get(last)).transpose()?.map(|commit| commit.hash);
                let stands = self.feeder.stands(&self.stand(), reader.last(), ours);
                stands.map(|()| true).map_err(|error| Ended::Damage(error.to_string()))
            }
            Next::Publish(from) => {
                let (mut upto, mut sent, mut owed, mut arrived) = (from, Vec::new(), 0_u32, 0);
                for (number, commit) in reader.read(from).enumerate() {
                    let commit = commit?;
                    upto = commit.position;
                    owed = owed.checked_sub(1).unwrap_or(commit.followers);
                    sent.push(fed(&commit));
                    if owed == 0 {
                        if arrived < arriving {
                            self.stream.append(&mut sent);
                        }
                        arrived += 1;
                        if SHEAF <= number {
                            break;
                        }
                    }
                }
                self.feeder.published(upto);
                let sequence = self.stream.len() as u64;
                let all = sequence == upto.get() && is_answered;
                self.feeder.answered(if all { Answer::Stored { sequence, duplicate: false } } else { Answer::Unknown });
                Ok(true)
            }
        }
    }
}

/// A commit as it stands in the feed.
pub fn fed(commit: &Commit) -> Fed {
    let kind = if commit.accepted { "evt" } else { "rej" };
    let aggregate = &commit.command.aggregate;
    Fed {
        sequence: commit.position.get(),
        subject: format!("{kind}.0.{}.{}", aggregate.kind, aggregate.key),
        chain_hash: commit.hash.to_string(),
        traceparent: commit.command.traceparent.clone(),
        body: commit.json().clone(),
    }
}
