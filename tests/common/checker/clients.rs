//! What clients were told.

use std::collections::BTreeMap;

use bytes::Bytes;
use hapax::model::{AggregateId, CommandName, Identity};

use super::{Answer, Case, Record, Sending};
use crate::common::history::{About, Event, Number, Sent};

pub(super) fn same_bytes(case: &Case<'_>) -> Result<u64, String> {
    let mut first: BTreeMap<&Identity, &Bytes> = BTreeMap::new();
    let mut count = 0;
    for (answer, identity, body) in case.outcomes() {
        let before = *first.entry(identity).or_insert(body);
        if before != body {
            return Err(format!("{identity:?}: {before:?}, and at {} {body:?}", answer.at));
        }
        count += 1;
    }
    // Of an atomic batch, the whole reply.
    let mut whole: BTreeMap<&Identity, &Bytes> = BTreeMap::new();
    for (answer, identity) in atomic_replies(case) {
        let before = *whole.entry(identity).or_insert(&answer.bytes);
        if *before != answer.bytes {
            return Err(format!("{identity:?}: {before:?}, and at {} {:?}", answer.at, answer.bytes));
        }
        count += 1;
    }
    Ok(count)
}

/// The replies to whole atomic batches, and to those who asked for one.
fn atomic_replies<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (&'a Answer<'a>, &'a Identity)> {
    let is_atomic = |answer: &Answer<'_>| case.batches.get(&answer.answered.to).is_none_or(|batch| batch.atomic);
    let answers = case.answers.iter().filter(move |answer| answer.is_of_batch() && is_atomic(answer));
    answers.filter_map(|answer| Some((answer, answer.about?.0)))
}

/// Outcomes and states alike: whatever a client has seen must be there for ever.
pub(super) fn replied_is_stored(case: &Case<'_>) -> Result<u64, String> {
    let mut count = 0;
    for (answer, identity, body) in case.outcomes() {
        if case.record_of(identity).is_none_or(|record| record.outcome != *body) {
            return Err(format!("{identity:?} was answered at {} with {body:?}, which is not stored", answer.at));
        }
        count += 1;
    }
    for (answer, identity) in atomic_replies(case) {
        if case.group_of(identity).is_none_or(|group| !group.is_told_by(&answer.bytes)) {
            return Err(format!("{identity:?} was answered at {} with {:?}: not stored", answer.at, answer.bytes));
        }
        count += 1;
    }
    for answer in case.answers.iter().filter(|answer| answer.is_of_batch()) {
        let entries = answer.body["items"].as_array().map_or(0, Vec::len);
        if case.batches.get(&answer.answered.to).is_some_and(|batch| batch.items.len() != entries) {
            return Err(format!("the reply at {} has {entries} entries, and not one for each item", answer.at));
        }
    }
    let last = case.records.len() as u64;
    for answer in &case.answers {
        let as_of = answer.body["as_of"].as_u64().unwrap_or(0);
        if last < as_of {
            return Err(format!("position {as_of} was spoken of at {}, the store ends at {last}", answer.at));
        }
    }
    for (answer, aggregate) in states(case) {
        let (version, position) = (answer.body["version"].as_u64(), answer.body["position"].as_u64().unwrap_or(0));
        let is_there = match position.checked_sub(1) {
            None => version == Some(0),
            Some(index) => case.records.get(index as usize).is_some_and(|record| {
                record.aggregate == *aggregate && Some(record.version) == version && record.event_count() > 0
            }),
        };
        if !is_there {
            return Err(format!("{aggregate} was shown at {} as {}, which is not stored", answer.at, answer.body));
        }
        count += 1;
    }
    Ok(count)
}

/// Answers to questions for a state.
pub(super) fn states<'a>(case: &'a Case<'_>) -> impl Iterator<Item = (&'a Answer<'a>, &'a AggregateId)> {
    case.answers.iter().filter_map(|answer| match &case.history.question(answer.answered.to)?.about {
        About::State(aggregate) if answer.body.get("state").is_some() => Some((answer, aggregate)),
        _ => None,
    })
}

pub(super) fn other_content_changes_nothing(case: &Case<'_>) -> Result<u64, String> {
    let mut count = 0;
    for answer in &case.answers {
        let Some(sent) = answer.sent else { continue };
        let record = case.record_of(&sent.identity);
        let batch = case.batches.get(&answer.answered.to).filter(|_| sent.aggregate.kind.is_batch());
        let is_reuse = match batch {
            None => record.is_some_and(|record| is_reuse(record, sent)),
            Some(batch) if !batch.atomic => continue, // Its own id is recorded nowhere.
            Some(batch) => {
                let is_it = || case.group_of(&sent.identity).is_some_and(|group| group.is(batch));
                record.is_some_and(|record| !record.is_void() && !is_it())
            }
        };
        // An atomic batch is refused too when an item of it is known from elsewhere.
        let is_known = |item: &Sent| {
            case.decided.get(&item.identity).is_some_and(|index| {
                case.head_of[*index].is_none_or(|head| case.records[head].identity != sent.identity)
            })
        };
        let has_known = batch.is_some_and(|batch| batch.commands().any(is_known));
        if (answer.is_outcome() || answer.is_of_batch()) && is_reuse {
            return Err(format!("sending {} has other content, and got the outcome", answer.answered.to));
        }
        if answer.reason() == "id_reused" && !is_reuse && !has_known {
            return Err(format!("sending {} is refused as another one's id, which it is not", answer.answered.to));
        }
        count += u64::from(is_reuse);
    }
    Ok(count)
}

/// A void asks for whatever was decided, and what is voided is so for every content.
fn is_reuse(record: &Record, sent: &Sent) -> bool {
    sent.name.as_str() != CommandName::VOID && !record.is_void() && !record.has_content_of(sent)
}

pub(super) fn commits_were_sent(case: &Case<'_>) -> Result<u64, String> {
    let mut appended: BTreeMap<&[u8], Number> = BTreeMap::new();
    for (at, event) in case.history.events.iter().enumerate() {
        if let Event::Appended { commit, .. } = event {
            appended.entry(&commit.json()[..]).or_insert(at);
        }
    }
    for (record, head) in case.records.iter().zip(&case.head_of) {
        // As an item of just this atomic batch, or by itself.
        let of = head.map(|head| &case.records[head].identity);
        let group = record.followers().and_then(|_| case.group_of(&record.identity));
        let by = appended.get(&record.json[..]).copied().unwrap_or(Number::MAX);
        let copies = case.sendings.get(&record.identity).map(Vec::as_slice).unwrap_or_default();
        let not_after = |sent: &Sent| sent.not_after.map(|time| time.to_string()) == record.not_after;
        let is_source = |Sending { number, sent, of: sent_in }: &Sending<'_>| {
            *number < by
                && *sent_in == of
                && match (record.is_void(), &group) {
                    (true, _) => sent.name.as_str() == CommandName::VOID && sent.aggregate == record.aggregate,
                    (false, None) => record.has_content_of(sent) && not_after(sent),
                    (false, Some(group)) => {
                        case.batches.get(number).is_some_and(|batch| group.is(batch)) && not_after(sent)
                    }
                }
        };
        if !copies.iter().any(is_source) {
            return Err(format!("nobody sent what position {} records for {:?}", record.position, record.identity));
        }
    }
    Ok(case.records.len() as u64)
}

/// What somebody has seen done comes before what is sent after that. Per aggregate, and questions count as well.
pub(super) fn real_time_order(case: &Case<'_>) -> Result<u64, String> {
    let mut seen: BTreeMap<&Identity, Number> = BTreeMap::new();
    for (answer, identity, _) in case.outcomes() {
        seen.entry(identity).or_insert(answer.at);
    }
    let mut time = None;
    for record in &case.records {
        if Some(record.decided_at) < time {
            return Err(format!("position {} was decided before the one in front of it", record.position));
        }
        time = Some(record.decided_at);
    }
    // From the end: when the first outcome of any later commit of the aggregate was seen.
    let mut later: BTreeMap<&AggregateId, (Number, u64)> = BTreeMap::new();
    let mut count = 0;
    for record in case.records.iter().rev() {
        let sent = case.sendings.get(&record.identity).and_then(|copies| copies.first());
        if let (Some(Sending { number, .. }), Some((at, position))) = (sent, later.get(&record.aggregate))
            && at < number
        {
            return Err(format!("position {position} was seen before {} was sent", record.position));
        }
        if let Some(at) = seen.get(&record.identity) {
            let earliest = later.entry(&record.aggregate).or_insert((*at, record.position));
            *earliest = (*earliest).min((*at, record.position));
            count += 1;
        }
    }
    Ok(count + states_are_not_stale(case)?)
}

/// A state is never older than what had been seen when it was asked for.
fn states_are_not_stale(case: &Case<'_>) -> Result<u64, String> {
    // When each aggregate was first seen at a version, or a later one.
    let mut seen: BTreeMap<&AggregateId, Vec<(Number, u64)>> = BTreeMap::new();
    for (outcome, identity, _) in case.outcomes() {
        let Some(record) = case.record_of(identity) else { continue };
        let versions = seen.entry(&record.aggregate).or_default();
        if versions.last().is_none_or(|(_, last)| *last < record.version) {
            versions.push((outcome.at, record.version));
        }
    }
    let mut count = 0;
    for (answer, aggregate) in states(case) {
        let version = answer.body["version"].as_u64().unwrap_or(0);
        let versions = seen.get(aggregate).map(Vec::as_slice).unwrap_or_default();
        let before = versions.partition_point(|(at, _)| *at < answer.answered.to);
        if let Some((at, later)) = versions[..before].last()
            && version < *later
        {
            return Err(format!("{aggregate} is shown at version {version}, {at} had shown version {later}"));
        }
        count += 1;
    }
    Ok(count)
}

pub(super) fn nobody_sees_anothers_outcome(case: &Case<'_>) -> Result<u64, String> {
    let mut count = 0;
    let owners: BTreeMap<&Bytes, &Identity> =
        case.records.iter().map(|record| (&record.outcome, &record.identity)).collect();
    let reader = |answer: &Answer<'_>| {
        let inbox = answer.answered.inbox.strip_prefix("_INBOX.");
        inbox.and_then(|rest| Some(rest.split('.').next()?.to_owned()))
    };
    for (answer, identity) in atomic_replies(case) {
        if reader(answer).as_deref() != Some(identity.principal.as_str()) {
            return Err(format!("{} got the batch {identity:?} at {}", answer.answered.inbox, answer.at));
        }
        let is_question = case.history.question(answer.answered.to).is_some();
        if is_question && !answer.about.is_some_and(|(_, aggregate)| aggregate.kind.is_batch()) {
            return Err(format!(
                "{} asked for another aggregate, and got the batch {identity:?}",
                answer.answered.inbox
            ));
        }
    }
    for answer in case.answers.iter().filter(|answer| answer.is_outcome()) {
        let inbox = &answer.answered.inbox;
        let Some(owner) = owners.get(&answer.bytes) else { continue };
        if reader(answer).as_deref() != Some(owner.principal.as_str()) {
            return Err(format!("{inbox} got the outcome of {owner:?} at {}", answer.at));
        }
        // Rights are bound to a subject, which names the aggregate.
        let aggregate = answer.about.map(|(_, aggregate)| aggregate);
        let is_question = case.history.question(answer.answered.to).is_some();
        if is_question && case.record_of(owner).is_some_and(|record| Some(&record.aggregate) != aggregate) {
            return Err(format!("{inbox} asked for {aggregate:?}, and got the outcome of {owner:?}"));
        }
        count += 1;
    }
    Ok(count)
}
