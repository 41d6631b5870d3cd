//! Clients in the contract's own words that never give up: they send the same again until an outcome comes. Whatever
//! they send and hear is noted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use hapax::CommandId;
use hapax::model::outcome::Reply;
use hapax::model::{AggregateId, CommandName, Identity, Principal};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::common::health::{health, until_well};
use crate::common::history::{About, Answered, Asked, Event, History, Number, Sent};

/// Between two copies of a command: more than the stream's duplicate window, 100 ms and seen up to 152.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How long it may take until the processor is well, when everything has been answered.
const WELL_MAX: Duration = Duration::from_secs(30);

/// What is told to an aggregate, and by whom.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    identity: Identity,
    aggregate: AggregateId,
    name: CommandName,
    body: Bytes,
}

impl Told {
    /// `to` is principal, aggregate, key and command.
    pub(crate) fn new(to: &str, id: &str, body: impl Into<Bytes>) -> Told {
        let tokens: Vec<&str> = to.split('.').collect();
        let [principal, kind, key, name] = tokens[..] else { panic!("{to} has not four tokens") };
        let aggregate: AggregateId = format!("{kind}/{key}").parse().unwrap();
        let (principal, id) = (Principal::parse(principal).unwrap(), CommandId::parse(id).unwrap());
        let identity = Identity { principal, key: aggregate.key.clone(), id };
        Told { identity, aggregate, name: CommandName::parse(name).unwrap(), body: body.into() }
    }
}

/// An outcome of its own, or those of the items of an atomic batch, which has all of them or none.
fn is_outcome(reply: &[u8]) -> bool {
    matches!(Reply::from_json(reply), Ok(Reply::Outcome(_)))
        || serde_json::from_slice::<Value>(reply).is_ok_and(|reply| reply.get("items").is_some())
}

/// All senders of a run, over one connection.
pub(crate) struct Clients {
    nats: async_nats::Client,
    history: Arc<Mutex<History>>,
    answers: watch::Receiver<()>,
    listening: JoinHandle<()>,
}

impl Clients {
    /// `history`: what was sent and heard before, over other connections.
    pub(crate) async fn connect(url: &str, history: History) -> Clients {
        let options = ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
        let nats = options.connect(url).await.unwrap();
        let inboxes = nats.subscribe("_INBOX.*.fault.*").await.unwrap();
        nats.flush().await.unwrap();
        let history = Arc::new(Mutex::new(history));
        let (answered, answers) = watch::channel(());
        let listening = tokio::spawn(listen(inboxes, history.clone(), answered));
        Clients { nats, history, answers, listening }
    }

    /// Sends until an outcome comes to a copy that was sent from now on.
    pub(crate) async fn settle(&self, told: &Told) -> Bytes {
        let from = self.history.lock().unwrap().events.len();
        loop {
            self.send(told).await;
            let outcome = self.answer(from, |history, answer| {
                let is_ours = from <= answer.to && history.sending(answer.to)?.identity == told.identity;
                (is_ours && is_outcome(&answer.body)).then(|| answer.body.clone())
            });
            if let Ok(outcome) = tokio::time::timeout(AGAIN_AFTER, outcome).await {
                return outcome;
            }
        }
    }

    /// Sends each until it has an outcome, one after the other.
    pub(crate) async fn settle_all(&self, all: &[Told]) -> Vec<Bytes> {
        let mut outcomes = Vec::new();
        for told in all {
            outcomes.push(self.settle(told).await);
        }
        outcomes
    }

    /// Publishes one copy. Whether it arrives, an answer tells.
    pub(crate) async fn send(&self, told: &Told) {
        let Told { identity, aggregate, name, body } = told;
        let principal = &identity.principal;
        let (_, inbox) = self.note(principal, |reply_to| {
            let (expected, not_after) = (None, None);
            let (identity, aggregate, name, body) = (identity.clone(), aggregate.clone(), name.clone(), body.clone());
            Event::Sent(Sent { identity, aggregate, name, expected, not_after, body, reply_to: Some(reply_to) })
        });
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", identity.id.as_str());
        headers.insert("Hapax-Reply-To", inbox.as_str());
        let subject = format!("cmd.{principal}.{}.{}.{name}", aggregate.kind, aggregate.key);
        self.nats.publish_with_headers(subject, headers, body.clone()).await.unwrap();
    }

    /// What is recorded of a command, asked for until there is an answer.
    pub(crate) async fn recorded(&self, Told { identity, aggregate, .. }: &Told) -> Value {
        let about = About::Outcome { identity: identity.clone(), aggregate: aggregate.clone() };
        let what = format!("outcome.{}.{}.{}", aggregate.kind, aggregate.key, identity.id);
        self.ask(&identity.principal, &what, about).await
    }

    /// The state of the aggregate that a command goes to, asked for until there is an answer.
    pub(crate) async fn state(&self, Told { identity, aggregate, .. }: &Told) -> Value {
        let what = format!("state.{}.{}", aggregate.kind, aggregate.key);
        self.ask(&identity.principal, &what, About::State(aggregate.clone())).await
    }

    /// What the processor says of itself, asked until there is an answer. It is no part of the history.
    pub(crate) async fn health(&self) -> Value {
        health(&self.nats).await
    }

    /// Waits until the processor is well, and the feed has everything.
    pub(crate) async fn until_well(&self) -> Result<(), String> {
        match tokio::time::timeout(WELL_MAX, until_well(&self.nats)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(format!("it does not become well: {}", health(&self.nats).await)),
        }
    }

    async fn ask(&self, principal: &Principal, what: &str, about: About) -> Value {
        loop {
            let asked = Asked { principal: principal.clone(), about: about.clone() };
            let (number, inbox) = self.note(principal, |_| Event::Asked(asked));
            self.nats.publish_with_reply(format!("qry.{principal}.{what}"), inbox, Bytes::new()).await.unwrap();
            let answer = self.answer(number, |_, answer| (answer.to == number).then(|| answer.body.clone()));
            if let Ok(answer) = tokio::time::timeout(AGAIN_AFTER, answer).await {
                return serde_json::from_slice(&answer).expect("every answer is JSON");
            }
        }
    }

    /// Notes an event, with an inbox that is named by its number.
    fn note(&self, principal: &Principal, event: impl FnOnce(String) -> Event) -> (Number, String) {
        let mut history = self.history.lock().unwrap();
        let number = history.events.len();
        let inbox = format!("_INBOX.{principal}.fault.{number}");
        history.note(event(inbox.clone()));
        (number, inbox)
    }

    /// Waits for an answer that is wanted, among those from a time on.
    async fn answer<T>(&self, from: Number, wanted: impl Fn(&History, &Answered) -> Option<T>) -> T {
        let mut answers = self.answers.clone();
        loop {
            answers.borrow_and_update();
            {
                let history = self.history.lock().unwrap();
                let found = history.events[from..].iter().find_map(|event| match event {
                    Event::Answered(answer) => wanted(&history, answer),
                    _ => None,
                });
                if let Some(found) = found {
                    return found;
                }
            }
            answers.changed().await.expect("the listener lives as long as we do");
        }
    }

    /// What has been sent and heard.
    pub(crate) fn history(&self) -> History {
        self.history.lock().unwrap().clone()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(mut inboxes: Subscriber, history: Arc<Mutex<History>>, answered: watch::Sender<()>) {
    while let Some(message) = inboxes.next().await {
        if message.status.is_some() {
            continue; // The server says that nobody answers questions now.
        }
        let inbox = message.subject.to_string();
        let number = inbox.rsplit('.').next().and_then(|number| number.parse().ok());
        let to = number.expect("an inbox is named by the number of what it is for");
        let replayed = message.headers.is_some_and(|headers| headers.get("Hapax-Replayed").is_some());
        history.lock().unwrap().note(Event::Answered(Answered { to, inbox, body: message.payload, replayed }));
        answered.send_replace(());
    }
}
