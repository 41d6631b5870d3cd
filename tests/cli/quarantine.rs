//! What could not be decided or read, from the terminal.

use serde_json::Value;

use crate::common::raw::RawSocket;
use crate::hapax::{Transcript, code, hapax, run, stdout};
use crate::{OPEN, Site, assert_snapshot};

/// A command without a reply address.
fn publish(site: &Site, subject: &str, header: &str, body: &str) {
    let mut socket = RawSocket::connect(site.nats.port());
    let headers = format!("NATS/1.0\r\nNats-Msg-Id: id-of-{:016}\r\n{header}\r\n\r\n", body.len());
    socket.publish(subject.as_bytes(), headers.as_bytes(), body.as_bytes());
    socket.flush();
}

/// What is in quarantine, once it is so much.
fn listed(site: &Site, count: usize) -> Vec<Value> {
    for _ in 0..600 {
        let output = run(&["quarantine", "list", "--json", "--server", &site.nats.url()]);
        let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if lines.len() == count {
            return lines;
        }
    }
    panic!("there are never {count}");
}

#[test]
fn what_is_in_quarantine_is_seen_sent_again_and_removed() {
    let site = Site::start();
    let mut say = Transcript::new(&site.nats.url());
    say.ask(&["quarantine", "list"]);
    publish(&site, "cmd.alice.account.42.open", "X-Poison: a\rb", "1");
    listed(&site, 1);
    publish(&site, "cmd.alice.account.42.deposit", "X-Other: one", r#"{"amount":"#);
    listed(&site, 2);
    publish(&site, "cmd.bob.acount.42.open", "X-Other: two", OPEN);
    let rows = listed(&site, 3);
    let principals: Vec<_> = rows.iter().map(|row| row["principal"].as_str().unwrap()).collect();
    assert_eq!(principals, ["alice", "alice", "bob"]);
    say.ask(&["quarantine", "list"]);
    say.ask(&["quarantine", "show", "1"]);
    say.ask(&["quarantine", "show", "2"]);
    say.ask(&["quarantine", "show", "2", "--json"]);
    say.ask(&["quarantine", "show", "7"]);
    // It is as wrong as it was, and comes back.
    say.ask(&["quarantine", "retry", "1", "2", "7"]);
    let again = listed(&site, 3);
    assert_eq!((&again[2]["number"], &again[2]["reason"]), (&4.into(), &rows[1]["reason"]));
    say.ask(&["quarantine", "list"]);
    let unasked = say.ask(&["quarantine", "drop", "1"]);
    assert_eq!((code(&unasked), listed(&site, 3).len()), (2, 3));
    say.ask(&["quarantine", "drop", "1", "7", "--yes"]);
    say.ask(&["quarantine", "drop", "--all", "--yes"]);
    say.ask(&["quarantine", "list"]);
    say.ask(&["quarantine", "retry", "--all"]);
    assert_eq!(code(&hapax(&["quarantine", "retry"]).output().unwrap()), 2);
    say.ask(&["health"]);
    assert_snapshot("cli__quarantine", &say.text());
}

#[test]
fn without_a_quarantine_it_says_who_makes_it() {
    let nats = crate::common::nats::NatsServer::start();
    let mut say = Transcript::new(&nats.url());
    say.ask(&["quarantine", "list"]);
    assert_snapshot("cli__no_quarantine", &say.text());
}
