//! What comes out when a store is decided again: each difference as it is found, then the aggregates that have some.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::exit::{Exit, Failure, said};
use super::output::{self, Paint};
use crate::model::error::with_sources;
use crate::model::{AggregateId, Position, Snapshot};
use crate::replay::redecide::{Now, Redecided};
use crate::replay::states::States;
use crate::replay::timeline::{asked, came_of};

/// What was found so far.
#[derive(Debug)]
pub(super) struct Again {
    /// Whether every difference counts. Otherwise rules may have changed, and types may not be served here.
    strict: bool,
    json: bool,
    decided: u64,
    differing: u64,
    /// Commits that cannot be decided again, since this program does not serve their types.
    not_served: u64,
    /// States that another fold has made, so that they may differ; or that cannot be read, as which they are not used.
    not_compared: u64,
    /// States that an export does not have.
    lacking: u64,
    changed: BTreeMap<AggregateId, Changed>,
}

/// What is different about an aggregate.
#[derive(Debug, Default)]
struct Changed {
    outcomes: u64,
    state: bool,
    /// Why this program cannot fold it.
    unreadable: Option<String>,
    /// A recorded state is not the one that this program folds.
    folded_otherwise: bool,
}

impl Again {
    pub(super) fn new(strict: bool, json: bool) -> Again {
        let changed = BTreeMap::new();
        Again { strict, json, decided: 0, differing: 0, not_served: 0, not_compared: 0, lacking: 0, changed }
    }

    /// Counts what was decided again, and shows what came out otherwise.
    pub(super) fn show(&mut self, partition: u32, redecided: Vec<Redecided>) -> Result<(), Failure> {
        for redecided in redecided {
            let aggregate = &redecided.recorded.command.aggregate;
            if let Some(why) = &redecided.unreadable {
                self.changed.entry(aggregate.clone()).or_default().unreadable = Some(why.clone());
            }
            match &redecided.now {
                None => self.decided += 1,
                // Whoever has a program of his own looks at a store with that one, and may do so with ours.
                Some(Now::Refused(refusal)) if !self.strict && refusal.reason == "unknown_aggregate" => {
                    self.not_served += 1;
                }
                Some(now) => {
                    self.decided += 1;
                    self.differing += 1;
                    let changed = self.changed.entry(aggregate.clone()).or_default();
                    changed.outcomes += 1;
                    changed.state |= redecided.state_differs;
                    said(if self.json { print_json(partition, &redecided, now) } else { print(&redecided, now) })?;
                }
            }
        }
        Ok(())
    }

    /// Compares a recorded state with the one that was folded from the same commits.
    pub(super) fn compare(
        &mut self,
        states: &States,
        aggregate: &AggregateId,
        recorded: &Snapshot,
    ) -> Result<(), Failure> {
        match states.agrees(aggregate, recorded) {
            Some(true) => {}
            Some(false) => {
                let changed = self.changed.entry(aggregate.clone()).or_default();
                (changed.state, changed.folded_otherwise) = (true, true);
                if !self.json {
                    let now = states.get(aggregate).ok().and_then(|folded| folded.state.to_json().ok());
                    said(print_states(aggregate, recorded, &now.unwrap_or_default()))?;
                }
            }
            None => self.not_compared += u64::from(states.get(aggregate).is_ok()),
        }
        Ok(())
    }

    /// Notes that so many states are not recorded, so that they cannot be compared.
    pub(super) fn lacks(&mut self, states: u64) {
        self.lacking += states;
    }

    /// How many states were not compared, for whatever reason.
    pub(super) fn not_compared(&self) -> u64 {
        self.not_compared + self.lacking
    }

    /// How many commits were decided again.
    pub(super) fn decided(&self) -> u64 {
        self.decided
    }

    /// How many of them otherwise.
    pub(super) fn differing(&self) -> u64 {
        self.differing
    }

    /// Takes over what another partition has.
    pub(super) fn add(&mut self, other: Again) {
        self.decided += other.decided;
        self.differing += other.differing;
        self.not_served += other.not_served;
        self.not_compared += other.not_compared;
        self.lacking += other.lacking;
        self.changed.extend(other.changed); // An aggregate lives in one partition.
    }

    /// Whether nothing is wrong: for who is strict, nothing is different.
    pub(super) fn is_fine(&self) -> bool {
        let is_wrong = |changed: &Changed| changed.unreadable.is_some() || changed.folded_otherwise;
        if self.strict { self.changed.is_empty() } else { !self.changed.values().any(is_wrong) }
    }

    /// In a few words.
    pub(super) fn summary(&self, paint: Paint) -> String {
        let mut summary = match (self.decided, self.differing) {
            (0, _) if self.not_served > 0 => "not decided again".into(),
            (decided, 0) => format!("{}, {decided} decided as they were", paint.good("same")),
            (decided, differing) => format!("{}, {differing} of {decided} outcomes", paint.bad("other")),
        };
        if self.not_served > 0 {
            summary += &format!("; {} of types that this program does not serve", self.not_served);
        }
        if self.not_compared > 0 {
            summary += &format!("; states not compared, since another FOLD made them: {}", self.not_compared);
        }
        if self.lacking > 0 {
            summary += &format!("; states not compared, since the export lacks them: {}", self.lacking);
        }
        summary
    }

    /// The aggregates about which something is different.
    pub(super) fn list(&self) -> Result<(), Failure> {
        if self.changed.is_empty() {
            return Ok(());
        }
        if self.json {
            return self.changed.iter().try_for_each(|(aggregate, changed)| {
                let Changed { outcomes, state, unreadable, .. } = changed;
                let aggregate = aggregate.to_string();
                let line = serde_json::json!({
                    "aggregate": aggregate, "outcomes": outcomes, "state": state, "unreadable": unreadable,
                });
                output::line(line.to_string())
            });
        }
        let rows: Vec<_> =
            self.changed.iter().map(|(aggregate, changed)| (aggregate.to_string(), changed.text())).collect();
        let rows: Vec<_> = rows.iter().map(|(aggregate, text)| (aggregate.as_str(), text.clone())).collect();
        output::line("")?;
        output::rows(Paint::for_stdout(), &rows)
    }
}

impl Changed {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        match self.outcomes {
            0 => {}
            1 => parts.push("1 outcome would be another".to_owned()),
            outcomes => parts.push(format!("{outcomes} outcomes would be others")),
        }
        if self.folded_otherwise {
            parts.push("its events are folded into another state; raise FOLD if that is meant".into());
        } else if self.state {
            parts.push("its state would be another".into());
        }
        parts.extend(self.unreadable.clone());
        parts.join("; ")
    }
}

fn print(redecided: &Redecided, now: &Now) -> Result<(), Failure> {
    let recorded = &redecided.recorded;
    let outcome = recorded.outcome().map_err(|error| Failure::new(Exit::Damaged, with_sources(&error)))?;
    let command = &recorded.command;
    let (mut was, mut is) = (came_of(command, &outcome.decision), now.text());
    if was == is {
        // What shows it is in the details, or in what the checks of a batch have found.
        (was, is) = match now {
            Now::Decided(commit) if commit.outcome_json() == recorded.outcome_json() => {
                (asked(command), asked(&commit.command))
            }
            now => (text(recorded.outcome_json()), text(&now.to_json(&command.identity.id))),
        };
    }
    let first = format!("position {}  {}: {}", recorded.position, command.aggregate, asked(command));
    for line in [first, format!("  recorded  {was}"), format!("  now       {is}")] {
        output::line(output::shown(&line))?;
    }
    Ok(())
}

/// The line for programs. Outcomes are as they were written, with every digit.
#[derive(Serialize)]
struct Row<'a> {
    partition: u32,
    position: Position,
    aggregate: String,
    recorded: Option<&'a RawValue>,
    now: Option<&'a RawValue>,
    state_differs: bool,
}

fn print_json(partition: u32, redecided: &Redecided, now: &Now) -> Result<(), Failure> {
    let Redecided { recorded, state_differs, .. } = redecided;
    let now = now.to_json(&recorded.command.identity.id);
    let row = Row {
        partition,
        position: recorded.position,
        aggregate: recorded.command.aggregate.to_string(),
        recorded: output::raw(recorded.outcome_json()),
        now: output::raw(&now),
        state_differs: *state_differs,
    };
    output::line(serde_json::to_string(&row).expect("numbers and JSON are JSON"))
}

fn text(json: &[u8]) -> String {
    String::from_utf8_lossy(json).into_owned()
}

fn print_states(aggregate: &AggregateId, recorded: &Snapshot, now: &[u8]) -> Result<(), Failure> {
    output::line(format!("{aggregate}  its state at version {}", recorded.version))?;
    output::line(output::shown(&format!("  recorded  {}", text(&recorded.state))))?;
    output::line(output::shown(&format!("  now       {}", text(now))))
}
