//! What the store alone says.

use std::collections::{BTreeMap, BTreeSet};

use hapax::model::{AggregateId, Commit};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::batches::Group;
use super::{Case, Record};
use crate::common::history::Event;

pub(super) fn one_commit_per_identity(case: &Case<'_>) -> Result<u64, String> {
    let mut first = BTreeMap::new();
    for record in &case.records {
        if let Some(before) = first.insert(&record.identity, record.position) {
            return Err(format!("{:?} is decided at {before} and at {}", record.identity, record.position));
        }
    }
    Ok(first.len() as u64)
}

pub(super) fn versions_are_dense(case: &Case<'_>) -> Result<u64, String> {
    let mut versions: BTreeMap<&AggregateId, u64> = BTreeMap::new();
    for record in &case.records {
        let version = versions.entry(&record.aggregate).or_default();
        let next = *version + record.event_count();
        if record.version != next {
            let Record { aggregate, position, version: after, .. } = record;
            return Err(format!("{aggregate} was at {version}, and is at {after} after position {position}"));
        }
        *version = next;
    }
    Ok(case.records.len() as u64)
}

pub(super) fn commits_are_whole(case: &Case<'_>) -> Result<u64, String> {
    if let Some(why) = case.unreadable.first() {
        return Err(why.clone());
    }
    let appended: BTreeSet<(u64, &[u8])> = case
        .history
        .numbered(|event| match event {
            Event::Appended { commit, .. } => Some((commit.position.get(), &commit.json()[..])),
            _ => None,
        })
        .map(|(_, appended)| appended)
        .collect();
    for (index, (record, commit)) in case.records.iter().zip(case.evidence.commits).enumerate() {
        let position = record.position;
        if position != index as u64 + 1 {
            return Err(format!("position {position} stands where {} belongs", index + 1));
        }
        // As hapax reads it, it must be the same: whoever asks for it gets that.
        let again = Commit::from_json(record.json.clone(), commit.hash).map_err(|error| error.to_string())?;
        if again.position.get() != position || *again.outcome_json() != record.outcome {
            return Err(format!("position {position} is read as something else"));
        }
        if !appended.is_empty() && !appended.contains(&(position, &record.json[..])) {
            return Err(format!("position {position} holds what was never appended there"));
        }
    }
    for group in case.groups() {
        group?.is_one_decision()?;
    }
    Ok(case.records.len() as u64)
}

pub(super) fn rejections_have_no_events(case: &Case<'_>) -> Result<u64, String> {
    for record in &case.records {
        let is_fine = match record.status.as_str() {
            "accepted" => record.events.is_some() && record.reason.is_none(),
            "rejected" => record.events.is_none() && record.reason.is_some(),
            _ => false,
        };
        if !is_fine {
            return Err(format!("position {}: {}", record.position, String::from_utf8_lossy(&record.outcome)));
        }
    }
    Ok(case.records.len() as u64)
}

pub(super) fn chain_holds(case: &Case<'_>) -> Result<u64, String> {
    let mut hash: [u8; 32] = Sha256::digest(case.evidence.id.store.hyphenated().to_string()).into();
    for record in &case.records {
        hash = Sha256::new().chain_update(hash).chain_update(&record.json).finalize().into();
        if hash != record.hash {
            return Err(format!("position {} does not continue the chain", record.position));
        }
    }
    Ok(case.records.len() as u64)
}

/// What an account may do, written down once more, in the plainest form.
#[derive(Default)]
struct Account {
    opened: bool,
    closed: bool,
    balance: i128,
}

impl Account {
    /// Does what was accepted, and says what must have happened.
    fn take(&mut self, record: &Record) -> Result<(&'static str, i128), String> {
        let amount = record.data["amount"].as_i64().map_or(0, i128::from);
        let happened = match record.name.as_str() {
            "open" if !self.opened => "opened",
            "deposit" if self.is_open() && amount > 0 => "deposited",
            "withdraw" if self.is_open() && 0 < amount && amount <= self.balance => "withdrawn",
            "close" if self.is_open() && self.balance == 0 => "closed",
            name => return Err(format!("{name} {amount} was accepted with a balance of {}", self.balance)),
        };
        match happened {
            "opened" => self.opened = true,
            "deposited" => self.balance += amount,
            "withdrawn" => self.balance -= amount,
            _ => self.closed = true,
        }
        Ok((happened, amount))
    }

    fn is_open(&self) -> bool {
        self.opened && !self.closed
    }
}

/// What the commands of an atomic batch would move is moved, or nothing is.
fn moves_all_or_nothing(group: &Group<'_>) -> Result<(), String> {
    let sign = |name: &str| match name {
        "deposit" | "deposited" => 1,
        "withdraw" | "withdrawn" => -1,
        _ => 0,
    };
    let amount = |fields: &Value| fields["amount"].as_i64().map_or(0, i128::from);
    let of_accounts = || group.commands().filter(|record| record.aggregate.kind.as_str() == "account");
    let asked: i128 = of_accounts().map(|record| sign(&record.name) * amount(&record.data)).sum();
    let events = of_accounts().flat_map(|record| record.events.iter().flatten());
    let moved: i128 =
        events.map(|event| sign(event["type"].as_str().unwrap_or_default()) * amount(&event["data"])).sum();
    if moved != if group.head.status == "accepted" { asked } else { 0 } {
        return Err(format!("the batch at position {} was to move {asked} and moved {moved}", group.head.position));
    }
    Ok(())
}

/// For the account of the samples: what its commands said, what its events say, and what its state says must add up.
pub(super) fn money_is_conserved(case: &Case<'_>) -> Result<u64, String> {
    let mut accounts: BTreeMap<&AggregateId, Account> = BTreeMap::new();
    let (mut said, mut happened, mut count) = (0_i128, 0_i128, 0);
    let of_accounts = case.records.iter().filter(|record| record.aggregate.kind.as_str() == "account");
    for record in of_accounts.filter(|record| record.status == "accepted") {
        let at = |what: String| format!("position {}: {what}", record.position);
        let account = accounts.entry(&record.aggregate).or_default();
        let before = account.balance;
        let (kind, amount) = account.take(record).map_err(at)?;
        let [event] = record.events.as_deref().unwrap_or_default() else {
            return Err(at("an account's acceptance has one event".to_owned()));
        };
        let moved = event["data"]["amount"].as_i64().map_or(0, i128::from);
        if event["type"] != kind || moved != amount {
            return Err(at(format!("{} {amount} was asked for, and {event} happened", record.name)));
        }
        said += account.balance - before;
        happened += if kind == "withdrawn" { -moved } else { moved };
        count += 1;
    }
    for group in case.groups() {
        moves_all_or_nothing(&group?)?;
    }
    let held: i128 = accounts.values().map(|account| account.balance).sum();
    if (said, happened) != (held, held) {
        return Err(format!("{said} was put in, {happened} has come in, {held} is there"));
    }
    Ok(count)
}
