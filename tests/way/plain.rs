//! A client in the contract's own words: subjects, headers and bytes, without anything of the library's client.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use serde_json::Value;

use crate::common::nats::NatsServer;
use crate::processor::RunningProcessor;

/// Far above what any step takes; a step that never ends fails here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The outcome header of a reply that an earlier delivery has caused.
const REPLAYED: &str = "Hapax-Replayed";

pub(crate) struct Plain {
    nats: async_nats::Client,
    principal: &'static str,
}

/// A command about to be published, and published again.
#[derive(Clone)]
pub(crate) struct Letter {
    subject: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Where answers to one letter come in.
pub(crate) struct Inbox {
    pub(crate) subject: String,
    answers: Subscriber,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) replayed: bool,
}

impl Letter {
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Letter {
        self.headers.append(name, value);
        self
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("every answer is JSON")
    }

    /// Code and reason; `events` in the place of a reason if it was accepted.
    pub(crate) fn verdict(&self) -> (u64, String) {
        let json = self.json();
        let reason = json["error"]["reason"].as_str().unwrap_or("events");
        (json["code"].as_u64().unwrap(), reason.to_owned())
    }
}

impl Inbox {
    /// The next answer.
    pub(crate) async fn next(&mut self) -> Answer {
        let message = tokio::time::timeout(PATIENCE, self.answers.next()).await.expect("an answer").unwrap();
        let replayed = message.headers.is_some_and(|headers| headers.get(REPLAYED).is_some());
        Answer { body: message.payload, replayed }
    }

    /// Whether nothing has arrived. Counts for what the server has sent before something else that has arrived.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.answers.next().now_or_never().is_none()
    }
}

impl Plain {
    pub(crate) async fn connect(nats: &NatsServer, principal: &'static str) -> Plain {
        Plain { nats: nats.client().await, principal }
    }

    /// A command: `to` is aggregate, key and command.
    pub(crate) fn letter(&self, to: &str, id: &str, body: &str) -> Letter {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        Letter { subject: format!("cmd.{}.{to}", self.principal), headers, body: body.to_owned().into() }
    }

    /// A new inbox, known to the server when this returns.
    pub(crate) async fn inbox(&self) -> Inbox {
        let random = uuid::Uuid::now_v7().simple();
        self.inbox_at(format!("_INBOX.{}.{random}", self.principal)).await
    }

    /// Listens at any subject.
    pub(crate) async fn inbox_at(&self, subject: String) -> Inbox {
        let answers = self.nats.subscribe(subject.clone()).await.unwrap();
        self.nats.flush().await.unwrap();
        Inbox { subject, answers }
    }

    /// Publishes a letter until the stream has taken a copy of its own: it swallows one that comes within 100 ms of
    /// another with the same id.
    pub(crate) async fn store(&self, letter: &Letter) {
        let jetstream = jetstream::new(self.nats.clone());
        let stored = async {
            loop {
                let Letter { subject, headers, body } = letter.clone();
                let ack = jetstream.publish_with_headers(subject, headers, body).await.unwrap().await.unwrap();
                if !ack.duplicate {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, stored).await.expect("the stream takes it");
    }

    /// The same, to be answered at a new inbox.
    pub(crate) async fn store_for_answer(&self, letter: &Letter) -> Inbox {
        let inbox = self.inbox().await;
        self.store(&letter.clone().header("Hapax-Reply-To", &inbox.subject)).await;
        inbox
    }

    /// Sends a letter and waits for its answer.
    pub(crate) async fn send(&self, letter: &Letter) -> Answer {
        self.store_for_answer(letter).await.next().await
    }

    /// [`Plain::letter`] and [`Plain::send`].
    pub(crate) async fn tell(&self, to: &str, id: &str, body: &str) -> Answer {
        self.send(&self.letter(to, id, body)).await
    }

    /// Asks without waiting for the answer.
    pub(crate) async fn question(&self, what: &str, body: &str) -> Inbox {
        let inbox = self.inbox().await;
        let subject = format!("qry.{}.{what}", self.principal);
        self.nats.publish_with_reply(subject, inbox.subject.clone(), body.to_owned().into()).await.unwrap();
        self.nats.flush().await.unwrap();
        inbox
    }

    /// Asks: `what` is the query's subject behind the principal.
    pub(crate) async fn ask(&self, what: &str, body: &str) -> Answer {
        self.question(what, body).await.next().await
    }

    /// Asks about health until it is as wanted: the processor takes its vital signs now and then.
    pub(crate) async fn until_health(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut health = Value::Null;
        let asked = async {
            loop {
                health = self.ask("health", "").await.json();
                if wanted(&health) {
                    break;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, asked).await.is_ok();
        assert!(found, "health stays {health}");
        health
    }

    /// Waits until the processor says that it has recorded so many decisions, and checks that they are not more.
    pub(crate) async fn until_counted(&self, count: &str, number: u64) {
        let health = self.until_health(|health| health["partitions"][0][count].as_u64() >= Some(number)).await;
        assert_eq!(health["partitions"][0][count], number, "{health}");
    }

    /// Waits until every command is acknowledged.
    pub(crate) async fn until_nothing_waits(&self) {
        let jetstream = jetstream::new(self.nats.clone());
        let empty = async { while jetstream.get_stream("COMMANDS").await.unwrap().cached_info().state.messages > 0 {} };
        tokio::time::timeout(PATIENCE, empty).await.expect("everything is acknowledged");
    }

    /// The stream and consumer API.
    pub(crate) fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.nats.clone())
    }

    /// A plain request, with an inbox of the library's own.
    pub(crate) async fn request(&self, subject: &'static str) -> Value {
        let message = self.nats.request(subject, Bytes::new()).await.unwrap();
        serde_json::from_slice(&message.payload).unwrap()
    }
}

/// Grammatical ids, by number.
pub(crate) fn id(number: u64) -> String {
    format!("command-{number:010}")
}

/// A broker, a data directory, a processor on both, and alice. Dropped in the reverse order.
pub(crate) async fn site() -> (NatsServer, tempfile::TempDir, RunningProcessor, Plain) {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let alice = Plain::connect(&nats, "alice").await;
    (nats, data, processor, alice)
}
