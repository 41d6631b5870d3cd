//! A small run in which nothing is wrong, with its history and what is left of it.

use std::time::Duration;

use bytes::Bytes;
use hapax::ChainHash;
use hapax::index::{Index, MemoryIndex};
use hapax::model::{AggregateId, CommandId, CommandName, Commit, Entry, Identity, Key, Principal, Timestamp, Version};
use hapax::processor::{Ask, Question};
pub(crate) use hapax::samples::service;
use hapax::store::StoreId;
use serde_json::Value;

use crate::common::checker::{Counts, Evidence, Feed, Violation, check};
use crate::common::feed::Fed;
use crate::common::feed_world::fed;
use crate::common::history::{About, Answered, Asked, Event, History, Number, Sent};
use crate::common::pure::{Left, Pure, STORE};

/// The history of a run and what is left of it, to be falsified.
pub(crate) struct Run {
    pub(crate) history: History,
    pub(crate) commits: Vec<Commit>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) id: StoreId,
    pub(crate) feed: Vec<Fed>,
    pub(crate) feed_is_whole: bool,
}

/// A sending of a command to an account.
pub(crate) fn sending(principal: &str, key: &str, id: &str, name: &str, body: &str) -> Sent {
    let aggregate: AggregateId = format!("account/{key}").parse().unwrap();
    Sent {
        identity: identity(principal, key, id),
        aggregate,
        name: CommandName::parse(name).unwrap(),
        expected: None,
        not_after: None,
        body: Bytes::from(body.to_owned()),
        reply_to: Some(format!("_INBOX.{principal}.{id}")),
    }
}

/// A sending of a batch.
fn batch(principal: &str, key: &str, id: &str, atomic: bool, items: &[String]) -> Sent {
    let body = format!(r#"{{"atomic":{atomic},"commands":[{}]}}"#, items.join(","));
    Sent { aggregate: format!("_batch/{key}").parse().unwrap(), ..sending(principal, key, id, "run", &body) }
}

fn item(key: &str, id: &str, name: &str, body: &str) -> String {
    format!(r#"{{"id":"{id:->16}","aggregate":"account","key":"{key}","command":"{name}","data":{body}}}"#)
}

fn checked(key: &str, version: u64) -> String {
    format!(r#"{{"check":{{"aggregate":"account","key":"{key}","version":{version}}}}}"#)
}

pub(crate) fn identity(principal: &str, key: &str, id: &str) -> Identity {
    let principal = Principal::parse(principal).unwrap();
    Identity { principal, key: Key::parse(key).unwrap(), id: CommandId::parse(&format!("{id:->16}")).unwrap() }
}

impl Run {
    /// Acceptances, rejections of both kinds, a copy, a reused id, a void, a crash, questions, two principals; batches of both
    /// kinds.
    pub(crate) fn good() -> Run {
        let mut play = Play::start();
        play.send(sending("alice", "1", "a", "open", r#"{"owner":"alice"}"#));
        play.send(sending("alice", "1", "b", "deposit", r#"{"amount":100}"#));
        play.send(sending("alice", "1", "b", "deposit", r#"{ "amount": 100 }"#));
        play.send(sending("alice", "1", "b", "deposit", r#"{"amount":7}"#));
        play.send(sending("bob", "1", "b", "withdraw", r#"{"amount":30}"#));
        play.pure.crash(Left::StoreAndIndex, service());
        play.send(sending("bob", "1", "c", "withdraw", r#"{"amount":900}"#));
        play.send(Sent { expected: Some(Version(1)), ..sending("bob", "1", "d", "close", "") });
        let long_ago = Timestamp::parse("2020-01-01T00:00:00Z");
        play.send(Sent { not_after: long_ago, ..sending("bob", "1", "e", "withdraw", r#"{"amount":1}"#) });
        play.send(sending("bob", "1", "f", "_void", ""));
        play.send(sending("bob", "1", "f", "deposit", r#"{"amount":5}"#));
        let just_in_time = Some(play.pure.now.plus(Duration::from_millis(1))); // When it is taken in.
        play.send(Sent { not_after: just_in_time, ..sending("bob", "2", "g", "open", r#"{"owner":"bob"}"#) });
        play.send_batches();
        play.ask_outcome("alice", "1", "b");
        play.ask_outcome("alice", "1", "never");
        play.ask_state("bob", "9");
        play.ask_state("alice", "1");
        play.finish()
    }

    pub(crate) fn check(&self) -> Result<Counts, Vec<Violation>> {
        let index = MemoryIndex::new();
        index.note(&self.entries).unwrap();
        let evidence = Evidence {
            id: self.id,
            service: &service(),
            commits: &self.commits,
            index: Some((&index, self.commits.last().map(|commit| commit.position))),
            feed: Some(Feed { messages: &self.feed, is_whole: self.feed_is_whole }),
            all_settled: true,
        };
        check(&self.history, &evidence)
    }

    /// Writes a commit anew, and everything behind it, so that the chain holds.
    pub(crate) fn rewrite(&mut self, position: usize, change: impl FnOnce(&mut Value)) {
        let mut json: Value = serde_json::from_slice(self.commits[position - 1].json()).unwrap();
        change(&mut json);
        let mut texts: Vec<Bytes> = self.commits.iter().map(|commit| commit.json().clone()).collect();
        texts[position - 1] = serde_json::to_vec(&json).unwrap().into();
        self.chain(texts);
    }

    pub(crate) fn chain(&mut self, texts: Vec<Bytes>) {
        let mut hash = ChainHash::of_store(self.id.store);
        let commits = texts.into_iter().map(|json| {
            hash = hash.link(&json);
            Commit::from_json(json, hash).unwrap()
        });
        self.commits = commits.collect();
        self.feed = self.commits.iter().map(fed).collect();
    }

    /// The first event of a kind, to be falsified.
    pub(crate) fn event(&mut self, is: impl FnMut(&&mut Event) -> bool) -> &mut Event {
        self.history.events.iter_mut().find(is).unwrap()
    }

    pub(crate) fn last_answer(&mut self, holds: &str) -> &mut Answered {
        let answers = self.history.events.iter_mut().rev().filter_map(|event| match event {
            Event::Answered(answered) => Some(answered),
            _ => None,
        });
        let mut answers = answers.filter(|answered| String::from_utf8_lossy(&answered.body).contains(holds));
        answers.next().unwrap()
    }
}

/// Plays it in a world of memory, which notes what the processor does.
struct Play {
    pure: Pure,
}

impl Play {
    fn start() -> Play {
        let mut play = Play { pure: Pure::new(service()) };
        play.history().note(Event::World("to be falsified".to_owned()));
        play
    }

    fn history(&mut self) -> &mut History {
        &mut self.pure.history
    }

    fn send(&mut self, sent: Sent) {
        let (subject, headers, body) = (sent.subject(), sent.headers("own-id-of-the-void"), sent.body.clone());
        let inbox = sent.reply_to.clone().unwrap();
        let number = self.history().note(Event::Sent(sent));
        self.pure.publish(number, &subject, &headers, body, false);
        self.pure.settle();
        self.receive(number, &inbox);
    }

    /// Between two accounts that nobody else touches.
    fn send_batches(&mut self) {
        let owner = r#"{"owner":"carol"}"#;
        self.send(batch("carol", "3", "h", false, &[item("3", "i", "open", owner), item("4", "j", "open", owner)]));
        let put_in = [item("3", "k", "deposit", r#"{"amount":60}"#), item("5", "l", "fly", "{}")];
        self.send(batch("carol", "3", "m", false, &put_in));
        let moved = [
            checked("4", 1),
            item("3", "n", "withdraw", r#"{"amount":20}"#),
            item("4", "o", "deposit", r#"{"amount":20}"#),
        ];
        self.send(batch("carol", "3", "p", true, &moved));
        self.send(batch("carol", "3", "p", true, &moved.map(|item| item.replace(':', " : "))));
        let overdrawn = [
            item("3", "q", "withdraw", r#"{"amount":30}"#),
            item("4", "r", "deposit", r#"{"amount":30}"#),
            item("3", "s", "withdraw", r#"{"amount":11}"#),
        ];
        self.send(batch("carol", "3", "t", true, &overdrawn));
        // Another batch under a known id; and one with a command that is known from elsewhere.
        self.send(batch("carol", "3", "t", true, &overdrawn[..2]));
        self.send(batch("carol", "3", "u", true, &[item("4", "o", "deposit", r#"{"amount":20}"#)]));
        self.send(batch("carol", "3", "v", false, &overdrawn));
        self.send(sending("carol", "3", "w", "close", ""));
        let aggregate: AggregateId = "_batch/3".parse().unwrap();
        let identity = identity("carol", "3", "p");
        let about = About::Outcome { identity: identity.clone(), aggregate: aggregate.clone() };
        self.ask("carol", about, Ask::Outcome { identity, aggregate, content: None, wait_until: None });
    }

    fn ask_outcome(&mut self, principal: &str, key: &str, id: &str) {
        let aggregate: AggregateId = format!("account/{key}").parse().unwrap();
        let identity = identity(principal, key, id);
        let about = About::Outcome { identity: identity.clone(), aggregate: aggregate.clone() };
        self.ask(principal, about, Ask::Outcome { identity, aggregate, content: None, wait_until: None });
    }

    fn ask_state(&mut self, principal: &str, key: &str) {
        let aggregate: AggregateId = format!("account/{key}").parse().unwrap();
        self.ask(principal, About::State(aggregate.clone()), Ask::State { aggregate });
    }

    fn ask(&mut self, principal: &str, about: About, ask: Ask) {
        let asked = Asked { principal: Principal::parse(principal).unwrap(), about };
        let number = self.history().note(Event::Asked(asked));
        let inbox = format!("_INBOX.{principal}.question{number}");
        assert!(self.pure.ask(Question { reply_to: inbox.clone(), ask }).unwrap());
        self.pure.settle();
        self.receive(number, &inbox);
    }

    fn receive(&mut self, number: Number, inbox: &str) {
        let answer = self.pure.take_reply(inbox).unwrap();
        let answered = Answered { to: number, inbox: answer.to, body: answer.body, replayed: answer.replayed };
        self.history().note(Event::Answered(answered));
    }

    fn finish(self) -> Run {
        let commits = self.pure.commits();
        assert_eq!(commits.len(), 19, "the planted faults name positions");
        let (entries, feed) = (commits.iter().map(Entry::of).collect(), commits.iter().map(fed).collect());
        Run { entries, commits, history: self.pure.history, id: STORE, feed, feed_is_whole: true }
    }
}
