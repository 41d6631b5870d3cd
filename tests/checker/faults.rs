//! One fault each, planted into a run where nothing was wrong. Positions of the good run: 1 open, 2 deposit 100, 3
//! withdraw 30 (bob), 4 withdraw 900 (rejected), 5 close (another version), 6 withdraw (expired), 7 void, 8 open (bob's);
//! 9 to 11 a batch each for itself; 12 an atomic batch, accepted, 13 withdraw 20, 14 deposit 20; 15 an atomic batch,
//! rejected, 16 and 17 batch_aborted, 18 withdraw (rejected); 19 close (rejected).

use hapax::model::{AggregateType, ChainHash, Commit, Entry, Position, Snapshot, Version};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::feed::Fed;
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
pub(crate) const FAULTS: [(&str, &str, Plant); 74] = [
    ("I1", "a command is decided a second time", |run| {
        let mut second: Value = serde_json::from_slice(run.commits[3].json()).unwrap();
        second["outcome"]["position"] = json!(20);
        second["outcome"]["version"] = json!(1);
        let mut texts: Vec<_> = run.commits.iter().map(|commit| commit.json().clone()).collect();
        texts.push(serde_json::to_vec(&second).unwrap().into());
        run.chain(texts);
    }),
    ("I2", "a copy gets the same outcome in other bytes", |run| {
        let answer = run.last_answer(r#""amount":100"#);
        answer.body = [&b" "[..], &answer.body[..]].concat().into();
    }),
    ("I2", "an atomic batch gets the same reply in other bytes", |run| {
        let answer = run.last_answer(r#""items""#);
        answer.body = [&answer.body[..], b" "].concat().into();
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
    ("I3", "the reply to an atomic batch leaves a check out", |run| {
        let answer = run.last_answer(r#""items""#);
        let mut reply: Value = serde_json::from_slice(&answer.body).unwrap();
        reply["items"].as_array_mut().unwrap().remove(0);
        answer.body = serde_json::to_vec(&reply).unwrap().into();
    }),
    ("I4", "another content gets the first one's outcome", |run| {
        let outcome = run.last_answer(r#""amount":100"#).body.clone();
        run.last_answer("deposit to account/1").body = outcome;
    }),
    ("I4", "a copy is refused as another one's", |run| {
        let refusal = run.last_answer("deposit to account/1").body.clone();
        run.last_answer("less than 900").body = refusal;
    }),
    ("I4", "another batch gets the reply of the one that has its id", |run| {
        let reply = run.last_answer("batch_aborted").body.clone();
        run.last_answer("run to _batch/3").body = reply;
    }),
    ("I5", "a version is left out", |run| run.rewrite(8, |commit| commit["outcome"]["version"] = json!(2))),
    ("I5", "a rejection counts as an event", |run| run.rewrite(4, |commit| commit["outcome"]["version"] = json!(4))),
    ("I6", "a commit is not the one that was appended", |run| {
        run.rewrite(7, |commit| commit["traceparent"] = json!("00-x"));
    }),
    ("I6", "a commit is missing in the middle", |run| drop(run.commits.remove(5))),
    ("I6", "two commits have changed places", |run| run.commits.swap(4, 5)),
    ("I6", "half of an atomic batch is there", |run| run.commits.truncate(13)),
    ("I6", "a part of a rejected atomic batch is accepted", |run| {
        run.rewrite(17, |commit| {
            let outcome = commit["outcome"].as_object_mut().unwrap();
            outcome.remove("error");
            (outcome["status"], outcome["code"]) = (json!("accepted"), json!(200));
            outcome.insert("events".to_owned(), json!([]));
        });
    }),
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
    ("I7", "a batch is decided as one that was each for itself", |run| {
        for event in &mut run.history.events {
            if let Event::Sent(Sent { body, .. }) = event {
                *body = String::from_utf8_lossy(body).replace("true", "false").into();
            }
        }
    }),
    ("I7", "an atomic batch loses a check", |run| {
        run.rewrite(12, |commit| drop(commit["data"].as_object_mut().unwrap().remove("checks")));
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
    ("I10", "an item of an atomic batch is blamed that was fine", |run| {
        let reason = json!({"reason": "insufficient_funds", "message": "balance 0 is less than 30"});
        run.rewrite(17, |commit| commit["outcome"]["error"] = reason);
    }),
    ("I10", "a check found what was not there", |run| {
        run.rewrite(12, |commit| {
            let check = &mut commit["data"]["checks"][0];
            (check["version"], check["actual"]) = (json!(2), json!(2));
        });
    }),
    ("I11", "a link of the chain is another", |run| {
        let ChainHash(mut bytes) = run.commits[4].hash;
        bytes[31] ^= 1;
        run.commits[4] = Commit::from_json(run.commits[4].json().clone(), ChainHash(bytes)).unwrap();
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
        let mut one_more = Entry { position: Position::new(20).unwrap(), ..run.entries[7].clone() };
        (one_more.identity, one_more.changed_to) = (identity("bob", "2", "z"), None);
        run.entries.push(one_more);
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
    ("I14", "half of a transfer is moved", |run| {
        run.rewrite(14, |commit| commit["outcome"]["events"][0]["data"]["amount"] = json!(10));
    }),
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
    ("I16", "a batch is acknowledged and nothing has come of an item", |run| {
        let mut batch = run.history.sendings().find(|(_, sent)| sent.aggregate.kind.is_batch()).unwrap().1.clone();
        batch.body = String::from_utf8_lossy(&batch.body).replace("---j", "---z").into();
        let number = run.history.note(Event::Sent(batch));
        run.history.note(Event::Acked(number));
    }),
    ("I17", "an outcome goes to another principal", |run| {
        run.last_answer("less than 900").inbox = "_INBOX.alice.c".to_owned();
    }),
    ("I17", "an atomic batch goes to another principal", |run| {
        run.last_answer(r#""items""#).inbox = "_INBOX.alice.p".to_owned();
    }),
    ("I17", "an outcome goes to who asked for another aggregate's", |run| {
        let event = run.event(|event| matches!(event, Event::Asked(_)));
        let Event::Asked(Asked { about: About::Outcome { aggregate, .. }, .. }) = event else { unreachable!() };
        aggregate.kind = AggregateType::parse("order").unwrap();
    }),
    ("I17", "an outcome goes to an inbox of nobody", |run| {
        run.last_answer("insufficient_funds").inbox = "_INBOX".to_owned();
    }),
    ("I18", "the feed has a commit twice", |run| {
        let twice = run.feed[4].clone();
        run.feed.insert(5, twice);
    }),
    ("I18", "a message was removed from the feed", |run| drop(run.feed.remove(7))),
    ("I18", "the feed has what the store has not", |run| {
        let more = Fed { sequence: 20, ..run.feed[18].clone() };
        run.feed.push(more);
    }),
    ("I18", "the feed has another commit at a position", |run| run.feed[2].body = run.feed[3].body.clone()),
    ("I18", "a message names the chain hash of another", |run| {
        run.feed[2].chain_hash = run.feed[3].chain_hash.clone();
    }),
    ("I18", "a rejection is in the feed as an acceptance", |run| {
        run.feed[3].subject = run.feed[3].subject.replace("rej.", "evt.");
    }),
    ("I18", "half of an atomic batch is in the feed", |run| {
        run.feed.truncate(13);
        run.feed_is_whole = false;
    }),
];
