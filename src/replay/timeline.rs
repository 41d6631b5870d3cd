//! A commit as one line.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::batch::{Checked, Group};
use crate::model::{Commit, CommitError, Decision, Position};

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

impl Timeline {
    /// For people: position, time, aggregate and version, who asked for what, and what came of it.
    ///
    /// # Errors
    /// [`CommitError`]: the outcome inside cannot be read.
    pub fn text(&self, commit: &Commit) -> Result<String, CommitError> {
        let outcome = commit.outcome()?;
        if commit.command.is_batch() {
            return self.text_of_batch(commit, matches!(outcome.decision, Decision::Accepted(_)));
        }
        let decided = match &outcome.decision {
            Decision::Accepted(events) if events.is_empty() => "nothing changed".into(),
            Decision::Accepted(events) => {
                let events: Vec<_> =
                    events.iter().map(|event| format!("{} {}", event.kind, event.data.get())).collect();
                events.join(", ")
            }
            Decision::Rejected(rejection) => format!("rejected, {}: {}", rejection.reason, rejection.message),
        };
        let command = &commit.command;
        Ok(format!(
            "{place}  {aggregate} v{version}  {principal}: {name} {data} => {decided}",
            place = self.place(commit),
            aggregate = command.aggregate,
            version = commit.version,
            principal = command.identity.principal,
            name = command.name,
            data = String::from_utf8_lossy(&command.data),
        ))
    }

    /// The commit of an atomic batch; those of its commands are the lines behind it.
    fn text_of_batch(&self, commit: &Commit, accepted: bool) -> Result<String, CommitError> {
        let Group { commands, checks } = Group::from_json(&commit.command.data).map_err(CommitError::Group)?;
        let checks = checks.iter().map(|checked| {
            let Checked { aggregate, key, version, actual, .. } = checked;
            let found = if checked.holds() { String::new() } else { format!(" and found v{actual}") };
            format!(", checked {aggregate}/{key} v{version}{found}")
        });
        Ok(format!(
            "{place}  {aggregate}  {principal}: {name}, the next {commands}{checks} => {decided}",
            place = self.place(commit),
            aggregate = commit.command.aggregate,
            principal = commit.command.identity.principal,
            name = commit.command.name,
            checks = checks.collect::<String>(),
            decided = if accepted { "all accepted" } else { "all rejected" },
        ))
    }

    fn place(&self, commit: &Commit) -> String {
        let partition = if self.one_of_many { format!("p{}/", self.partition) } else { String::new() };
        let width = self.last.to_string().len();
        format!("{partition}{:<width$}  {}", commit.position.get(), commit.decided_at)
    }

    /// For programs: the record as it lies in the store, with its place and its chain hash.
    pub fn json(&self, commit: &Commit) -> String {
        let record = serde_json::from_slice(commit.json()).expect("a commit that was read is JSON");
        let (partition, position, hash) = (self.partition, commit.position, commit.hash.to_string());
        let line = Line { partition, position, hash, commit: record };
        serde_json::to_string(&line).expect("numbers, a hash and JSON are JSON")
    }
}
