//! The world as it is: a nats-server, a processor in this process, a plain client.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, HeaderMap, HeaderValue, Subscriber};
use bytes::Bytes;
use futures::stream::{SelectAll, StreamExt, select_all};
use hapax::Service;
use hapax::serve::{Notice, ServeError, Settings, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::nats::NatsServer;
use crate::fragile::service;
use crate::vectors::{Fault, Reply, Restart, World};

/// How long a reply may take before it counts as lost.
const REPLY_MAX: Duration = Duration::from_secs(20);

/// The stream swallows a copy that comes within its duplicate window, 100 ms, of another.
const SWALLOWED_PAUSE: Duration = Duration::from_millis(50);

/// Where answers may come to, and where they must not.
const LISTEN: [&str; 5] = ["_INBOX.alice.>", "_INBOX.alicent.>", "_INBOX.bob.>", "_INBOX.fence.>", "elsewhere.>"];

pub(crate) struct Real {
    nats: NatsServer,
    data: TempDir,
    processor: Option<(CancellationToken, JoinHandle<Result<(), ServeError>>)>,
    client: Client,
    incoming: SelectAll<Subscriber>,
    heard: HashMap<String, VecDeque<Reply>>,
    fences: u64,
}

impl Real {
    pub(crate) async fn start() -> Real {
        let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
        let client = nats.client().await;
        // Not `_INBOX.>`: to the server that would be interest in the pulls of a processor that has ended, and they would
        // go on waiting.
        let mut inboxes = Vec::new();
        for subject in LISTEN {
            inboxes.push(client.subscribe(subject).await.unwrap());
        }
        client.flush().await.unwrap();
        let (heard, incoming) = (HashMap::new(), select_all(inboxes));
        let mut real = Real { nats, data, processor: None, client, incoming, heard, fences: 0 };
        real.start_processor(service::<false>()).await;
        real
    }

    async fn start_processor(&mut self, service: Service) {
        let settings = Settings {
            nats: hapax::nats::ConnectOptions { servers: vec![self.nats.url()], ..Default::default() },
            data: self.data.path().to_owned(),
            partitions: None,
            provision: true,
            take_over: false,
            feed: hapax::serve::Feed::On,
        };
        let (stop, ready) = (CancellationToken::new(), Arc::new(Notify::new()));
        let is_ready = ready.clone();
        let notify = move |notice| {
            if let Notice::Ready = notice {
                is_ready.notify_one();
            }
        };
        let mut ended = tokio::spawn(serve(service, settings, stop.clone(), notify));
        tokio::select! {
            () = ready.notified() => self.processor = Some((stop, ended)),
            ended = &mut ended => panic!("the processor ended before it was ready: {ended:?}"),
        }
    }

    async fn stop_processor(&mut self) {
        if let Some((stop, ended)) = self.processor.take() {
            stop.cancel();
            ended.await.unwrap().unwrap();
        }
    }

    /// Sends a command and a query of our own. They are answered behind everything that was sent before them.
    async fn fence(&mut self) {
        self.fences += 1;
        let inbox = |kind: &str| format!("_INBOX.fence.{kind}{}", self.fences);
        let (command, query) = (inbox("command"), inbox("query"));
        let id = format!("fence-{:010}", self.fences);
        let headers = vec![("Nats-Msg-Id".to_owned(), id), ("Hapax-Reply-To".to_owned(), command.clone())];
        self.send("cmd.fence.account.fence.close".into(), headers, Bytes::new()).await;
        self.ask("qry.fence.health".into(), query.clone(), Bytes::new()).await;
        self.reply(&command).await.expect("the command at the fence is answered");
        self.reply(&query).await.expect("the query at the fence is answered");
    }
}

impl World for Real {
    async fn send(&mut self, subject: String, headers: Vec<(String, String)>, body: Bytes) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.as_str(), value.parse::<HeaderValue>().unwrap());
        }
        loop {
            let ack = self.client.request_with_headers(subject.clone(), map.clone(), body.clone()).await.unwrap();
            let ack: Value = serde_json::from_slice(&ack.payload).unwrap();
            assert!(ack["error"].is_null(), "{subject}: the stream said {ack}");
            if ack["duplicate"] != true {
                return;
            }
            tokio::time::sleep(SWALLOWED_PAUSE).await;
        }
    }

    async fn ask(&mut self, subject: String, reply_to: String, body: Bytes) {
        self.client.publish_with_reply(subject, reply_to, body).await.unwrap();
    }

    async fn reply(&mut self, inbox: &str) -> Option<Reply> {
        loop {
            if let Some(reply) = self.heard.get_mut(inbox).and_then(VecDeque::pop_front) {
                return Some(reply);
            }
            let message = tokio::time::timeout(REPLY_MAX, self.incoming.next()).await.ok()??;
            let replayed = message.headers.as_ref().and_then(|headers| headers.get("Hapax-Replayed"));
            let reply =
                Reply { replayed: replayed.is_some_and(|value| value.as_str() == "true"), body: message.payload };
            self.heard.entry(message.subject.to_string()).or_default().push_back(reply);
        }
    }

    async fn by_now(&mut self, inbox: &str) -> Option<Reply> {
        self.fence().await;
        self.heard.get_mut(inbox).and_then(VecDeque::pop_front)
    }

    async fn restart(&mut self, restart: Restart) {
        self.stop_processor().await;
        if restart == Restart::WithoutIndex {
            fs::remove_dir_all(self.data.path().join("p0/sled")).unwrap();
        }
        match restart {
            Restart::Broken => self.start_processor(service::<true>()).await,
            Restart::Again | Restart::WithoutIndex => self.start_processor(service::<false>()).await,
            Restart::PowerCut => unreachable!("needs faults"),
        }
    }

    async fn fault(&mut self, _: Fault) {
        unreachable!("needs faults");
    }
}
