//! What came of an atomic batch, for people and for programs.

use super::connection::Sender;
use super::exit::{Exit, Failure, said};
use super::output::{self, Paint};
use super::send::not_settled;
use crate::client::{BatchOutcome, RawBatch, SendError};
use crate::model::{AggregateId, BatchReply, CommandId, Decision, ItemReply, Rejection};

/// So many reasons are shown one by one; a batch may have a thousand.
const SHOWN_MAX: usize = 10;

/// Prints what came of a batch, or says why there is nothing. `name` is what an item is called, counted from 0.
pub(super) fn settled(
    sent: Result<BatchOutcome, SendError>,
    aggregate: &AggregateId,
    id: &CommandId,
    sender: &Sender,
    json: bool,
    name: impl Fn(usize) -> String,
) -> Result<Exit, Failure> {
    match sent {
        Ok(BatchOutcome::Accepted(batch) | BatchOutcome::Rejected(batch)) => decided(&batch, aggregate, json, name),
        Ok(BatchOutcome::Voided(raw)) => {
            said(output::outcome(&raw, json))?;
            Ok(Exit::of(&raw.outcome))
        }
        Err(error) => Err(not_settled(error, aggregate, id, sender, json)?),
    }
}

/// Prints what was decided.
pub(super) fn decided(
    batch: &RawBatch,
    aggregate: &AggregateId,
    json: bool,
    name: impl Fn(usize) -> String,
) -> Result<Exit, Failure> {
    said(if json { output::line(&batch.json) } else { print(batch, aggregate, name) })?;
    let is_conflict = reasons(&batch.reply).any(|(_, rejection)| rejection.reason == "version_mismatch");
    Ok(match (batch.reply.is_accepted(), is_conflict) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Conflict,
        (false, false) => Exit::Rejected,
    })
}

fn print(batch: &RawBatch, aggregate: &AggregateId, name: impl Fn(usize) -> String) -> Result<(), Failure> {
    let (paint, reply) = (Paint::for_stdout(), &batch.reply);
    let checks = reply.items.iter().filter(|item| matches!(item, ItemReply::Check(_))).count();
    let outcome = if reply.is_accepted() { paint.good("accepted") } else { paint.bad("rejected, all of it") };
    let reasons: Vec<_> =
        reasons(reply).map(|(at, Rejection { reason, message, .. })| (name(at), reason, message)).collect();
    let mut rows = vec![("outcome", outcome)];
    for (name, reason, message) in reasons.iter().take(SHOWN_MAX) {
        rows.push((name, format!("{reason}: {message}")));
    }
    if SHOWN_MAX < reasons.len() {
        rows.push(("", format!("and {} more", reasons.len() - SHOWN_MAX)));
    }
    rows.push(("commands", (reply.items.len() - checks).to_string()));
    if checks > 0 {
        rows.push(("checks", checks.to_string()));
    }
    rows.push(("batch", aggregate.to_string()));
    rows.push(("id", reply.id.to_string()));
    if batch.replayed {
        rows.push(("replayed", "an earlier copy was decided, this is its outcome".into()));
    }
    output::rows(paint, &rows)
}

/// The items that are to blame, and why.
fn reasons(reply: &BatchReply) -> impl Iterator<Item = (usize, &Rejection)> {
    reply.items.iter().enumerate().filter_map(|(at, item)| reason(item).map(|rejection| (at, rejection)))
}

/// Why an item is to blame; not that it was only aborted with others.
fn reason(item: &ItemReply) -> Option<&Rejection> {
    match item {
        ItemReply::Outcome { outcome, .. } => match &outcome.decision {
            Decision::Rejected(rejection) if !rejection.is_batch_aborted() => Some(rejection),
            _ => None,
        },
        ItemReply::Check(check) => check.stale.as_ref(),
        ItemReply::Refused(_) => None,
    }
}

/// What an item is called where there are no lines.
pub(super) fn item(at: usize) -> String {
    format!("item {}", at + 1)
}
