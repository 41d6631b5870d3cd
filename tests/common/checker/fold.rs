//! What the events of the store and the same code say.

use std::collections::{BTreeMap, BTreeSet};

use hapax::Context;
use hapax::aggregate::service::{Decided, State};
use hapax::model::{
    AggregateId, CommandName, Decision, Outcome, Position, RecordedEvent, Rejection, Timestamp, Version,
};
use serde_json::Value;

use super::clients::states;
use super::{Case, Record};

/// One aggregate, folded by the checker.
struct Folded {
    state: Box<dyn State>,
    version: u64,
    /// The last commit that changed it.
    last: Option<u64>,
}

/// Decides every commit again, on the state and at the time that it was decided, and folds its events.
pub(super) fn folds_and_decides_again(case: &Case<'_>) -> Result<u64, String> {
    let wanted = claimed_states(case)?;
    let claimed: BTreeSet<(&AggregateId, u64)> =
        wanted.iter().map(|(aggregate, version, _)| (aggregate, *version)).collect();
    let mut states: BTreeMap<(AggregateId, u64), Value> = BTreeMap::new();
    let mut folded: BTreeMap<AggregateId, Folded> = BTreeMap::new();
    for record in &case.records {
        let at = |what: String| format!("position {}: {what}", record.position);
        let aggregate = &record.aggregate;
        if !folded.contains_key(aggregate) {
            let start = case.evidence.service.start(&aggregate.kind).ok_or_else(|| at("is not served".to_owned()))?;
            folded.insert(aggregate.clone(), Folded { state: start.state, version: 0, last: None });
        }
        let folded = folded.get_mut(aggregate).expect("it was put there");
        if record.previous != folded.last {
            return Err(at(format!("the link back leads to {:?}, not to {:?}", record.previous, folded.last)));
        }
        let next = decide_again(record, folded).map_err(at)?;
        evolve(record, folded).map_err(at)?;
        if next.is_some_and(|next| json_of(&*next) != json_of(&*folded.state)) {
            return Err(at("the live state is not what its events fold to".to_owned()));
        }
        if claimed.contains(&(aggregate, folded.version)) {
            states.insert((aggregate.clone(), folded.version), json_of(&*folded.state));
        }
    }
    for (aggregate, version, state) in &wanted {
        let start = || case.evidence.service.start(&aggregate.kind).map(|start| json_of(&*start.state));
        let folded = if *version == 0 { start() } else { states.get(&(aggregate.clone(), *version)).cloned() };
        if folded.as_ref() != Some(state) {
            return Err(format!("{aggregate} at version {version} is {folded:?}, and was said to be {state}"));
        }
    }
    Ok((case.records.len() + wanted.len()) as u64)
}

fn json_of(state: &dyn State) -> Value {
    serde_json::from_slice(&state.to_json().unwrap_or_default()).unwrap_or_default()
}

/// Every state that somebody was shown, or that is kept as a snapshot.
fn claimed_states(case: &Case<'_>) -> Result<Vec<(AggregateId, u64, Value)>, String> {
    let shown = states(case).map(|(answer, aggregate)| {
        (aggregate.clone(), answer.body["version"].as_u64().unwrap_or(0), answer.body["state"].clone())
    });
    let mut claimed: Vec<_> = shown.collect();
    let Some((index, _)) = case.evidence.index else { return Ok(claimed) };
    for aggregate in case.records.iter().map(|record| &record.aggregate).collect::<BTreeSet<_>>() {
        if let Some(snapshot) = index.snapshot(aggregate).map_err(|error| error.to_string())? {
            let state = serde_json::from_slice(&snapshot.state).map_err(|error| error.to_string())?;
            claimed.push((aggregate.clone(), snapshot.version.0, state));
        }
    }
    Ok(claimed)
}

/// The state after it, if it was accepted. The samples decide nothing that is too large to be recorded.
fn decide_again(record: &Record, folded: &Folded) -> Result<Option<Box<dyn State>>, String> {
    let (decision, next) = match protocols_own(record, folded) {
        Some(rejection) => (Decision::Rejected(rejection), None),
        None => {
            let Record { identity, decided_at, .. } = record;
            let context = Context { time: *decided_at, principal: &identity.principal, id: &identity.id };
            match folded.state.decide(&record.name, record.data_text.as_bytes(), &context) {
                Ok(Decided::Accepted { events, next }) => (Decision::Accepted(events), Some(next)),
                Ok(Decided::Rejected(rejection)) => (Decision::Rejected(rejection), None),
                Err(error) => return Err(format!("it cannot be decided again: {error}")),
            }
        }
    };
    let event_count = if let Decision::Accepted(events) = &decision { events.len() as u64 } else { 0 };
    let outcome = Outcome {
        id: record.identity.id.clone(),
        aggregate: record.aggregate.clone(),
        version: Version(folded.version + event_count),
        position: Position::new(record.position).ok_or("no position")?,
        decided_at: record.decided_at,
        decision,
    };
    let again = serde_json::to_vec(&outcome).map_err(|error| error.to_string())?;
    if again != record.outcome[..] {
        let (again, recorded) = (String::from_utf8_lossy(&again), String::from_utf8_lossy(&record.outcome));
        return Err(format!("decided again it is {again}, recorded is {recorded}"));
    }
    Ok(next)
}

/// What the protocol says before the aggregate is asked.
fn protocols_own(record: &Record, folded: &Folded) -> Option<Rejection> {
    if record.name == CommandName::VOID {
        return Some(Rejection::voided());
    }
    if let Some(not_after) = record.not_after.as_deref().and_then(Timestamp::parse)
        && not_after < record.decided_at
    {
        return Some(Rejection::expired(not_after, record.decided_at));
    }
    match record.expected {
        Some(expected) if expected != folded.version => {
            Some(Rejection::version_mismatch(Version(expected), Version(folded.version)))
        }
        _ => None,
    }
}

fn evolve(record: &Record, folded: &mut Folded) -> Result<(), String> {
    for event in record.events.iter().flatten() {
        let event: RecordedEvent = serde_json::from_str(&event.to_string()).map_err(|error| error.to_string())?;
        folded.state.evolve(&event).map_err(|error| error.to_string())?;
        folded.version += 1;
        folded.last = Some(record.position);
    }
    Ok(())
}

/// Up to its checkpoint the index knows everything; behind it, what it knows must be right.
pub(super) fn index_agrees(case: &Case<'_>) -> Result<u64, String> {
    let Some((index, checkpoint)) = case.evidence.index else { return Ok(0) };
    let checkpoint = checkpoint.map_or(0, Position::get);
    let mut changes: BTreeMap<&AggregateId, Vec<(u64, u64)>> = BTreeMap::new();
    for record in &case.records {
        let found = index.position_of(&record.identity).map_err(|error| error.to_string())?.map(Position::get);
        if found != Some(record.position) && (found.is_some() || record.position <= checkpoint) {
            return Err(format!("the index has {found:?} for position {}", record.position));
        }
        if record.event_count() > 0 {
            changes.entry(&record.aggregate).or_default().push((record.position, record.version));
        }
    }
    for (aggregate, changes) in &changes {
        let head = index.head(aggregate).map_err(|error| error.to_string())?;
        let head = head.map(|head| (head.position.get(), head.version.0));
        let must = changes.iter().rev().find(|(position, _)| *position <= checkpoint).copied();
        if head.is_some_and(|head| !changes.contains(&head)) || head < must {
            return Err(format!("{aggregate} stands at {must:?} at least, the index has {head:?}"));
        }
    }
    for identity in case.sendings.keys().filter(|identity| case.record_of(identity).is_none()) {
        if index.position_of(identity).map_err(|error| error.to_string())?.is_some() {
            return Err(format!("the index knows {identity:?}, the store does not"));
        }
    }
    Ok(case.records.len() as u64)
}
