//! Clients: they send, wait, attach, send again with jitter, void, and are sometimes wrong.

use std::time::Duration;

use bytes::Bytes;
use hapax::model::outcome::Reply;
use hapax::model::{
    AggregateId, CommandId, CommandName, Identity, ItemReply, Key, Principal, Refusal, Timestamp, Version,
};
use hapax::processor::{Answer, Ask, Question};
use rand::Rng;
use uuid::Uuid;

use crate::common::history::{About, Answered, Asked, Event, Number, Sent};
use crate::run::Run;

/// Somebody who sends commands. Two of them may be the same principal.
pub(crate) struct Client {
    pub(crate) principal: Principal,
    pub(crate) lives: bool,
    ids: u64,
}

/// A command that a client wants to know the outcome of.
#[derive(Clone)]
pub(crate) struct Errand {
    pub(crate) client: usize,
    pub(crate) sent: Sent,
    /// The commands in it, if it is a batch.
    items: Vec<Sent>,
    kind: Kind,
    /// When the client loses patience.
    due: Timestamp,
    tries: u32,
    pub(crate) is_over: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The outcome goes to an inbox.
    Told,
    /// The outcome is asked for.
    Asks,
    /// The client has given up, and voids it.
    Voids,
    /// The outcome would go to somebody else's inbox, so nobody is told anything.
    Misdirected,
    /// The id comes twice and nobody can be told.
    Unreadable,
}

impl Errand {
    pub(crate) fn is_batch(&self) -> bool {
        self.sent.aggregate.kind.is_batch()
    }

    /// Whether it has an outcome that can be asked for: a batch each for itself has none, only its items have.
    fn has_outcome(&self) -> bool {
        !self.is_batch() || self.sent.body.starts_with(br#"{"atomic":true"#)
    }
}

const PRINCIPALS: [&str; 2] = ["alice", "bob"];

impl Client {
    pub(crate) fn new(number: usize) -> Client {
        let principal = Principal::parse(PRINCIPALS[number % PRINCIPALS.len()]).unwrap();
        // Those of one principal have ids of their own, mostly; those of different ones have the same.
        Client { principal, lives: true, ids: 1_000_000 * (number / PRINCIPALS.len()) as u64 }
    }
}

impl Run {
    /// A client does something: about an errand that is due, or a new one. Whether there was something.
    pub(crate) fn client_acts(&mut self) -> bool {
        let now = self.pure.now;
        let lives = |errand: &Errand| self.clients[errand.client].lives && !errand.is_over;
        let open: Vec<usize> = (self.first_open..self.errands.len()).filter(|at| lives(&self.errands[*at])).collect();
        self.first_open = open.first().copied().unwrap_or(self.errands.len());
        let due: Vec<usize> = open.iter().copied().filter(|at| self.errands[*at].due <= now).collect();
        if !due.is_empty() && self.random.gen_bool(0.7) {
            let errand = due[self.random.gen_range(0..due.len())];
            self.pursue(errand);
            return true;
        }
        if open.len() < self.window && self.to_issue > 0 && self.clients.iter().any(|client| client.lives) {
            self.to_issue -= 1;
            let errand = self.new_errand();
            self.errands.push(errand);
            self.pursue(self.errands.len() - 1);
            return true;
        }
        false
    }

    /// All clients do what is due.
    pub(crate) fn clients_act(&mut self) {
        for at in 0..self.errands.len() {
            let Errand { client, is_over, due, .. } = self.errands[at];
            if self.clients[client].lives && !is_over && due <= self.pure.now {
                self.pursue(at);
            }
        }
    }

    fn pursue(&mut self, at: usize) {
        let Errand { kind, tries, .. } = self.errands[at];
        let choice = self.random.gen_range(0..10);
        match (kind, tries) {
            (_, 0) | (Kind::Voids, _) => self.send(at),
            _ if !self.errands[at].has_outcome() => self.send(at),
            (Kind::Told, _) if choice < 5 => self.send(at),
            (Kind::Asks, _) if choice < 2 => self.send(at),
            (Kind::Told | Kind::Asks, 3..) if choice == 9 => {
                self.errands[at].kind = Kind::Voids;
                self.send(at);
            }
            _ => self.ask_for_outcome(at),
        }
        let errand = &mut self.errands[at];
        errand.tries += 1;
        // Full jitter, and more than the stream's window.
        let longest = 500 << errand.tries.min(4);
        errand.due = self.pure.now.plus(Duration::from_millis(250 + self.random.gen_range(0..longest)));
        errand.is_over |= matches!(kind, Kind::Misdirected | Kind::Unreadable);
    }

    fn send(&mut self, at: usize) {
        let Errand { kind, mut sent, .. } = self.errands[at].clone();
        let number = self.pure.history.events.len();
        let inbox = |principal: &str| Some(format!("_INBOX.{principal}.{number}"));
        sent.reply_to = match kind {
            Kind::Told | Kind::Voids => inbox(sent.identity.principal.as_str()),
            Kind::Misdirected => inbox("mallory"),
            Kind::Asks | Kind::Unreadable => None,
        };
        if kind == Kind::Voids {
            sent.name = CommandName::parse(CommandName::VOID).unwrap();
            (sent.expected, sent.not_after, sent.body) = (None, None, Bytes::new());
        } else {
            sent.body = self.spelled(&sent.body);
        }
        if self.errands[at].tries > 0 {
            self.fired.shown("a client sent again", 1);
        }
        self.fired.shown("a client voided", u64::from(kind == Kind::Voids));
        let (subject, mut headers, body) = (sent.subject(), sent.headers(&format!("void-{at:012}")), sent.body.clone());
        if kind == Kind::Unreadable {
            headers.push(headers[0].clone());
        }
        self.pure.history.note(Event::Sent(sent));
        self.errand_of.insert(number, at);
        if self.loses_messages && self.random.gen_bool(0.5) {
            self.fired.shown("a message was lost", 1);
            self.pure.broker.is_lossy = true;
            return;
        }
        if !self.pure.publish(number, &subject, &headers, body, true) {
            self.fired.shown("a message was taken for a copy", 1);
        }
    }

    /// The same JSON value, perhaps in other bytes.
    fn spelled(&mut self, body: &Bytes) -> Bytes {
        let text = String::from_utf8_lossy(body);
        match self.random.gen_range(0..4) {
            0 => text.replace(':', " : ").into(),
            1 => text.replace('{', "{\n").into(),
            _ => body.clone(),
        }
    }

    fn ask_for_outcome(&mut self, at: usize) {
        let Sent { identity, aggregate, .. } = self.errands[at].sent.clone();
        let wait_ms = self.random.gen_range(100..3_000);
        let wait_until = self.random.gen_bool(0.7).then(|| self.pure.now.plus(Duration::from_millis(wait_ms)));
        self.fired.shown("a client asked for an outcome", 1);
        self.fired.shown("a client attached", u64::from(wait_until.is_some()));
        let about = About::Outcome { identity: identity.clone(), aggregate: aggregate.clone() };
        let number = self.ask(
            identity.principal.clone(),
            about,
            Ask::Outcome { identity, aggregate, content: None, wait_until },
        );
        self.errand_of.insert(number, at);
    }

    pub(crate) fn ask_for_state(&mut self) {
        let key = self.random.gen_range(0..self.keys);
        let client = self.random.gen_range(0..self.clients.len());
        let aggregate = account(key);
        let principal = self.clients[client].principal.clone();
        self.ask(principal, About::State(aggregate.clone()), Ask::State { aggregate });
    }

    fn ask(&mut self, principal: Principal, about: About, ask: Ask) -> Number {
        let number = self.pure.history.note(Event::Asked(Asked { principal: principal.clone(), about }));
        let question = Question { reply_to: format!("_INBOX.{principal}.{number}"), ask };
        let asked = self.pure.ask(question);
        self.went_on(asked);
        number
    }

    /// An answer comes to its inbox.
    pub(crate) fn receive(&mut self, answer: Answer) {
        let to: Number = answer.to.rsplit('.').next().unwrap().parse().unwrap();
        let errand = self.errand_of.get(&to).copied();
        if errand.is_some_and(|at| !self.clients[self.errands[at].client].lives) {
            return; // Nobody sees it.
        }
        let Answer { to: inbox, body, replayed } = answer;
        self.pure.history.note(Event::Answered(Answered { to, inbox, body: body.clone(), replayed }));
        let Some(errand) = errand.map(|at| &mut self.errands[at]) else { return };
        let mut saw = |aggregate, version: Version| self.seen.insert(aggregate, version.0);
        // A copy that was refused for now is sent again, later.
        let is_final = |refusal: &Refusal| refusal.code != 503;
        errand.due = self.pure.now.plus(Duration::from_millis(250));
        errand.is_over |= match Reply::from_json(&body).unwrap() {
            Reply::Outcome(outcome) => {
                saw(outcome.aggregate, outcome.version);
                true
            }
            Reply::Refused(refusal) => is_final(&refusal),
            Reply::Unknown { .. } => false,
            Reply::Batch(batch) => {
                let each = batch.items.into_iter().map(|item| match item {
                    ItemReply::Outcome { outcome, .. } => {
                        saw(outcome.aggregate, outcome.version);
                        true
                    }
                    ItemReply::Refused(refusal) => is_final(&refusal),
                    ItemReply::Check(check) => {
                        saw(check.aggregate, check.version);
                        true
                    }
                });
                each.fold(true, |all, one| all & one)
            }
        };
    }

    fn new_errand(&mut self) -> Errand {
        let living: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].lives).collect();
        let client = living[self.random.gen_range(0..living.len())];
        let packs = self.random.gen_bool(self.batches);
        let (sent, items) = if packs { self.new_batch(client) } else { (self.new_command(client), Vec::new()) };
        let mut errand = Errand { client, sent, items, kind: Kind::Told, due: self.pure.now, tries: 0, is_over: false };
        let own: Vec<usize> = (0..self.errands.len()).filter(|at| self.errands[*at].client == client).collect();
        let earlier = own.get(self.random.gen_range(0..own.len().max(1))).map(|at| self.errands[*at].clone());
        match (self.random.gen_range(0..100), earlier) {
            // An id again, long after: with the same content, or with what this errand was to be about.
            (0..6, Some(earlier)) => {
                (errand.sent, errand.items) = (earlier.sent, earlier.items);
                if !errand.items.is_empty() && self.random.gen_bool(0.5) {
                    errand.sent = errand.items.swap_remove(self.random.gen_range(0..errand.items.len()));
                    errand.items.clear();
                    errand.kind = [Kind::Told, Kind::Asks, Kind::Voids][self.random.gen_range(0..3)];
                    self.fired.shown("an item of a batch was meant alone", 1);
                }
            }
            (6..10, Some(earlier)) if earlier.sent.aggregate == errand.sent.aggregate => {
                errand.sent.identity = earlier.sent.identity;
                self.fired.shown("an id was used again", 1);
            }
            // Without an inbox nobody hears of an item that was refused for now.
            (10..16, _) if errand.has_outcome() => errand.kind = Kind::Asks,
            (16..18, _) => errand.kind = Kind::Voids,
            (18, _) => errand.kind = Kind::Misdirected,
            (19, _) => errand.kind = Kind::Unreadable,
            (20, _) => errand.sent.body = Bytes::from_static(b"{\"amount\":"),
            (21, _) => errand.sent.name = CommandName::parse("burn").unwrap(),
            (22, _) if !errand.is_batch() => {
                errand.sent.aggregate = format!("ship/{}", errand.sent.aggregate.key).parse().unwrap()
            }
            _ => {}
        }
        errand
    }

    /// An id that this client has not used yet.
    pub(crate) fn new_identity(&mut self, client: usize, key: Key) -> Identity {
        let now = self.pure.now.unix_micros() / 1_000;
        let behind = self.random.gen_range(0..200);
        let client = &mut self.clients[client];
        client.ids += 1;
        // Every second one says when it was made; the clocks of clients differ a little.
        let id = if client.ids.is_multiple_of(2) {
            let bits = ((now - behind) as u128) << 80 | 7 << 76 | 1 << 63 | u128::from(client.ids);
            CommandId::from(Uuid::from_u128(bits))
        } else {
            CommandId::parse(&format!("command-{:010}", client.ids)).unwrap()
        };
        Identity { principal: client.principal.clone(), key, id }
    }

    pub(crate) fn new_command(&mut self, client: usize) -> Sent {
        let key = self.random.gen_range(0..self.keys);
        let aggregate = account(key);
        let identity = self.new_identity(client, aggregate.key.clone());
        let seen = self.seen.get(&aggregate).copied();
        let amount = self.random.gen_range(0..50);
        let (name, body) = match self.random.gen_range(0..20) {
            _ if seen.is_none() => ("open", r#"{"owner":"somebody"}"#.to_owned()),
            0 => ("open", r#"{"owner":"another"}"#.to_owned()),
            1 => ("close", String::new()),
            2..12 => ("deposit", format!(r#"{{"amount":{amount}}}"#)),
            _ => ("withdraw", format!(r#"{{"amount":{amount}}}"#)),
        };
        let expected = seen.filter(|_| self.random.gen_bool(0.15)).map(Version);
        let ms = self.random.gen_range(0..3_000);
        let not_after = self.random.gen_bool(0.05).then(|| self.pure.now.plus(Duration::from_millis(ms)));
        let name = CommandName::parse(name).unwrap();
        Sent { identity, aggregate, name, expected, not_after, body: body.into(), reply_to: None }
    }
}

pub(crate) fn account(key: usize) -> AggregateId {
    AggregateId { kind: hapax::AggregateType::parse("account").unwrap(), key: Key::parse(&key.to_string()).unwrap() }
}
