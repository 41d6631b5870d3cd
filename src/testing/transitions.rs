//! What comes of each command in each state?
//!
//! A walk from the state before anything happened, over sample commands, breadth first: a new state is one that equals
//! none before it. The text is a table of everything that these commands can do, so a rule that changes is a line that
//! changes.

use std::fmt::Display;

use crate::aggregate::{Aggregate, Context, name_and_data};
use crate::model::error::caught;
use crate::model::wording::named;
use crate::model::{CommandId, Decision, Principal, Rejection, Timestamp};

/// How many states are walked at most. Amounts add up without end, so that a bound must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct States(pub usize);

/// The table, as text: for each state that was walked, for each command, the events and the next state, or the reason. The
/// last line says whether the bound has cut the walk. Commands are decided by the principal `alice` at the epoch.
///
/// ```
/// use hapax::samples::{Account, AccountCommand::{Close, Open}};
/// use hapax::testing::{States, transitions};
/// let table = transitions::<Account>(&[Open { owner: "ann".into() }, Close], States(10));
/// assert_eq!(table, r#"account
///
/// state 1  {"owner":null,"balance":0,"closed":false}
///   open {"owner":"ann"}  opened {"owner":"ann"}  -> 2
///   close                 rejected not_open: the account is not open
/// state 2  {"owner":"ann","balance":0,"closed":false}
///   open {"owner":"ann"}  rejected already_open: the account has been opened before
///   close                 closed                  -> 3
/// state 3  {"owner":"ann","balance":0,"closed":true}
///   open {"owner":"ann"}  rejected already_open: the account has been opened before
///   close                 rejected not_open: the account is not open
///
/// all states that these commands lead to
/// "#);
/// ```
///
/// # Panics
/// If a command, an event, a rejection or a state is not JSON.
pub fn transitions<A: Aggregate>(commands: &[A::Command], States(states_max): States) -> String {
    let mut states = vec![A::default()];
    let mut walked = Vec::new();
    while let Some(state) = states.get(walked.len()).filter(|_| walked.len() < states_max).cloned() {
        let steps: Vec<Step> = commands.iter().map(|command| step(&state, command, &mut states)).collect();
        walked.push((state, steps));
    }
    let all = || walked.iter().flat_map(|(_, steps)| steps);
    let command_width = all().map(|step| step.command.chars().count()).max().unwrap_or(0);
    // A reason may be longer than any event: nothing stands behind it.
    let accepted = all().filter(|step| step.next.is_some());
    let outcome_width = accepted.map(|step| step.outcome.chars().count()).max().unwrap_or(0);
    let mut lines = vec![A::TYPE.to_owned(), String::new()];
    for (number, (state, steps)) in (1..).zip(&walked) {
        lines.push(format!("state {number}  {}", json(state)));
        lines.extend(steps.iter().map(|Step { command, outcome, next }| {
            let next = next.map_or_else(String::new, |next| format!("  -> {next}"));
            format!("  {command:<command_width$}  {outcome:<outcome_width$}{next}").trim_end().to_owned()
        }));
    }
    lines.push(String::new());
    lines.push(match states.len() - walked.len() {
        0 => "all states that these commands lead to".to_owned(),
        left => format!("cut at {states_max} states: {left} more were reached, and not walked"),
    });
    lines.join("\n") + "\n"
}

/// What came of one command.
struct Step {
    command: String,
    outcome: String,
    /// The number of the state behind its events.
    next: Option<usize>,
}

/// Decides a command, and notes the state that it leads to.
fn step<A: Aggregate>(state: &A, command: &A::Command, states: &mut Vec<A>) -> Step {
    let principal = Principal::parse("alice").expect("it is a token");
    let id = CommandId::parse("a-command-of-the-table").expect("it is an id");
    let context = Context { time: Timestamp::EPOCH, principal: &principal, id: &id };
    let decided = caught(|| {
        let events = state.decide(command.clone(), &context)?;
        let next = events.iter().fold(state.clone(), A::evolve);
        Ok::<_, A::Rejection>((events, next))
    });
    let command = variant(command);
    match decided {
        Err(panic) => Step { command, outcome: format!("panics: {panic}"), next: None },
        Ok(Err(rejection)) => {
            let (reason, details) = name_and_data(&rejection).expect("a rejection is JSON");
            let rejection = Rejection::by_rule(reason, rejection.to_string(), Some(details));
            Step { command, outcome: rejection.to_string(), next: None }
        }
        Ok(Ok((events, _))) if events.is_empty() => {
            Step { command, outcome: Decision::Accepted(Vec::new()).to_string(), next: None }
        }
        Ok(Ok((events, next))) => {
            let outcome = events.iter().map(variant).collect::<Vec<_>>().join(", ");
            let known = states.iter().position(|known| *known == next);
            let index = known.unwrap_or_else(|| {
                states.push(next);
                states.len() - 1
            });
            Step { command, outcome, next: Some(index + 1) }
        }
    }
}

/// A variant, as it is on the wire.
fn variant(value: &impl serde::Serialize) -> String {
    let (name, data) = name_and_data(value).expect("commands and events are JSON of externally tagged enums");
    named(name, data.get())
}

fn json(state: &impl serde::Serialize) -> impl Display {
    serde_json::to_string(state).expect("a state is JSON")
}
