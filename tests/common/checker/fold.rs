//! What the events of the store and the same code say.

use std::collections::{BTreeMap, BTreeSet};

use hapax::Context;
use hapax::aggregate::service::{Decided, State};
use hapax::model::{
    AggregateId, CommandName, Decision, Outcome, Position, RecordedEvent, Rejection, Timestamp, Version,
};
use serde_json::Value;

use super::batches::{Group, Part};
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
    // What was decided when the group was, by position.
    let mut planned: BTreeMap<u64, Option<Box<dyn State>>> = BTreeMap::new();
    for (index, record) in case.records.iter().enumerate() {
        let at = |what: String| format!("position {}: {what}", record.position);
        let aggregate = &record.aggregate;
        if aggregate.kind.is_batch() {
            match record.is_void() {
                true => compare(record, Decision::Rejected(Rejection::voided()), 0),
                false => decide_group_again(case, &Group::read(case, index)?, &folded, &mut planned),
            }
            .map_err(at)?;
            continue;
        }
        if !folded.contains_key(aggregate) {
            folded.insert(aggregate.clone(), start(case, aggregate).map_err(at)?);
        }
        let folded = folded.get_mut(aggregate).expect("it was put there");
        if record.previous != folded.last {
            return Err(at(format!("the link back leads to {:?}, not to {:?}", record.previous, folded.last)));
        }
        let next = match planned.remove(&record.position) {
            Some(next) => next,
            None => decide_again(record, folded).map_err(at)?,
        };
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

fn start(case: &Case<'_>, aggregate: &AggregateId) -> Result<Folded, String> {
    let start = case.evidence.service.start(&aggregate.kind).ok_or_else(|| format!("{aggregate} is not served"))?;
    Ok(Folded { state: start.state, version: 0, last: None })
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
    let (decision, next) = decide(record, &*folded.state, folded.version)?;
    compare(record, decision, folded.version)?;
    Ok(next)
}

/// What it is when it is decided now, and the state after it.
type Again = (Decision, Option<Box<dyn State>>);

fn decide(record: &Record, state: &dyn State, version: u64) -> Result<Again, String> {
    if let Some(rejection) = protocols_own(record, version) {
        return Ok((Decision::Rejected(rejection), None));
    }
    let Record { identity, decided_at, .. } = record;
    let context = Context { time: *decided_at, principal: &identity.principal, id: &identity.id };
    match state.decide(&record.name, record.data_text.as_bytes(), &context) {
        Ok(Decided::Accepted { events, next }) => Ok((Decision::Accepted(events), Some(next))),
        Ok(Decided::Rejected(rejection)) => Ok((Decision::Rejected(rejection), None)),
        Err(error) => Err(format!("it cannot be decided again: {error}")),
    }
}

/// Decides an atomic batch again, item by item, each on the state that those before it would leave, and then all of it.
fn decide_group_again(
    case: &Case<'_>,
    group: &Group<'_>,
    folded: &BTreeMap<AggregateId, Folded>,
    planned: &mut BTreeMap<u64, Option<Box<dyn State>>>,
) -> Result<(), String> {
    let mut states: BTreeMap<AggregateId, (Box<dyn State>, u64)> = BTreeMap::new();
    let mut decided = Vec::new();
    let mut accepted = true;
    for part in &group.parts {
        let aggregate = match part {
            Part::Command(record) => record.aggregate.clone(),
            Part::Check(checked) => checked.aggregate(),
        };
        if !states.contains_key(&aggregate) {
            let state = match folded.get(&aggregate) {
                Some(folded) => (folded.state.clone(), folded.version),
                None => (start(case, &aggregate)?.state, 0),
            };
            states.insert(aggregate.clone(), state);
        }
        let (state, version) = states.get_mut(&aggregate).expect("it was put there");
        match part {
            Part::Check(checked) if checked.actual != *version => {
                return Err(format!("{aggregate} was at {version}, its check found {}", checked.actual));
            }
            Part::Check(checked) => accepted &= checked.holds(),
            Part::Command(record) => {
                let before = *version;
                let again = decide(record, &**state, before)?;
                match &again {
                    (Decision::Accepted(events), Some(next)) => {
                        *version += events.len() as u64;
                        *state = next.clone();
                    }
                    _ => accepted = false,
                }
                decided.push((*record, before, again));
            }
        }
    }
    let whole = if accepted { Decision::Accepted(Vec::new()) } else { Decision::Rejected(Rejection::batch_aborted()) };
    compare(group.head, whole, 0)?;
    for (record, before, again) in decided {
        let now = folded.get(&record.aggregate).map_or(0, |folded| folded.version);
        let next = match again {
            (decision @ Decision::Accepted(_), next) if accepted => {
                compare(record, decision, before)?;
                next
            }
            (Decision::Accepted(_), _) => {
                compare(record, Decision::Rejected(Rejection::batch_aborted()), now)?;
                None
            }
            (decision, _) => {
                compare(record, decision, now)?;
                None
            }
        };
        planned.insert(record.position, next);
    }
    Ok(())
}

/// Whether a decision, written down anew, is what is recorded.
fn compare(record: &Record, decision: Decision, version: u64) -> Result<(), String> {
    let event_count = if let Decision::Accepted(events) = &decision { events.len() as u64 } else { 0 };
    let outcome = Outcome {
        id: record.identity.id.clone(),
        aggregate: record.aggregate.clone(),
        version: Version(version + event_count),
        position: Position::new(record.position).ok_or("no position")?,
        decided_at: record.decided_at,
        decision,
    };
    let again = serde_json::to_vec(&outcome).map_err(|error| error.to_string())?;
    if again != record.outcome[..] {
        let (again, recorded) = (String::from_utf8_lossy(&again), String::from_utf8_lossy(&record.outcome));
        return Err(format!("decided again it is {again}, recorded is {recorded}"));
    }
    Ok(())
}

/// What the protocol says before the aggregate is asked.
fn protocols_own(record: &Record, version: u64) -> Option<Rejection> {
    if record.name == CommandName::VOID {
        return Some(Rejection::voided());
    }
    if let Some(not_after) = record.not_after.as_deref().and_then(Timestamp::parse)
        && not_after < record.decided_at
    {
        return Some(Rejection::expired(not_after, record.decided_at));
    }
    match record.expected {
        Some(expected) if expected != version => Some(Rejection::version_mismatch(Version(expected), Version(version))),
        _ => None,
    }
}

fn evolve(record: &Record, folded: &mut Folded) -> Result<(), String> {
    for event in record.events.iter().flatten() {
        let event: RecordedEvent = serde_json::from_str(&event.to_string()).map_err(|error| error.to_string())?;
        folded.state.evolve(event.borrowed()).map_err(|error| error.to_string())?;
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
