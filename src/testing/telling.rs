//! How a word of a story happens: it is sent, told, and checked.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::check::{self, Asked, Case, Culprit};
use super::home::{Given, GivenWhat, ID_DIGITS, id};
use super::message::{BatchItem, Message, What};
use super::render;
use super::story::{Item, ItemWhat, Last, Next, SOMEBODY, START, Sent, Story};
use crate::aggregate::{Address, Aggregate, Context, name_and_data};
use crate::client::RawCommand;
use crate::model::error::with_sources;
use crate::model::outcome::Reply;
use crate::model::{
    AggregateId, BatchReply, CommandId, Commit, Decision, ItemReply, Outcome, Principal, RecordedEvent, Timestamp, json,
};

/// Which aggregate an address means.
pub(super) fn aggregate_of<A: Aggregate>(address: &Address<A>) -> Result<AggregateId, Culprit> {
    let aggregate = format!("{}/{}", A::TYPE, address.key);
    aggregate.parse().map_err(|error| Culprit::from(format!("{aggregate}: {error}")))
}

pub(super) fn start() -> Timestamp {
    Timestamp::parse(START).expect("it is RFC 3339")
}

/// The id behind a name: `c1` is `story-command-000001`.
fn id_of(name: &str) -> Result<CommandId, Culprit> {
    let unknown = || Culprit::from(format!("{name:?} is no name of a command or a batch: c1, c2 …, b1, b2 …"));
    let (kind, number) = match name.split_at_checked(1) {
        Some(("c", number)) => ("command", number),
        Some(("b", number)) => ("batch", number),
        _ => return Err(unknown()),
    };
    number.parse().map(|number| id(kind, number)).map_err(|_| unknown())
}

impl Story {
    pub(super) fn give<A: Aggregate>(&mut self, to: &Address<A>, events: &[A::Event]) -> Result<(), Culprit> {
        let aggregate = aggregate_of(to)?;
        if !self.service.serves(&aggregate.kind) {
            return Err(Culprit::from(format!("{aggregate} is not served: `Service::new().with::<…>()`")));
        }
        let recorded = check::record::<A>(events)?;
        let new = recorded.len();
        self.givens += 1;
        let what = GivenWhat::Events(aggregate.clone(), recorded);
        self.home.give(Given { number: self.givens, time: self.now, what })?;
        self.known.insert(aggregate.clone());
        let commits = self.home.commits()?;
        let live = self.home.state(&aggregate, self.now)?;
        self.tell(format!("given {aggregate} v{} {}", live.version, live.state));
        check::folds::<A>(&events_of(commits.iter(), &aggregate)?, new, &self.informs)?;
        self.check_live(&aggregate, &commits)?;
        self.step_done()
    }

    pub(super) fn send_command(&mut self, name: &str, asked: Arc<dyn Asked>) -> Result<(), Culprit> {
        asked.survives()?;
        let Next { by, expecting, not_after } = std::mem::take(&mut self.next);
        let raw = asked.raw(id_of(name)?, expecting, not_after)?;
        let message = Message { principal: by.unwrap_or_else(somebody), what: What::Command(raw.clone()) };
        let head = render::sent(name, &message);
        self.deliver(name, &head, Sent { message, asked: vec![(name.to_owned(), raw.aggregate, asked)] }, false)
    }

    pub(super) fn send_again(&mut self, name: &str) -> Result<(), Culprit> {
        let sent = self.sent(name)?.clone();
        self.deliver(name, &format!("{name} again"), sent, true)
    }

    pub(super) fn send_other(&mut self, name: &str, asked: Arc<dyn Asked>) -> Result<(), Culprit> {
        asked.survives()?;
        let Next { by, expecting, not_after } = std::mem::take(&mut self.next);
        let first = self.sent(name)?.message.clone();
        let raw = asked.raw(id_of(name)?, expecting, not_after)?;
        if raw.aggregate.key != first.aggregate().key {
            let (key, first) = (&raw.aggregate.key, &first.aggregate().key);
            let what = format!("an id belongs to a key: {name} was sent to {first}, at {key} it is another command");
            return Err(Culprit::from(what));
        }
        if by.is_some_and(|by| by != first.principal) {
            let what =
                format!("an id belongs to its sender: {name} is {}'s, somebody else's is another", first.principal);
            return Err(Culprit::from(what));
        }
        let message = Message { principal: first.principal, what: What::Command(raw.clone()) };
        let head = format!("{} (reused)", render::sent(name, &message));
        self.deliver(name, &head, Sent { message, asked: vec![(name.to_owned(), raw.aggregate, asked)] }, false)
    }

    pub(super) fn send_void<A: Aggregate>(&mut self, to: &Address<A>, name: &str) -> Result<(), Culprit> {
        let Next { by, expecting, not_after } = std::mem::take(&mut self.next);
        if expecting.is_some() || not_after.is_some() {
            return Err(Culprit::from("a void is never too early or too late: it has no guards".to_owned()));
        }
        self.voids += 1;
        let what = What::Void { own: id("void", self.voids), aggregate: aggregate_of(to)?, id: id_of(name)? };
        let message = Message { principal: by.unwrap_or_else(somebody), what };
        let head = render::sent(name, &message);
        self.deliver(name, &head, Sent { message, asked: Vec::new() }, false)
    }

    pub(super) fn send_batch(&mut self, name: &str, items: Vec<Item>) -> Result<(), Culprit> {
        let Next { by, expecting, not_after } = std::mem::take(&mut self.next);
        if expecting.is_some() {
            let what = "a batch expects no version; its items do: command(…).expecting(…)";
            return Err(Culprit::from(what.to_owned()));
        }
        let principal = by.unwrap_or_else(somebody);
        let (mut batch, mut asked) = (Vec::new(), Vec::new());
        for Item { what, expecting } in items {
            batch.push(match what {
                ItemWhat::Check(aggregate, version) => BatchItem::Check(aggregate?, version),
                ItemWhat::Command(command) => {
                    command.survives()?;
                    self.commands += 1;
                    let name = format!("c{}", self.commands);
                    let raw = command.raw(id_of(&name)?, expecting, None)?;
                    asked.push((name, raw.aggregate.clone(), command));
                    BatchItem::Command(raw)
                }
            });
        }
        if asked.is_empty() {
            return Err(Culprit::from("a batch has at least one command".to_owned()));
        }
        let what = What::Batch { id: id_of(name)?, items: batch, not_after };
        let message = Message { principal, what };
        let head = render::sent(name, &message);
        self.deliver(name, &head, Sent { message, asked }, false)
    }

    fn sent(&self, name: &str) -> Result<&Sent, Culprit> {
        self.sent.get(name).ok_or_else(|| {
            Culprit::from(format!("nothing was sent as {name:?}; commands are c1, c2 …, batches b1, b2 …"))
        })
    }

    /// Sends a message, tells what comes of it, and checks that. `is_copy`: the same message was sent before.
    fn deliver(&mut self, name: &str, head: &str, sent: Sent, is_copy: bool) -> Result<(), Culprit> {
        let count = self.home.commits()?.len();
        let body = self.home.send(&sent.message, self.now)?;
        let commits = self.home.commits()?;
        let reply = Reply::from_json(&body).map_err(|error| Culprit::from(with_sources(&error)))?;
        let is_decided = matches!(reply, Reply::Outcome(_) | Reply::Batch(_));
        let identity = sent.message.identity();
        let first = self.first.get(&identity).filter(|_| is_decided).cloned();
        let lines = match &first {
            Some(_) if is_copy => vec!["replayed: the first outcome, nothing happens".to_owned()],
            Some(_) => vec![render::replay(&reply)],
            None => self.lines(&sent, &reply, &commits)?,
        };
        self.tell(render::block(head, &lines));
        self.last = Some(Last { name: name.to_owned(), reply: reply.clone() });
        match first {
            Some(first) => {
                same_bytes(name, &first, &body)?;
                recorded_once(name, count, commits.len())?;
            }
            None => {
                self.check_decisions(&sent, &reply, &commits)?;
                self.remember(&reply, &body, &sent);
            }
        }
        for aggregate in sent.message.aggregates() {
            if self.service.serves(&aggregate.kind) {
                self.check_live(&aggregate, &commits)?;
                self.known.insert(aggregate);
            }
        }
        if is_decided {
            // Whoever sends it once more gets the same, and nothing happens.
            same_bytes(name, &body, &self.home.remind(&sent.message, self.now)?)?;
            recorded_once(name, commits.len(), self.home.commits()?.len())?;
        }
        // Another command under its id, or the void of it, is not what `again` sends; what it voids may still come.
        if self.sent.get(name).is_none_or(|before| matches!(before.message.what, What::Void { .. })) {
            self.sent.insert(name.to_owned(), sent);
        }
        self.step_done()
    }

    /// What comes of a message that is decided, or refused, for the first time.
    fn lines(&self, sent: &Sent, reply: &Reply, commits: &[Commit]) -> Result<Vec<String>, Culprit> {
        match reply {
            Reply::Outcome(outcome) => Ok(render::outcome(outcome, &before(commits, outcome)?, &self.service)),
            Reply::Refused(refusal) => Ok(vec![refusal.to_string()]),
            Reply::Batch(batch) => self.lines_of_batch(sent, batch, commits),
            Reply::Unknown { .. } => Ok(vec!["unknown".to_owned()]),
        }
    }

    fn lines_of_batch(&self, sent: &Sent, batch: &BatchReply, commits: &[Commit]) -> Result<Vec<String>, Culprit> {
        let What::Batch { items, .. } = &sent.message.what else { return Ok(Vec::new()) };
        let mut names = sent.asked.iter().map(|(name, ..)| name);
        let mut lines = Vec::new();
        for (item, reply) in items.iter().zip(&batch.items) {
            let (line, of_item) = match item {
                BatchItem::Check(aggregate, version) => {
                    let stale = match reply {
                        ItemReply::Check(check) => check.stale.as_ref(),
                        ItemReply::Outcome { .. } | ItemReply::Refused(_) => None,
                    };
                    let what = stale.map_or("holds".to_owned(), ToString::to_string);
                    (format!("check {aggregate} v{version}"), vec![what])
                }
                BatchItem::Command(command) => {
                    let name = names.next().map_or("", String::as_str);
                    let what = match reply {
                        ItemReply::Outcome { outcome, .. } => {
                            render::outcome(outcome, &before(commits, outcome)?, &self.service)
                        }
                        ItemReply::Refused(refusal) => vec![refusal.to_string()],
                        ItemReply::Check(_) => Vec::new(),
                    };
                    (format!("{name} {}", render::asked(command)), what)
                }
            };
            lines.push(line);
            lines.extend(of_item.into_iter().map(|line| format!("   {line}")));
        }
        Ok(lines)
    }

    /// Keeps first outcomes: every later one must be the same bytes.
    fn remember(&mut self, reply: &Reply, body: &Bytes, sent: &Sent) {
        if matches!(reply, Reply::Outcome(_) | Reply::Batch(_)) {
            self.first.insert(sent.message.identity(), body.clone());
        }
        // A command of a batch may be sent again by itself.
        if let What::Batch { items, not_after, .. } = &sent.message.what {
            let commands = items.iter().filter_map(|item| match item {
                BatchItem::Command(command) => Some(RawCommand { not_after: *not_after, ..command.clone() }),
                BatchItem::Check(..) => None,
            });
            for (asked, command) in sent.asked.iter().zip(commands) {
                let message = Message { what: What::Command(command), ..sent.message.clone() };
                if let Some(json) = json_of(reply, message.id()) {
                    self.first.insert(message.identity(), json);
                }
                self.sent.insert(asked.0.clone(), Sent { message, asked: vec![asked.clone()] });
            }
        }
    }

    /// Whether the types of each command's aggregate find something wrong with what was decided.
    fn check_decisions(&self, sent: &Sent, reply: &Reply, commits: &[Commit]) -> Result<(), Culprit> {
        let (outcomes, is_alone): (Vec<&Outcome>, bool) = match reply {
            Reply::Outcome(outcome) => (vec![outcome], true),
            Reply::Batch(batch) => {
                let outcomes = batch.items.iter().filter_map(|item| match item {
                    ItemReply::Outcome { outcome, .. } => Some(outcome),
                    ItemReply::Refused(_) | ItemReply::Check(_) => None,
                });
                // What the commands of a rejected batch were decided on is not in the store.
                (outcomes.collect(), batch.is_accepted())
            }
            Reply::Refused(_) | Reply::Unknown { .. } => return Ok(()),
        };
        for ((_, _, asked), outcome) in sent.asked.iter().zip(outcomes) {
            let before = before(commits, outcome)?;
            let context = Context { time: outcome.decided_at, principal: &sent.message.principal, id: &outcome.id };
            let decision = Some(&outcome.decision).filter(|_| is_alone);
            asked.decided(&Case { before: &before, context, decision })?;
            let mut events = before;
            let count = events.len();
            if let Decision::Accepted(new) = &outcome.decision {
                events.extend(new.iter().cloned());
            }
            asked.folds(&events, events.len() - count, &self.informs)?;
        }
        Ok(())
    }

    /// Whether the live state is what the stored events make.
    fn check_live(&mut self, aggregate: &AggregateId, commits: &[Commit]) -> Result<(), Culprit> {
        let live = self.home.state(aggregate, self.now)?;
        let Some(mut folded) = self.service.start(&aggregate.kind) else { return Ok(()) };
        for commit in commits.iter().filter(|commit| commit.command.aggregate == *aggregate) {
            folded.apply(commit).map_err(|error| Culprit::from(with_sources(&error)))?;
        }
        let stored = folded.state.to_json().map_err(|error| Culprit::from(error.to_string()))?;
        if live.version == folded.version && json::same_value(live.state.get().as_bytes(), &stored) {
            return Ok(());
        }
        let remedy =
            "Only events change a state: `decide` may change nothing, and `evolve` may depend on nothing else.";
        let culprit = Culprit::new(format!("the live state of {aggregate} is not what its stored events make"), remedy);
        Err(culprit
            .with("live", format!("v{} {}", live.version, live.state))
            .with("stored", format!("v{} {}", folded.version, String::from_utf8_lossy(&stored))))
    }

    pub(super) fn step_done(&mut self) -> Result<(), Culprit> {
        self.steps += 1;
        if self.crashes_now() { self.crash_and_look() } else { Ok(()) }
    }

    /// What was replied is still there, and so is every state.
    pub(super) fn crash_and_look(&mut self) -> Result<(), Culprit> {
        let commits = self.home.commits()?;
        self.home.crash()?;
        recorded_once("what was decided before the crash", commits.len(), self.home.commits()?.len())?;
        for (name, sent) in &self.sent {
            if let Some(first) = self.first.get(&sent.message.identity()) {
                same_bytes(name, first, &self.home.remind(&sent.message, self.now)?)?;
            }
        }
        for aggregate in self.known.clone() {
            self.check_live(&aggregate, &commits)?;
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, block: String) {
        self.blocks.push(in_names(&block));
    }

    /// Whether what was sent last was accepted with these events.
    pub(super) fn compare<E: Serialize>(&self, expected: &[E]) -> Result<(), Culprit> {
        let Last { name, reply } = self.last()?;
        let written = expected.iter().map(name_and_data).collect::<Result<Vec<_>, _>>();
        let expected = written.map_err(|error| Culprit::from(format!("an expected event is no JSON: {error}")))?;
        let expected: Vec<String> = expected.iter().map(|(kind, data)| event(kind, data.get())).collect();
        let found: Vec<String> = match outcomes(reply) {
            outcomes if !outcomes.is_empty() && is_accepted(reply) => {
                outcomes.into_iter().flat_map(events).map(|found| event(&found.kind, found.data.get())).collect()
            }
            _ => return Err(otherwise(name, "accepted", reply)),
        };
        let same = |(left, right): (&String, &String)| same_event(left, right);
        if expected.len() == found.len() && expected.iter().zip(&found).all(same) {
            return Ok(());
        }
        let culprit = Culprit::new(format!("{name} was accepted with other events"), "");
        Err(culprit.with("expected", expected.join(", ")).with("happened", found.join(", ")))
    }

    /// Whether what was sent last was rejected, or refused, for this reason.
    pub(super) fn expect_no(&self, how: &'static str, reason: &str) -> Result<(), Culprit> {
        let Last { name, reply } = self.last()?;
        let found = match (how, reply) {
            ("refused", Reply::Refused(refusal)) => refusal.reason == reason,
            ("rejected", reply) => outcomes(reply).iter().any(|outcome| match &outcome.decision {
                Decision::Rejected(rejection) => rejection.reason == reason,
                Decision::Accepted(_) => false,
            }),
            _ => false,
        };
        if found { Ok(()) } else { Err(otherwise(name, &format!("{how} as {reason}"), reply)) }
    }

    fn last(&self) -> Result<&Last, Culprit> {
        self.last.as_ref().ok_or_else(|| Culprit::from("nothing was sent yet".to_owned()))
    }
}

fn somebody() -> Principal {
    Principal::parse(SOMEBODY).expect("it is a token")
}

/// The events that an outcome was decided on.
fn before(commits: &[Commit], outcome: &Outcome) -> Result<Vec<RecordedEvent>, Culprit> {
    let before = commits.iter().filter(|commit| commit.position < outcome.position);
    events_of(before, &outcome.aggregate)
}

fn events_of<'a>(
    commits: impl Iterator<Item = &'a Commit>,
    aggregate: &AggregateId,
) -> Result<Vec<RecordedEvent>, Culprit> {
    let mut all = Vec::new();
    for commit in commits.filter(|commit| commit.command.aggregate == *aggregate) {
        let outcome = commit.outcome().map_err(|error| Culprit::from(with_sources(&error)))?;
        all.extend(events(&outcome).iter().cloned());
    }
    Ok(all)
}

fn events(outcome: &Outcome) -> &[RecordedEvent] {
    match &outcome.decision {
        Decision::Accepted(events) => events,
        Decision::Rejected(_) => &[],
    }
}

fn outcomes(reply: &Reply) -> Vec<&Outcome> {
    match reply {
        Reply::Outcome(outcome) => vec![outcome],
        Reply::Batch(batch) => batch
            .items
            .iter()
            .filter_map(|item| match item {
                ItemReply::Outcome { outcome, .. } => Some(outcome),
                ItemReply::Refused(_) | ItemReply::Check(_) => None,
            })
            .collect(),
        Reply::Refused(_) | Reply::Unknown { .. } => Vec::new(),
    }
}

/// The bytes of one command's outcome in the reply to a batch.
fn json_of(reply: &Reply, id: &CommandId) -> Option<Bytes> {
    let Reply::Batch(batch) = reply else { return None };
    batch.items.iter().find_map(|item| match item {
        ItemReply::Outcome { outcome, json } if outcome.id == *id => Some(json.clone()),
        _ => None,
    })
}

fn is_accepted(reply: &Reply) -> bool {
    match reply {
        Reply::Outcome(outcome) => outcome.is_accepted(),
        Reply::Batch(batch) => batch.is_accepted(),
        Reply::Refused(_) | Reply::Unknown { .. } => false,
    }
}

fn event(kind: &str, data: &str) -> String {
    in_names(&format!("{kind} {data}"))
}

fn same_event(left: &str, right: &str) -> bool {
    match (left.split_once(' '), right.split_once(' ')) {
        (Some((kind, data)), Some((kind_too, data_too))) => {
            kind == kind_too && json::same_value(data.as_bytes(), data_too.as_bytes())
        }
        _ => false,
    }
}

fn otherwise(name: &str, expected: &str, reply: &Reply) -> Culprit {
    let came = match reply {
        Reply::Refused(refusal) => refusal.to_string(),
        reply => outcomes(reply).into_iter().map(render::verdict).collect::<Vec<_>>().join("; "),
    };
    Culprit::new(format!("{name} was not {expected}"), "").with("it was", in_names(&came))
}

fn same_bytes(name: &str, first: &Bytes, now: &Bytes) -> Result<(), Culprit> {
    if first == now {
        return Ok(());
    }
    let shown = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let culprit = Culprit::new(format!("{name} was answered otherwise the second time"), "");
    Err(culprit.with("first", shown(first)).with("now", shown(now)))
}

fn recorded_once(name: &str, before: usize, now: usize) -> Result<(), Culprit> {
    if before == now {
        return Ok(());
    }
    let culprit = Culprit::new(format!("{name}: another number of commits than before"), "");
    Err(culprit.with("before", before.to_string()).with("now", now.to_string()))
}

/// Ids by the names that a story gives them.
fn in_names(text: &str) -> String {
    let mut shown = text.to_owned();
    for (kind, letter) in [("command", 'c'), ("batch", 'b')] {
        let prefix = format!("story-{kind}-");
        while let Some(start) = shown.find(&prefix) {
            let digits = start + prefix.len()..start + prefix.len() + ID_DIGITS;
            let Some(number) = shown.get(digits.clone()).and_then(|digits| digits.parse::<u32>().ok()) else { break };
            shown.replace_range(start..digits.end, &format!("{letter}{number}"));
        }
    }
    shown
}
