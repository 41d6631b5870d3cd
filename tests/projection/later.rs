//! The feed has an event that this program does not know: a later version of the processor has decided it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use hapax::{Aggregate, Context, Service};
use serde::{Deserialize, Serialize};

use crate::common::nats::NatsServer;
use crate::processor::{RunningProcessor, settings};
use crate::program::{code, hapax, run, stderr};

/// An account that can be frozen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct LaterAccount {}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Open { owner: String },
    Freeze {},
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Event {
    Opened { owner: String },
    Frozen {},
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum Never {}

impl Aggregate for LaterAccount {
    const TYPE: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Rejection = Never;

    fn decide(&self, command: Command, _: &Context<'_>) -> Result<Vec<Event>, Never> {
        Ok(vec![match command {
            Command::Open { owner } => Event::Opened { owner },
            Command::Freeze {} => Event::Frozen {},
        }])
    }

    fn evolve(self, _: &Event) -> LaterAccount {
        self
    }
}

/// It ends there, says why, and keeps what came before; and so does every start, since nothing is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn every_start_ends_in_front_of_an_event_that_is_not_known() {
    let (nats, data, kept) = (NatsServer::start(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let service = Service::new().with::<LaterAccount>();
    let processor = RunningProcessor::start_with(service, settings(nats.url(), data.path())).await;
    let url = nats.url();
    let common = ["--principal", "alice", "--server", &url];
    for (key, command) in [("account/1", "open"), ("account/1", "freeze"), ("account/2", "open")] {
        let body = if command == "open" { r#"{"owner":"ann"}"# } else { "{}" };
        let sent = run(&[&["send", key, command, body][..], &common].concat());
        assert_eq!(code(&sent), 0, "{}", stderr(&sent));
    }
    processor.stop().await; // Everything is fed before it ends.
    for _ in 0..2 {
        let mut command = hapax(&["project", "balances", "--server", &url, "--data"]);
        let mut child = command.arg(kept.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if !said.is_empty() {
            child.kill().unwrap(); // It would go on for ever.
        }
        let ended = child.wait_with_output().unwrap();
        assert_eq!((said.as_str(), ended.status.code()), ("", Some(1)), "{}", stderr(&ended));
        let why = "account/1: the commit at position 2 of partition 0 cannot be projected: the event \"frozen\" (schema 1) \
                   cannot be read: this version knows closed (schema 1), deposited (schema 1), opened (schema 1), withdrawn \
                   (schema 1); it was made by a later version (run that one)";
        assert!(stderr(&ended).contains(why), "{}", stderr(&ended));
        let copy = tempfile::tempdir().unwrap(); // So that nothing is done to what is kept.
        fs::copy(kept.path().join("balances/sled/db"), copy.path().join("db")).unwrap();
        fs::copy(kept.path().join("balances/sled/conf"), copy.path().join("conf")).unwrap();
        let db = sled::open(copy.path()).unwrap();
        let mark = String::from_utf8(db.get(b"\0mark").unwrap().unwrap().to_vec()).unwrap();
        assert!(mark.contains(r#""partitions":[{"position":1,"#), "{mark}");
        assert_eq!(db.get(b"balances\0ann").unwrap().unwrap(), br#"{"accounts":1,"balance":0}"#);
    }
}
