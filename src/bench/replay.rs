//! How fast is a history folded? A journal of the sample domain, made as a processor makes it, is read from its files by one
//! thread and folded into the states of all its aggregates; and beside it, the same JSON is only parsed: into nothing, which
//! nobody who reads this format can beat, and into what a fold needs of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::source::{Ids, Source};
use crate::aggregate::service::{DecideError, Decided};
use crate::aggregate::{Aggregate, Context, Folded, Service};
use crate::model::{
    AggregateId, AggregateType, Change, Command, CommandName, Commit, Decision, Identity, Key, Outcome, Position,
    Principal, Timestamp, Version,
};
use crate::replay::states::States;
use crate::samples::{Account, service};
use crate::store::file::{FileReader, FileStore, OpenError};
use crate::store::{CommitReader, EventStore, ReadError, StoreId, Tip};

/// Accounts that the history is of.
const ACCOUNTS: u64 = 10_000;

/// Commits that are appended, or held to be parsed, at once.
const CHUNK: usize = 10_000;

/// What one pass has taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pass {
    /// Events that were folded, or whose commits were parsed.
    pub events: u64,
    /// How long it took.
    pub time: Duration,
}

/// A history cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A commit cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A commit cannot be folded.
    #[error("{0}")]
    Fold(String),
    /// The sample domain does not understand our commands.
    #[error("the sample domain does not understand a command")]
    Decide(#[from] DecideError),
    /// What is folded is not what was recorded.
    #[error("{folded} events were folded, and {recorded} were recorded")]
    Lost {
        /// By the fold.
        folded: u64,
        /// By who made the history.
        recorded: u64,
    },
}

fn start(service: &Service, kind: &AggregateType) -> Folded {
    service.start(kind).expect("the sample domain is served")
}

/// Makes a journal in a folder with so many commits of one event each: accounts are opened, and money goes in and out.
///
/// # Errors
/// [`ReplayError`].
pub fn record_history(dir: &Path, commits: u64) -> Result<(), ReplayError> {
    let id = StoreId { store: Uuid::now_v7(), partition: 0, partitions: 1 };
    let (mut store, mut tip) = FileStore::open(dir, id, None)?;
    let service = service();
    let kind = AggregateType::parse(Account::TYPE).expect("the service has taken it");
    let principal = Principal::parse("bench").expect("it is a token");
    let mut accounts: Vec<Folded> = (0..ACCOUNTS.min(commits)).map(|_| start(&service, &kind)).collect();
    let mut chunk = Vec::with_capacity(CHUNK);
    for (number, message) in (0..commits).zip(Source::new(Ids::V7, ACCOUNTS, 0)) {
        let account = &mut accounts[(number % ACCOUNTS) as usize];
        let (name, data) = match number / ACCOUNTS {
            0 => ("open", format!(r#"{{"owner":"owner {number}"}}"#)),
            turn if turn % 2 == 1 => ("deposit", format!(r#"{{"amount":{}}}"#, 100 + number % 900)),
            _ => ("withdraw", r#"{"amount":100}"#.to_owned()),
        };
        let id = message.id.parse().expect("a UUID is an id");
        let key = Key::parse(&(number % ACCOUNTS).to_string()).expect("a number is a token");
        let decided_at = Timestamp::EPOCH.plus(Duration::from_millis(number));
        let context = Context { time: decided_at, principal: &principal, id: &id };
        let Decided::Accepted { events, next } = account.state.decide(name, data.as_bytes(), &context)? else {
            unreachable!("there is enough in it");
        };
        let aggregate = AggregateId { kind: kind.clone(), key: key.clone() };
        let outcome = Outcome {
            id: id.clone(),
            aggregate: aggregate.clone(),
            version: Version(account.version.0 + events.len() as u64),
            position: Position::after(tip.position),
            decided_at,
            decision: Decision::Accepted(events),
        };
        let command = Command {
            identity: Identity { principal: principal.clone(), key, id },
            aggregate,
            name: CommandName::parse(name).expect("it is a token"),
            data: Bytes::from(data),
            expected: None,
            not_after: None,
            traceparent: None,
        };
        let commit = Commit::record(command, &outcome, account.last, &tip.hash);
        *account = Folded { state: next, version: commit.version, last: Some(commit.position) };
        tip = Tip::of(&commit);
        chunk.push(commit);
        if chunk.len() == CHUNK || number + 1 == commits {
            store.append(std::mem::take(&mut chunk));
        }
    }
    Ok(()) // Dropped, the store waits until everything is durable.
}

/// Folds a journal into the states of all its aggregates, every frame checked by its checksum: as an export does, which needs
/// the states and what was recorded.
///
/// # Errors
/// [`ReplayError`].
pub fn fold_history(reader: &FileReader) -> Result<Pass, ReplayError> {
    let mut states = States::new(Arc::new(service()));
    let began = Instant::now();
    reader.changes(|recorded| states.follow(recorded.change).map_err(ReplayError::Fold))?;
    passed(reader, &states, began.elapsed())
}

/// The same, with each commit read in full: as whoever decides again, or shows what was asked, must.
///
/// # Errors
/// [`ReplayError`].
pub fn fold_commits(reader: &FileReader) -> Result<Pass, ReplayError> {
    let mut states = States::new(Arc::new(service()));
    let began = Instant::now();
    for commit in reader.read(Position::FIRST) {
        states.apply(&commit?).map_err(ReplayError::Fold)?;
    }
    passed(reader, &states, began.elapsed())
}

fn passed(reader: &FileReader, states: &States, time: Duration) -> Result<Pass, ReplayError> {
    let events = states.all().map(|(_, folded)| folded.version.0).sum();
    let recorded = reader.last().map_or(0, Position::get);
    if events == recorded { Ok(Pass { events, time }) } else { Err(ReplayError::Lost { folded: events, recorded }) }
}

/// Parses the JSON of every commit, from memory and into nothing.
///
/// # Errors
/// [`ReplayError`].
pub fn parse_history(reader: &FileReader) -> Result<Pass, ReplayError> {
    parse(reader, |json| {
        std::hint::black_box(serde_json::from_slice::<IgnoredAny>(json).expect("a commit that was read is JSON"));
    })
}

/// Parses what a fold needs of every commit, from memory: what a fold takes at least, as long as it parses as this one does.
///
/// # Errors
/// [`ReplayError`].
pub fn parse_changes(reader: &FileReader) -> Result<Pass, ReplayError> {
    parse(reader, |json| {
        std::hint::black_box(Change::from_json(json).expect("a commit that was read has changed something"));
    })
}

/// Reading the commits is not counted.
fn parse(reader: &FileReader, each: impl Fn(&[u8])) -> Result<Pass, ReplayError> {
    let mut commits = reader.read(Position::FIRST);
    let mut pass = Pass::default();
    loop {
        let chunk: Vec<Commit> = commits.by_ref().take(CHUNK).collect::<Result<_, _>>()?;
        if chunk.is_empty() {
            return Ok(pass);
        }
        let began = Instant::now();
        for commit in &chunk {
            each(commit.json());
            pass.events += commit.event_count;
        }
        pass.time += began.elapsed();
    }
}

impl Pass {
    /// Events a second.
    pub fn per_second(self) -> f64 {
        self.events as f64 / self.time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_folded_and_parsed() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let commits = 3 * ACCOUNTS + 7;
        record_history(folder.path(), commits).expect("it is recorded");
        let reader = FileReader::open_read_only(folder.path()).expect("it is there");
        assert_eq!(fold_history(&reader).expect("it can be folded").events, commits);
        assert_eq!(fold_commits(&reader).expect("it can be folded").events, commits);
        assert_eq!(parse_history(&reader).expect("it can be parsed").events, commits);
        assert_eq!(parse_changes(&reader).expect("it can be parsed").events, commits);
    }
}
