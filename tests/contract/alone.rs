//! The processor alone, in a world of memory.

use std::time::Duration;

use bytes::Bytes;
use hapax::model::subject::QuerySubject;
use hapax::model::{CommandName, Content, Identity, Version};
use hapax::processor::{Ask, Processor, Question};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::common::pure::{Build, Core, Left, Pure};
use crate::fragile::service;
use crate::vectors::{Fault, Reply, Restart, World};

pub(crate) struct Alone {
    pure: Pure,
}

#[derive(Default, Deserialize)]
struct Wait {
    #[serde(default)]
    wait_ms: u64,
    command: Option<CommandName>,
    expected_version: Option<Version>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

/// The longest that anybody waits for a decision.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Alone {
    pub(crate) fn start(wrap: fn(Processor) -> Box<dyn Core>) -> Alone {
        Alone { pure: Pure::build(service::<false>(), Build { core: wrap, ..Build::default() }) }
    }
}

impl World for Alone {
    async fn send(&mut self, subject: String, headers: Vec<(String, String)>, body: Bytes) {
        // Every copy arrives: there is no duplicate window.
        self.pure.publish(0, &subject, &headers, body, false);
        self.pure.settle();
    }

    async fn ask(&mut self, subject: String, reply_to: String, body: Bytes) {
        let ask = match QuerySubject::parse(&subject).unwrap() {
            QuerySubject::Outcome { principal, aggregate, id } => {
                let Wait { wait_ms, command, expected_version, data } =
                    serde_json::from_slice(&body).unwrap_or_default();
                let data = data.map_or("{}".to_owned(), |data| data.get().to_owned());
                let content = command.map(|name| Content { name, expected: expected_version, data: data.into() });
                let wait_until = (wait_ms > 0).then(|| self.pure.now.plus(Duration::from_millis(wait_ms)));
                let identity = Identity { principal, key: aggregate.key.clone(), id };
                Ask::Outcome { identity, aggregate, content, wait_until }
            }
            QuerySubject::State { aggregate, .. } => Ask::State { aggregate },
            QuerySubject::Health { .. } => unreachable!("needs a server"),
        };
        self.pure.ask(Question { reply_to, ask }).unwrap();
        self.pure.settle();
    }

    async fn reply(&mut self, inbox: &str) -> Option<Reply> {
        if let Some(reply) = self.by_now(inbox).await {
            return Some(reply);
        }
        self.pure.tick(WAIT_MAX).unwrap(); // Who attached is answered at the latest now.
        self.pure.settle();
        self.by_now(inbox).await
    }

    async fn by_now(&mut self, inbox: &str) -> Option<Reply> {
        let answer = self.pure.take_reply(inbox)?;
        Some(Reply { body: answer.body, replayed: answer.replayed })
    }

    async fn restart(&mut self, restart: Restart) {
        self.pure.disk_holds = false;
        match restart {
            Restart::Again | Restart::PowerCut => self.pure.crash(Left::StoreAndIndex, service::<false>()),
            Restart::WithoutIndex => self.pure.crash(Left::Store, service::<false>()),
            Restart::Broken => self.pure.crash(Left::StoreAndIndex, service::<true>()),
        }
        self.pure.settle();
    }

    async fn fault(&mut self, fault: Fault) {
        self.pure.break_index(fault == Fault::Index);
        self.pure.disk_holds = fault == Fault::Disk;
        let agreement = if fault == Fault::Clock { Err("it differs".to_owned()) } else { Ok(()) };
        self.pure.check_clock(agreement);
        if fault == Fault::None {
            self.pure.broker.redeliver_all();
        }
        self.pure.settle();
    }
}
