//! What the processor did, where a run can see it.

use std::collections::{BTreeMap, BTreeSet};

use hapax::model::{Identity, Newest};

use super::{Case, Record};
use crate::common::history::{Event, Number, Sent};

/// Nothing may be decided, and nothing may be called unknown, unless it is known not to be there: a look-up has said so, or
/// its id is newer than all that the index knew when the processor began, which remembers what it has decided since.
pub(super) fn no_decision_after_a_failed_look_up(case: &Case<'_>) -> Result<u64, String> {
    let mut count = 0;
    let mut begun_with = Newest::default();
    let mut decided: BTreeSet<&Identity> = BTreeSet::new();
    // By writer and identity: the batches whose look-up succeeded.
    let mut answered: BTreeMap<(u64, &Identity), BTreeSet<u64>> = BTreeMap::new();
    for event in &case.history.events {
        match event {
            Event::Started { newest, .. } => {
                begun_with = *newest;
                decided.clear();
            }
            Event::LookedUp { writer, batch, identities } => {
                for identity in identities {
                    answered.entry((*writer, identity)).or_default().insert(*batch);
                }
            }
            Event::LookUpFailed { writer, batch, identities } => {
                for identity in identities {
                    answered.entry((*writer, identity)).or_default().remove(batch);
                }
            }
            Event::Appended { writer, commit } => {
                let identity = &commit.command.identity;
                let is_new = begun_with.excludes(&identity.id) && decided.insert(identity);
                if !is_new && answered.get(&(*writer, identity)).is_none_or(BTreeSet::is_empty) {
                    return Err(format!(
                        "{identity:?} is decided, and nothing has said that it was not decided before"
                    ));
                }
                count += 1;
            }
            _ => {}
        }
    }
    for answer in case.answers.iter().filter(|answer| answer.status() == "unknown") {
        let (Some((identity, _)), as_of) = (answer.about, answer.body["as_of"].as_u64().unwrap_or(0)) else { continue };
        let position = case.record_of(identity).map(|record| record.position);
        if position.is_some_and(|position| position <= as_of) {
            return Err(format!("{identity:?} is called unknown as of {as_of}, and was decided at {position:?}"));
        }
        count += 1;
    }
    Ok(count)
}

pub(super) fn fenced_writer_adds_nothing(case: &Case<'_>) -> Result<u64, String> {
    let mut current = None;
    let mut writers: BTreeMap<&[u8], BTreeSet<u64>> = BTreeMap::new();
    for event in &case.history.events {
        match event {
            Event::Started { writer, .. } => current = current.max(Some(*writer)),
            Event::Appended { writer, commit } => {
                let is_fenced = current.is_some_and(|current| *writer < current);
                let in_store = || case.records.iter().any(|record| record.json == *commit.json());
                if is_fenced && in_store() {
                    return Err(format!(
                        "writer {writer} added position {} after its successor began",
                        commit.position
                    ));
                }
                writers.entry(&commit.json()[..]).or_default().insert(*writer);
            }
            _ => {}
        }
    }
    let mut last = 0;
    let mut count = 0;
    for record in &case.records {
        let Some(writers) = writers.get(&record.json[..]) else { continue };
        // What one loses, the next one may write again in the very same bytes.
        let Some(writer) = writers.range(last..).next() else {
            return Err(format!("position {} is of {writers:?}, behind one of writer {last}", record.position));
        };
        last = *writer;
        count += 1;
    }
    Ok(count)
}

pub(super) fn acked_is_settled(case: &Case<'_>) -> Result<u64, String> {
    let mut put_aside: BTreeSet<Number> = BTreeSet::new();
    let mut acked: BTreeSet<Number> = BTreeSet::new();
    for event in &case.history.events {
        match event {
            Event::Refused(number) | Event::Quarantined(number) => drop(put_aside.insert(*number)),
            Event::Acked(number) => drop(acked.insert(*number)),
            _ => {}
        }
    }
    let refused = case.answers.iter().filter(|answer| answer.status() == "refused");
    put_aside.extend(refused.map(|answer| answer.answered.to));
    if case.evidence.all_settled {
        acked.extend(case.history.sendings().map(|(number, _)| number));
    }
    for number in &acked {
        let Some(sent) = case.history.sending(*number) else { return Err(format!("{number} was acked, never sent")) };
        let is_recorded = match case.batches.get(number) {
            // Under an id that was voided, a batch that is malformed is voided.
            Some(batch) if !batch.atomic => {
                batch.commands().all(|item| case.record_of(&item.identity).is_some())
                    || case.record_of(&sent.identity).is_some_and(Record::is_void)
            }
            _ => case.record_of(&sent.identity).is_some(),
        };
        if !is_recorded && !put_aside.contains(number) && !is_silent(sent) {
            return Err(format!("sending {number} of {:?} is settled, and nothing came of it", sent.identity));
        }
    }
    Ok(acked.len() as u64)
}

/// What is to be answered to an inbox that is not its principal's is not decided, and nobody is told.
fn is_silent(sent: &Sent) -> bool {
    let own = format!("_INBOX.{}.", sent.identity.principal);
    sent.reply_to.as_ref().is_some_and(|inbox| !inbox.starts_with(&own))
}
