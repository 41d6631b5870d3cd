//! A commit as one line.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::batch::{Checked, Group};
use crate::model::{ChainHash, Command, Commit, CommitError, Decision, Position};

/// How the lines of one partition look.
#[derive(Debug, Clone, Copy)]
pub struct Timeline {
    /// The partition.
    pub partition: u32,
    /// Whether there are others, so that a line for people must name it.
    pub one_of_many: bool,
    /// The last position that will come; it makes the column as wide as it must be.
    pub last: Position,
}

#[derive(Serialize)]
struct Line<'a> {
    partition: u32,
    position: Position,
    hash: String,
    commit: &'a RawValue,
}

/// What came of a command, in a few words. The commit of an atomic batch speaks for those behind it.
pub fn came_of(command: &Command, decision: &Decision) -> String {
    match decision {
        Decision::Accepted(_) if command.is_batch() => "all accepted".into(),
        Decision::Rejected(_) if command.is_batch() => "all rejected".into(),
        decision => decision.to_string(),
    }
}

/// A command's name and fields, as they were sent; of an atomic batch how many commands follow, and what it checks.
pub fn asked(command: &Command) -> String {
    let group = command.is_batch().then(|| Group::from_json(&command.data).ok()).flatten();
    let Some(Group { commands, checks }) = group else {
        return command.to_string();
    };
    let checks = checks.iter().map(|checked| {
        let Checked { aggregate, key, version, actual, .. } = checked;
        let found = if checked.holds() { String::new() } else { format!(" and found v{actual}") };
        format!(", checked {aggregate}/{key} v{version}{found}")
    });
    format!("{}, the next {commands}{}", command.name, checks.collect::<String>())
}

impl Timeline {
    /// For people: position, time, aggregate and version, who asked for what, and what came of it.
    ///
    /// # Errors
    /// [`CommitError`]: the outcome inside cannot be read.
    pub fn text(&self, commit: &Commit) -> Result<String, CommitError> {
        let (command, outcome) = (&commit.command, commit.outcome()?);
        // A batch has no versions: those of its commands are in the lines behind it.
        let version = if command.is_batch() { String::new() } else { format!(" v{}", commit.version) };
        Ok(format!(
            "{place}  {aggregate}{version}  {principal}: {asked} => {came}",
            place = self.place(commit),
            aggregate = command.aggregate,
            principal = command.identity.principal,
            asked = asked(command),
            came = came_of(command, &outcome.decision),
        ))
    }

    fn place(&self, commit: &Commit) -> String {
        let partition = if self.one_of_many { format!("p{}/", self.partition) } else { String::new() };
        let width = self.last.to_string().len();
        format!("{partition}{:<width$}  {}", commit.position.get(), commit.decided_at)
    }

    /// For programs: the record as it lies in the store, with its place and its chain hash.
    pub fn json(&self, commit: &Commit) -> String {
        json(self.partition, commit.position, &commit.hash, commit.json())
    }
}

/// The line for programs, of a record.
pub(super) fn json(partition: u32, position: Position, hash: &ChainHash, record: &[u8]) -> String {
    let commit = serde_json::from_slice(record).expect("a commit that was read is JSON");
    let line = Line { partition, position, hash: hash.to_string(), commit };
    serde_json::to_string(&line).expect("numbers, a hash and JSON are JSON")
}
