//! Processors that are wrong on purpose: the right one, with something around it that falsifies what it hears or says.
//! Each stands for a mistake that somebody could make, and shows that the vectors would notice.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use hapax::model::subject::is_inbox_of;
use hapax::model::{CommandId, Principal, Timestamp, header, json};
use hapax::processor::{Answer, Ask, Delivery, Effect, Found, Input, Processor, Question, TurnNumber, Wanted};
use serde_json::Value;

use crate::common::pure::Core;

type Wrap = fn(Processor) -> Box<dyn Core>;

/// All of them, by name.
pub(crate) const WRONG: [(&str, Wrap); 17] = [
    ("forgets what it has decided", |right| wrong(right, Forgets::default())),
    ("forgets at a restart what it has decided", |right| wrong(right, ForgetsAtRestart::default())),
    ("records acceptances only", |right| wrong(right, ForgetsRejections::default())),
    ("replays with other bytes", |right| wrong(right, OtherBytes)),
    ("loses the mark of a replay", |right| wrong(right, LosesMark)),
    ("ignores the expected version", |right| wrong(right, IgnoresHeader(header::EXPECTED_VERSION))),
    ("ignores the time limit", |right| wrong(right, IgnoresHeader(header::NOT_AFTER))),
    ("checks the time limit before it knows the id", |right| wrong(right, ChecksLimitFirst::default())),
    ("takes white space for content", |right| wrong(right, ComparesBytes::default())),
    ("compares numbers by value", |right| wrong(right, NumbersByValue)),
    ("lets the last of two equal keys win", |right| wrong(right, LastKeyWins)),
    ("answers a void and records nothing", |right| wrong(right, VoidsNothing::default())),
    ("answers to any inbox", |right| wrong(right, AnyInbox::default())),
    ("answers before its disk does", |right| wrong(right, SpeaksTooSoon::default())),
    ("has one book for all principals", |right| wrong(right, OnePrincipal)),
    ("takes a failed look-up for an absence", |right| wrong(right, FailsOpen::default())),
    ("sticks to its refusals", |right| wrong(right, SticksToRefusals::default())),
];

fn wrong(right: Processor, falsifier: impl Falsifier + 'static) -> Box<dyn Core> {
    Box::new(Wrong { right, falsifier })
}

/// What may be falsified on the way in and on the way out. As it is, nothing is.
trait Falsifier {
    /// A command comes in. An answer is given in the processor's stead, and the command is done with.
    fn delivery(&mut self, _: &mut Delivery, _now: Timestamp) -> Option<Answer> {
        None
    }

    fn question(&mut self, _: &mut Question) {}

    fn input(&mut self, input: Input) -> Input {
        input
    }

    fn effects(&mut self, _: &mut Vec<Effect>) {}

    fn answer(&mut self, _: &mut Answer) {}
}

struct Wrong<F> {
    right: Processor,
    falsifier: F,
}

impl<F: Falsifier> Core for Wrong<F> {
    fn has_room(&self) -> bool {
        self.right.has_room()
    }

    fn on(&mut self, mut input: Input, effects: &mut Vec<Effect>) {
        let falsifier = &mut self.falsifier;
        match &mut input {
            Input::Delivered(batch, now) => batch.retain_mut(|delivery| match falsifier.delivery(delivery, *now) {
                None => true,
                Some(answer) => {
                    effects.extend([Effect::Reply(answer), Effect::Ack(vec![delivery.ticket.clone()])]);
                    false
                }
            }),
            Input::Asked(questions, _) => questions.iter_mut().for_each(|question| falsifier.question(question)),
            _ => {}
        }
        let input = falsifier.input(input);
        self.right.on(input, effects);
        falsifier.effects(effects);
        for effect in effects {
            if let Effect::Reply(answer) = effect {
                falsifier.answer(answer);
            }
        }
    }
}

/// Ids that the processor is told instead of the ones that were sent, so that it does not know them.
#[derive(Default)]
struct Aliases {
    ids: HashMap<String, String>,
}

impl Aliases {
    /// A new alias of an id; of something that is none, itself.
    fn of(&mut self, id: &str) -> String {
        if CommandId::parse(id).is_err() {
            return id.to_owned();
        }
        let alias = format!("alias-{:010}", self.ids.len());
        self.ids.insert(alias.clone(), id.to_owned());
        alias
    }

    fn restore(&self, answer: &mut Answer) {
        let Ok(mut text) = String::from_utf8(answer.body.to_vec()) else { return };
        while let Some(start) = text.find("alias-") {
            let end = start + "alias-0000000000".len();
            text = text.replace(&text[start..end], &self.ids[&text[start..end]]);
        }
        answer.body = text.into();
    }
}

fn value_of<'a>(delivery: &'a mut Delivery, name: &str) -> Option<&'a mut String> {
    delivery.headers.iter_mut().find(|(of, _)| *of == name).map(|(_, value)| value)
}

fn principal_of(delivery: &Delivery) -> Option<Principal> {
    Principal::parse(delivery.subject.split('.').nth(2)?).ok()
}

fn is_void(delivery: &Delivery) -> bool {
    delivery.subject.ends_with("._void")
}

/// Every copy is decided, as if there were no dedupe log.
#[derive(Default)]
struct Forgets(Aliases);

impl Falsifier for Forgets {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        if let Some(id) = value_of(delivery, header::ID) {
            *id = self.0.of(id);
        }
        None
    }

    fn answer(&mut self, answer: &mut Answer) {
        self.0.restore(answer);
    }
}

/// The dedupe log is in memory only.
#[derive(Default)]
struct ForgetsAtRestart {
    /// The id that the processor is told in this life, by the one that was sent.
    told: HashMap<String, String>,
    life: Option<Timestamp>,
}

impl ForgetsAtRestart {
    fn tell(&mut self, id: &mut String) {
        let Some(life) = self.life.filter(|_| CommandId::parse(id).is_ok()) else { return };
        let name = format!("life-{}-{:06}", life.unix_micros(), self.told.len());
        id.clone_from(self.told.entry(id.clone()).or_insert(name));
    }
}

impl Falsifier for ForgetsAtRestart {
    fn delivery(&mut self, delivery: &mut Delivery, now: Timestamp) -> Option<Answer> {
        self.life.get_or_insert(now);
        for name in [header::ID, header::VOID] {
            if let Some(id) = value_of(delivery, name) {
                self.tell(id);
            }
        }
        None
    }

    fn question(&mut self, question: &mut Question) {
        if let Ask::Outcome { identity, .. } = &mut question.ask {
            let mut id = identity.id.to_string();
            self.tell(&mut id);
            identity.id = CommandId::parse(&id).unwrap();
        }
    }

    fn answer(&mut self, answer: &mut Answer) {
        let mut text = String::from_utf8(answer.body.to_vec()).unwrap();
        for (sent, told) in &self.told {
            text = text.replace(told, sent);
        }
        answer.body = text.into();
    }
}

/// A rejection is said and not recorded, so that its id is decided anew.
#[derive(Default)]
struct ForgetsRejections {
    rejected: HashSet<String>,
    aliases: Aliases,
}

impl Falsifier for ForgetsRejections {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        if let Some(id) = value_of(delivery, header::ID)
            && self.rejected.contains(id)
        {
            *id = self.aliases.of(id);
        }
        None
    }

    fn answer(&mut self, answer: &mut Answer) {
        self.aliases.restore(answer);
        let reply: Value = serde_json::from_slice(&answer.body).unwrap();
        if reply["status"] == "rejected" {
            self.rejected.extend(reply["id"].as_str().map(str::to_owned));
        }
    }
}

/// A replay is written anew: the same value, other bytes.
struct OtherBytes;

impl Falsifier for OtherBytes {
    fn answer(&mut self, answer: &mut Answer) {
        if answer.replayed {
            let value: Value = serde_json::from_slice(&answer.body).unwrap();
            answer.body = value.to_string().into();
        }
    }
}

struct LosesMark;

impl Falsifier for LosesMark {
    fn answer(&mut self, answer: &mut Answer) {
        answer.replayed = false;
    }
}

struct IgnoresHeader(&'static str);

impl Falsifier for IgnoresHeader {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        delivery.headers.retain(|(name, _)| *name != self.0);
        None
    }
}

/// What is wrong with one sending is said to a retry too.
#[derive(Default)]
struct ChecksLimitFirst(Aliases);

impl Falsifier for ChecksLimitFirst {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        let limit = value_of(delivery, header::NOT_AFTER).map(|limit| Timestamp::parse(limit));
        if let (Some(None), Some(id)) = (limit, value_of(delivery, header::ID)) {
            *id = self.0.of(id);
        }
        None
    }

    fn answer(&mut self, answer: &mut Answer) {
        self.0.restore(answer);
    }
}

/// The same JSON value in other bytes is another content.
#[derive(Default)]
struct ComparesBytes(HashMap<String, Bytes>);

impl Falsifier for ComparesBytes {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        let id = value_of(delivery, header::ID)?.clone();
        let first = self.0.entry(id).or_insert_with(|| delivery.body.clone());
        if *first != delivery.body && json::same_value(first, &delivery.body) {
            delivery.body = Bytes::from_static(br#"{"something":"else"}"#);
        }
        None
    }
}

/// Numbers go through a double, as in many languages.
struct NumbersByValue;

impl Falsifier for NumbersByValue {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        if json::compact_object(&delivery.body).is_ok()
            && let Ok(mut value) = serde_json::from_slice::<Value>(&delivery.body)
        {
            as_doubles(&mut value);
            delivery.body = value.to_string().into();
        }
        None
    }
}

fn as_doubles(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(as_doubles),
        Value::Object(members) => members.values_mut().for_each(as_doubles),
        Value::Number(number) => {
            let double = number.as_f64().unwrap();
            if double.fract() == 0.0 && double.abs() < 1e15 {
                *value = format!("{double:.0}").parse().unwrap();
            }
        }
        _ => {}
    }
}

struct LastKeyWins;

impl Falsifier for LastKeyWins {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        if let Err(json::JsonError::DuplicateKey(_)) = json::compact_object(&delivery.body) {
            let value: Value = serde_json::from_slice(&delivery.body).unwrap();
            delivery.body = value.to_string().into();
        }
        None
    }
}

/// A void of an id that is not decided says `voided`, and the id can still be decided.
#[derive(Default)]
struct VoidsNothing {
    decided: HashSet<CommandId>,
    aliases: Aliases,
}

impl Falsifier for VoidsNothing {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        if is_void(delivery)
            && let Some(id) = value_of(delivery, header::VOID)
            && !CommandId::parse(id).is_ok_and(|id| self.decided.contains(&id))
        {
            *id = self.aliases.of(id);
        }
        None
    }

    fn effects(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects {
            if let Effect::Append(commits) = effect {
                self.decided.extend(commits.iter().map(|commit| commit.command.identity.id.clone()));
            }
        }
    }

    fn answer(&mut self, answer: &mut Answer) {
        self.aliases.restore(answer);
    }
}

/// Answers go wherever a sender wants them.
#[derive(Default)]
struct AnyInbox(HashMap<String, String>);

impl Falsifier for AnyInbox {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        let principal = principal_of(delivery)?;
        let inbox = value_of(delivery, header::REPLY_TO)?;
        if !is_inbox_of(&principal, inbox) {
            let detour = format!("_INBOX.{principal}.detour{}", self.0.len());
            self.0.insert(detour.clone(), std::mem::replace(inbox, detour));
        }
        None
    }

    fn answer(&mut self, answer: &mut Answer) {
        if let Some(wanted) = self.0.get(&answer.to) {
            answer.to.clone_from(wanted);
        }
    }
}

/// An outcome leaves when it is decided, not when it is durable.
#[derive(Default)]
struct SpeaksTooSoon {
    inboxes: HashMap<String, String>,
    answered: HashSet<String>,
}

impl Falsifier for SpeaksTooSoon {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        let id = value_of(delivery, header::ID)?.clone();
        let inbox = value_of(delivery, header::REPLY_TO)?.clone();
        self.inboxes.insert(id, inbox);
        None
    }

    fn effects(&mut self, effects: &mut Vec<Effect>) {
        effects.retain(|effect| !matches!(effect, Effect::Reply(answer) if self.answered.contains(&answer.to)));
        let mut answers = Vec::new();
        for effect in &*effects {
            let Effect::Append(commits) = effect else { continue };
            for commit in commits {
                let Some(to) = self.inboxes.get(commit.command.identity.id.as_str()) else { continue };
                self.answered.insert(to.clone());
                let body = commit.outcome_json().clone();
                answers.push(Effect::Reply(Answer { to: to.clone(), body, replayed: false }));
            }
        }
        effects.extend(answers);
    }
}

/// Ids of one principal are known under another.
struct OnePrincipal;

const EVERYBODY: &str = "everybody";

impl Falsifier for OnePrincipal {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        let principal = principal_of(delivery)?;
        if let Some(inbox) = value_of(delivery, header::REPLY_TO)
            && is_inbox_of(&principal, inbox)
        {
            inbox.insert_str("_INBOX.".len(), &format!("{EVERYBODY}."));
        }
        let mut tokens: Vec<&str> = delivery.subject.split('.').collect();
        tokens[2] = EVERYBODY;
        delivery.subject = tokens.join(".");
        None
    }

    fn question(&mut self, question: &mut Question) {
        if let Ask::Outcome { identity, .. } = &mut question.ask {
            identity.principal = Principal::parse(EVERYBODY).unwrap();
        }
    }

    fn answer(&mut self, answer: &mut Answer) {
        answer.to = answer.to.replacen(&format!("{EVERYBODY}."), "", 1);
    }
}

/// Who asks for an outcome that cannot be looked up is told that it is unknown.
#[derive(Default)]
struct FailsOpen(HashMap<TurnNumber, Wanted>);

impl Falsifier for FailsOpen {
    fn input(&mut self, input: Input) -> Input {
        match input {
            Input::LoadFailed(number, why) => match self.0.remove(&number) {
                Some(Wanted { identities, aggregates }) if aggregates.is_empty() => {
                    let commits = identities.into_iter().map(|identity| (identity, None)).collect();
                    Input::Loaded(number, Found { commits, ..Found::default() })
                }
                _ => Input::LoadFailed(number, why),
            },
            input => input,
        }
    }

    fn effects(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects {
            if let Effect::Load(number, Wanted { identities, aggregates }) = effect {
                let (identities, aggregates) = (identities.clone(), aggregates.clone());
                self.0.insert(*number, Wanted { identities, aggregates });
            }
        }
    }
}

/// What was refused once is refused for ever.
#[derive(Default)]
struct SticksToRefusals(HashMap<String, Bytes>);

impl Falsifier for SticksToRefusals {
    fn delivery(&mut self, delivery: &mut Delivery, _: Timestamp) -> Option<Answer> {
        let id = value_of(delivery, header::ID)?.clone();
        let to = value_of(delivery, header::REPLY_TO)?.clone();
        self.0.get(&id).map(|body| Answer { to, body: body.clone(), replayed: false })
    }

    fn answer(&mut self, answer: &mut Answer) {
        let reply: Value = serde_json::from_slice(&answer.body).unwrap();
        if let ("refused", Some(id)) = (reply["status"].as_str().unwrap_or_default(), reply["id"].as_str()) {
            self.0.insert(id.to_owned(), answer.body.clone());
        }
    }
}
