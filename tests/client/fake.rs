//! A processor that answers as a test tells it, and remembers what it heard. It listens on plain NATS, so it hears
//! commands whether or not a stream takes them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use futures::StreamExt;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A command or a question, as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub at: Instant,
    pub subject: String,
    pub body: String,
    /// Where the message itself asks to be answered: the PubAck of a command, the answer to a question.
    pub reply: Option<String>,
    headers: HeaderMap,
    /// How many of its kind came before it.
    pub number: usize,
}

impl Heard {
    pub fn is_command(&self) -> bool {
        self.subject.starts_with("cmd.")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }

    /// The id that a command has, or that a question is about.
    pub fn id(&self) -> &str {
        self.header("Nats-Msg-Id").or(self.subject.rsplit('.').next()).unwrap()
    }

    /// An outcome of it with these events, at this version.
    pub fn accepted(&self, version: u64, events: &str) -> Say {
        Say::new(format!(
            r#"{{"id":"{}","status":"accepted","code":200,"aggregate":"account","key":"42","version":{version},
            "position":7,"decided_at":"2026-11-24T20:15:01.123456Z","events":{events}}}"#,
            self.id()
        ))
    }

    /// The acceptance that most tests use.
    pub fn deposited(&self) -> Say {
        self.accepted(3, r#"[{"type":"deposited","schema":1,"data":{"amount":100}}]"#)
    }

    /// A rejection of it.
    pub fn rejected(&self, code: u16, error: &str) -> Say {
        Say::new(format!(
            r#"{{"id":"{}","status":"rejected","code":{code},"aggregate":"account","key":"42","version":3,"position":8,
            "decided_at":"2026-11-24T20:15:01.123456Z","retry":{{"with":"new_id"}},"error":{error}}}"#,
            self.id()
        ))
    }

    /// A refusal of it. `retry` is the JSON of that member.
    pub fn refused(&self, code: u16, reason: &str, retry: &str) -> Say {
        let id = self.id();
        Say::new(format!(
            r#"{{"id":"{id}","status":"refused","code":{code},"retry":{retry},
            "error":{{"reason":"{reason}","message":"a test says so"}}}}"#
        ))
    }

    /// Not decided yet.
    pub fn unknown(&self) -> Say {
        Say::new(r#"{"status":"unknown","as_of":6,"after_ms":0}"#.to_owned())
    }
}

/// What the processor says.
pub struct Say {
    json: String,
    replayed: bool,
    after: Duration,
    to_reply: bool,
}

impl Say {
    pub fn new(json: String) -> Say {
        Say { json, replayed: false, after: Duration::ZERO, to_reply: false }
    }

    /// Its text.
    pub fn json(self) -> String {
        self.json
    }

    /// With the header of a replay.
    pub fn replayed(self) -> Say {
        Say { replayed: true, ..self }
    }

    /// So much later.
    pub fn after(self, after: Duration) -> Say {
        Say { after, ..self }
    }

    /// To where a PubAck goes, as a stream would.
    pub fn by_the_stream(self) -> Say {
        Say { to_reply: true, ..self }
    }
}

/// A fake that runs until the test ends.
#[derive(Clone)]
pub struct Fake(Arc<Log>);

#[derive(Default)]
struct Log {
    heard: Mutex<Vec<Heard>>,
    news: Notify,
}

impl Fake {
    /// Everything that is sent to `cmd.` and `qry.` goes to the script, and what it gives is said.
    pub async fn start(url: &str, script: impl FnMut(&Heard) -> Vec<Say> + Send + 'static) -> Fake {
        let nats = async_nats::connect(url).await.unwrap();
        let commands = nats.subscribe("cmd.>").await.unwrap();
        let questions = nats.subscribe("qry.>").await.unwrap();
        nats.flush().await.unwrap();
        let log = Arc::new(Log::default());
        let messages = futures::stream::select(commands, questions);
        tokio::spawn(serve(nats, messages, script, Arc::clone(&log)));
        Fake(log)
    }

    /// Waits until it has heard something.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }

    pub fn commands(&self) -> Vec<Heard> {
        self.0.heard.lock().unwrap().iter().filter(|heard| heard.is_command()).cloned().collect()
    }

    pub fn questions(&self) -> Vec<Heard> {
        self.0.heard.lock().unwrap().iter().filter(|heard| !heard.is_command()).cloned().collect()
    }
}

async fn serve(
    nats: async_nats::Client,
    mut messages: impl futures::Stream<Item = async_nats::Message> + Unpin,
    mut script: impl FnMut(&Heard) -> Vec<Say>,
    log: Arc<Log>,
) {
    let mut numbers = [0, 0];
    while let Some(message) = messages.next().await {
        let number = &mut numbers[usize::from(message.subject.starts_with("cmd."))];
        let heard = Heard {
            at: Instant::now(),
            subject: message.subject.to_string(),
            body: String::from_utf8(message.payload.to_vec()).unwrap(),
            reply: message.reply.map(|subject| subject.to_string()),
            headers: message.headers.unwrap_or_default(),
            number: *number,
        };
        *number += 1;
        log.heard.lock().unwrap().push(heard.clone());
        log.news.notify_one();
        for say in script(&heard) {
            let to_reply = say.to_reply || !heard.is_command();
            let to = if to_reply { heard.reply.clone() } else { heard.header("Hapax-Reply-To").map(str::to_owned) };
            let to = to.expect("a test answers what asks to be answered");
            let nats = nats.clone();
            tokio::spawn(async move {
                tokio::time::sleep(say.after).await;
                let mut headers = HeaderMap::new();
                if say.replayed {
                    headers.insert("Hapax-Replayed", "true");
                }
                nats.publish_with_headers(to, headers, say.json.into()).await.unwrap();
            });
        }
    }
}
