//! How a story reads: what was sent, what came of it, and what that changed.

use std::fmt::Write;

use super::message::{Message, What};
use crate::aggregate::Service;
use crate::aggregate::service::State;
use crate::client::RawCommand;
use crate::model::difference::difference;
use crate::model::outcome::Reply;
use crate::model::wording::named;
use crate::model::{AggregateId, Decision, Outcome, RecordedEvent, Timestamp};

/// The line of a message.
pub(super) fn sent(name: &str, message: &Message) -> String {
    let Message { principal, what } = message;
    let limit = |time: &Option<Timestamp>| time.map(|time| format!(", not after {time}")).unwrap_or_default();
    match what {
        What::Command(command) => {
            format!("{name} {principal} {}{}", asked(command), limit(&command.not_after))
        }
        What::Batch { not_after, .. } => format!("{name} {principal} batch{}", limit(not_after)),
        What::Void { aggregate, .. } => format!("void {name} {principal} {aggregate}"),
    }
}

/// `account/42 withdraw {"amount":500}, expecting v2`
pub(super) fn asked(RawCommand { aggregate, name, data, expected, .. }: &RawCommand) -> String {
    let expected = expected.map(|version| format!(", expecting v{version}")).unwrap_or_default();
    format!("{aggregate} {}{expected}", named(name, &String::from_utf8_lossy(data)))
}

/// What came of a command, with what its events changed in the state that those `before` had made.
pub(super) fn outcome(outcome: &Outcome, before: &[RecordedEvent], service: &Service) -> Vec<String> {
    let events = match &outcome.decision {
        Decision::Accepted(events) if !events.is_empty() => events,
        Decision::Accepted(_) | Decision::Rejected(_) => return vec![verdict(outcome)],
    };
    let mut lines = Vec::new();
    let mut state = state_after(&outcome.aggregate, before, service);
    for (version, event) in (outcome.version.0 - events.len() as u64 + 1..).zip(events) {
        lines.push(format!("+ v{version} {event}"));
        let next = state.as_ref().and_then(|(state, _)| {
            let mut next = state.clone();
            next.evolve(event.borrowed()).ok()?;
            let json = next.to_json().ok()?;
            Some((next, json))
        });
        if let (Some((_, before)), Some((_, after))) = (&state, &next) {
            lines.extend(difference(before, after).into_iter().map(|line| format!("  {line}")));
        }
        state = next;
    }
    lines
}

type Shown = (Box<dyn State>, Vec<u8>);

fn state_after(aggregate: &AggregateId, events: &[RecordedEvent], service: &Service) -> Option<Shown> {
    let mut state = service.start(&aggregate.kind)?.state;
    for event in events {
        state.evolve(event.borrowed()).ok()?;
    }
    let json = state.to_json().ok()?;
    Some((state, json))
}

/// An outcome that comes once more.
pub(super) fn replay(reply: &Reply) -> String {
    match reply {
        Reply::Outcome(outcome) => format!("replayed: {}", verdict(outcome)),
        _ => "replayed".to_owned(),
    }
}

/// An outcome in a few words, without its events.
pub(super) fn verdict(outcome: &Outcome) -> String {
    match &outcome.decision {
        Decision::Accepted(events) if !events.is_empty() => format!("accepted, v{}", outcome.version),
        decision => decision.to_string(),
    }
}

/// A block of a story: a line, and what belongs to it.
pub(super) fn block(head: &str, lines: &[String]) -> String {
    let mut block = head.to_owned();
    for line in lines {
        write!(block, "\n   {line}").expect("a String takes everything");
    }
    block
}
