//! One fault each, planted into a run where nothing was wrong. Positions of the good run: 1 open, 2 deposit 100, 3
//! withdraw 30 (bob), 4 withdraw 900 (rejected), 5 close (another version), 6 withdraw (expired), 7 void, 8 open (bob's).

use hapax::model::{AggregateType, ChainHash, Commit, Entry, Position, Snapshot, Version};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::history::{About, Asked, Event, Sent};
use crate::run::{Run, identity, sending};

type Plant = fn(&mut Run);

/// Writes down that something else was accepted, with the event that it says.
fn accept(run: &mut Run, position: usize, name: &str, event: &str, fields: Value) {
    run.rewrite(position, |commit| {
        commit["command"] = json!(name);
        commit["outcome"]["events"] = json!([{"type": event, "schema": 1, "data": fields}]);
        commit["data"] = fields;
    });
}

/// By the invariant that must find it.
pub(crate) const FAULTS: [(&str, &str, Plant); 55] = [
    ("I1", "a command is decided a second time", |run| {
        let mut second: Value = serde_json::from_slice(run.commits[3].json()).unwrap();
        second["outcome"]["position"] = json!(9);
        second["outcome"]["version"] = json!(1);
        let mut texts: Vec<_> = run.commits.iter().map(|commit| commit.json().clone()).collect();
        texts.push(serde_json::to_vec(&second).unwrap().into());
        run.chain(texts);
    }),
    ("I2", "a copy gets the same outcome in other bytes", |run| {
        let answer = run.last_answer(r#""amount":100"#);
        answer.body = [&b" "[..], &answer.body[..]].concat().into();
    }),
    ("I3", "an outcome was replied and the store lost it", |run| drop(run.commits.pop())),
    ("I3", "a position was named that was never durable", |run| {
        let answer = run.last_answer(r#""as_of""#);
        answer.body = br#"{"status":"unknown","as_of":99,"after_ms":250}"#[..].into();
    }),
    ("I3", "a state was shown that was never durable", |run| {
        let answer = run.last_answer(r#""state""#);
        let mut state: Value = serde_json::from_slice(&answer.body).unwrap();
        state["version"] = json!(4);
        answer.body = serde_json::to_vec(&state).unwrap().into();
    }),
    ("I3", "a state was shown as that of a rejection", |run| {
        let answer = run.last_answer(r#""state""#);
        answer.body = String::from_utf8_lossy(&answer.body).replace(r#""position":3"#, r#""position":4"#).into();
    }),
    ("I3", "a state was shown of what does not exist", |run| {
        let answer = run.last_answer(r#""position":null"#);
        answer.body = String::from_utf8_lossy(&answer.body).replace(r#""version":0"#, r#""version":1"#).into();
    }),
    ("I4", "another content gets the first one's outcome", |run| {
        let outcome = run.last_answer(r#""amount":100"#).body.clone();
        run.last_answer("id_reused").body = outcome;
    }),
    ("I4", "a copy is refused as another one's", |run| {
        let refusal = run.last_answer("id_reused").body.clone();
        run.last_answer("insufficient_funds").body = refusal;
    }),
    ("I5", "a version is left out", |run| run.rewrite(8, |commit| commit["outcome"]["version"] = json!(2))),
    ("I5", "a rejection counts as an event", |run| run.rewrite(4, |commit| commit["outcome"]["version"] = json!(4))),
    ("I6", "a commit is not the one that was appended", |run| {
        run.rewrite(7, |commit| commit["traceparent"] = json!("00-x"));
    }),
    ("I6", "a commit is missing in the middle", |run| drop(run.commits.remove(5))),
    ("I6", "two commits have changed places", |run| run.commits.swap(4, 5)),
    ("I7", "nobody sent it", |run| {
        run.rewrite(6, |commit| commit["outcome"]["id"] = json!("nobody-sent-this-one"));
    }),
    ("I7", "it was sent with another amount", |run| {
        run.rewrite(4, |commit| commit["data"]["amount"] = json!(901));
    }),
    ("I7", "it was sent as another command", |run| run.rewrite(5, |commit| commit["command"] = json!("open"))),
    ("I7", "it was sent with another version", |run| run.rewrite(5, |commit| commit["expected"] = json!(2))),
    ("I7", "it was sent with another time limit", |run| {
        run.rewrite(6, |commit| commit["not_after"] = json!("2020-01-01T00:00:01Z"));
    }),
    ("I7", "nobody voided it", |run| run.rewrite(4, |commit| commit["command"] = json!("_void"))),
    ("I7", "it was voided as another aggregate's", |run| {
        run.rewrite(7, |commit| commit["outcome"]["aggregate"] = json!("order"));
    }),
    ("I7", "it was decided before it was sent", |run| {
        let early = Event::Appended { writer: 1, commit: run.commits[7].clone() };
        let late = run.event(|event| matches!(event, Event::Appended { commit, .. } if commit.position.get() == 8));
        *late = Event::World("moved".to_owned());
        run.history.events[0] = early;
    }),
    ("I8", "a rejection has events", |run| run.rewrite(4, |commit| commit["outcome"]["events"] = json!([]))),
    ("I8", "an acceptance has a reason against it", |run| {
        run.rewrite(4, |commit| {
            commit["outcome"]["status"] = json!("accepted");
            commit["outcome"]["events"] = json!([]);
        });
    }),
    ("I9", "a failed look-up is taken for an absence", |run| {
        let event = run.event(|event| matches!(event, Event::LookedUp { .. }));
        let Event::LookedUp { writer, batch, identities } = event.clone() else { unreachable!() };
        *event = Event::LookUpFailed { writer, batch, identities };
    }),
    ("I9", "what was decided is called unknown", |run| {
        run.last_answer(r#""amount":100"#).body = br#"{"status":"unknown","as_of":8,"after_ms":250}"#[..].into();
    }),
    ("I10", "decided again it is something else", |run| {
        run.rewrite(4, |commit| commit["outcome"]["error"]["details"]["balance"] = json!(71));
    }),
    ("I10", "the link back leads elsewhere", |run| run.rewrite(4, |commit| commit["previous"] = json!(2))),
    ("I10", "a live state is not the fold", |run| {
        let answer = run.last_answer(r#""state""#);
        answer.body = String::from_utf8_lossy(&answer.body).replace(r#""balance":70"#, r#""balance":71"#).into();
    }),
    ("I10", "a snapshot is not the fold", |run| {
        let state = br#"{"owner":"bob","balance":1,"closed":false}"#[..].into();
        run.entries[7].snapshot = Some(Snapshot { version: Version(1), fold: 1, state });
    }),
    ("I11", "a link of the chain is another", |run| {
        let Commit { hash: ChainHash(mut bytes), .. } = run.commits[4];
        bytes[31] ^= 1;
        run.commits[4].hash = ChainHash(bytes);
    }),
    ("I11", "it is the chain of another store", |run| run.id.store = Uuid::from_u128(7)),
    ("I12", "the index lacks a command", |run| drop(run.entries.pop())),
    ("I12", "the index has a command elsewhere", |run| {
        let (first, second) = (run.entries[3].identity.clone(), run.entries[4].identity.clone());
        (run.entries[3].identity, run.entries[4].identity) = (second, first);
    }),
    ("I12", "the index has a command under another id", |run| run.entries[3].identity = identity("bob", "1", "z")),
    ("I12", "the index lacks a change of an aggregate", |run| run.entries[2].changed_to = None),
    ("I12", "the index knows what the store does not", |run| {
        run.history.note(Event::Sent(sending("bob", "2", "z", "close", "")));
        let mut ninth = Entry { position: Position::new(9).unwrap(), ..run.entries[7].clone() };
        (ninth.identity, ninth.changed_to) = (identity("bob", "2", "z"), None);
        run.entries.push(ninth);
    }),
    ("I13", "what was sent after an outcome was seen comes before it", |run| {
        let answer = run.last_answer(r#""position":6"#).clone();
        run.history.events[0] = Event::Answered(answer);
    }),
    ("I13", "a state is older than what its asker had seen", |run| {
        let answer = run.last_answer(r#""state""#);
        let old = r#"{"aggregate":"account","key":"1","version":2,"position":2,"state":{"owner":"alice","balance":100,"closed":false}}"#;
        answer.body = old.into();
    }),
    ("I13", "a time is earlier than the one before it", |run| {
        run.rewrite(6, |commit| commit["outcome"]["decided_at"] = json!("2020-01-01T00:00:00Z"));
    }),
    ("I14", "more comes in than was put in", |run| {
        run.rewrite(2, |commit| commit["outcome"]["events"][0]["data"]["amount"] = json!(1_000));
    }),
    ("I14", "an account is opened twice", |run| accept(run, 3, "open", "opened", json!({"owner": "bob"}))),
    ("I14", "nothing is put in", |run| accept(run, 3, "deposit", "deposited", json!({"amount": 0}))),
    ("I14", "an account is put into that was never opened", |run| {
        accept(run, 8, "deposit", "deposited", json!({"amount": 5}));
    }),
    ("I14", "an account is put into that is closed", |run| {
        accept(run, 2, "close", "closed", json!({}));
        accept(run, 3, "deposit", "deposited", json!({"amount": 5}));
    }),
    ("I14", "more is taken out than is there", |run| accept(run, 3, "withdraw", "withdrawn", json!({"amount": 101}))),
    ("I14", "nothing is taken out", |run| accept(run, 3, "withdraw", "withdrawn", json!({"amount": 0}))),
    ("I14", "an account is closed with money in it", |run| accept(run, 3, "close", "closed", json!({}))),
    ("I14", "what happened is of another kind", |run| accept(run, 3, "withdraw", "deposited", json!({"amount": 30}))),
    ("I15", "a fenced writer adds a commit", |run| {
        let event = run.event(|event| matches!(event, Event::Appended { writer: 2, .. }));
        let Event::Appended { writer, .. } = event else { unreachable!() };
        *writer = 1;
    }),
    ("I16", "what nobody sent is acknowledged", |run| {
        run.history.note(Event::Acked(0));
    }),
    ("I16", "a copy is acknowledged and nothing has come of it", |run| {
        let sent = Sent { reply_to: None, ..sending("bob", "2", "lost", "deposit", r#"{"amount":1}"#) };
        let number = run.history.note(Event::Sent(sent));
        run.history.note(Event::Acked(number));
    }),
    ("I17", "an outcome goes to another principal", |run| {
        run.last_answer("insufficient_funds").inbox = "_INBOX.alice.c".to_owned();
    }),
    ("I17", "an outcome goes to who asked for another aggregate's", |run| {
        let event = run.event(|event| matches!(event, Event::Asked(_)));
        let Event::Asked(Asked { about: About::Outcome { aggregate, .. }, .. }) = event else { unreachable!() };
        aggregate.kind = AggregateType::parse("order").unwrap();
    }),
    ("I17", "an outcome goes to an inbox of nobody", |run| {
        run.last_answer("insufficient_funds").inbox = "_INBOX".to_owned();
    }),
];
