//! Clients that send to a few accounts, and send again with the same id until they have an outcome.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use hapax::model::{AggregateId, CommandId, CommandName, Identity, Principal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::history::{Answered, Event, History, Sent};

const CLIENTS: usize = 4;
const ACCOUNTS: u64 = 3;

/// How long a client waits before it sends again.
const AGAIN_AFTER: Duration = Duration::from_millis(700);

/// A load that goes on until it is told to end.
pub(crate) struct Load {
    pub(crate) history: Arc<Mutex<History>>,
    pub(crate) settled: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
    clients: JoinSet<usize>,
}

impl Load {
    pub(crate) fn start(url: &str) -> Load {
        let mut load =
            Load { history: Arc::default(), settled: Arc::default(), ending: Arc::default(), clients: JoinSet::new() };
        for number in 0..CLIENTS {
            let client = Client {
                number,
                history: load.history.clone(),
                settled: load.settled.clone(),
                ending: load.ending.clone(),
            };
            load.clients.spawn(client.run(url.to_owned()));
        }
        load
    }

    /// Waits until so many more commands have their outcome; how long that took, `None` if it took too long.
    pub(crate) async fn until_more(&self, count: u64, longest: Duration) -> Option<Duration> {
        let (from, began) = (self.settled.load(Ordering::Relaxed), tokio::time::Instant::now());
        while self.settled.load(Ordering::Relaxed) < from + count {
            if began.elapsed() > longest {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await; // A pause between two looks.
        }
        Some(began.elapsed())
    }

    /// Lets every client have the outcome of what it has sent; how many commands have none in time.
    pub(crate) async fn end(mut self, longest: Duration) -> (History, usize) {
        self.ending.store(true, Ordering::Relaxed);
        let mut unsettled = CLIENTS;
        let _ = timeout(longest, async {
            while let Some(ended) = self.clients.join_next().await {
                unsettled -= ended.unwrap();
            }
        })
        .await;
        self.clients.abort_all();
        (std::mem::take(&mut *self.history.lock().unwrap()), unsettled)
    }
}

struct Client {
    number: usize,
    history: Arc<Mutex<History>>,
    settled: Arc<AtomicU64>,
    ending: Arc<AtomicBool>,
}

impl Client {
    /// 1, once its last command has its outcome.
    async fn run(self, url: String) -> usize {
        let options =
            async_nats::ConnectOptions::new().ping_interval(Duration::from_secs(1)).retry_on_initial_connect();
        let nats = options.connect(url).await.unwrap();
        let principal = Principal::parse(&format!("client{}", self.number)).unwrap();
        let mut answers = nats.subscribe(format!("_INBOX.{principal}.>")).await.unwrap();
        let mut inboxes = HashMap::new();
        for count in 0.. {
            if self.ending.load(Ordering::Relaxed) {
                break;
            }
            let command = self.command(count, &principal);
            let mut copy = 0;
            'sending: loop {
                copy += 1;
                let inbox = format!("_INBOX.{principal}.{count}.{copy}");
                let sent = Sent { reply_to: Some(inbox.clone()), ..command.clone() };
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Nats-Msg-Id", sent.identity.id.as_str());
                headers.insert("Hapax-Reply-To", inbox.as_str());
                let subject = format!("cmd.{principal}.account.{}.{}", sent.aggregate.key, sent.name);
                let body = sent.body.clone();
                inboxes.insert(inbox, self.history.lock().unwrap().note(Event::Sent(sent)));
                let _ = nats.publish_with_headers(subject, headers, body).await; // Lost is lost: it is sent again.
                let again = tokio::time::Instant::now() + AGAIN_AFTER;
                while let Ok(Some(answer)) = tokio::time::timeout_at(again, answers.next()).await {
                    let outcome: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
                    let inbox = answer.subject.to_string();
                    let replayed = answer.headers.is_some_and(|headers| headers.get("Hapax-Replayed").is_some());
                    let answered = Answered { to: inboxes[&inbox], inbox, body: answer.payload, replayed };
                    self.history.lock().unwrap().note(Event::Answered(answered));
                    // An answer to an earlier one comes twice where a line is doubled; one that is refused is sent again.
                    if outcome["id"] == command.identity.id.as_str() && outcome["status"] != "refused" {
                        break 'sending;
                    }
                }
            }
            self.settled.fetch_add(1, Ordering::Relaxed);
        }
        1
    }

    fn command(&self, count: u64, principal: &Principal) -> Sent {
        let account = (self.number as u64 + count) % ACCOUNTS;
        let (name, body) = match count {
            0..ACCOUNTS => ("open", r#"{"owner":"ann"}"#.to_owned()),
            _ if count.is_multiple_of(3) => ("withdraw", format!(r#"{{"amount":{}}}"#, count % 7 + 1)),
            _ => ("deposit", format!(r#"{{"amount":{}}}"#, count % 5 + 1)),
        };
        let aggregate: AggregateId = format!("account/{account}").parse().unwrap();
        let id = CommandId::parse(&format!("client-{}-command-{count:08}", self.number)).unwrap();
        Sent {
            identity: Identity { principal: principal.clone(), key: aggregate.key.clone(), id },
            aggregate,
            name: CommandName::parse(name).unwrap(),
            expected: None,
            not_after: None,
            body: Bytes::from(body),
            reply_to: None,
        }
    }
}
