//! Random commands against a model: with copies, reused ids, expected versions, voids and nonsense, of several
//! principals, over restarts and lost indexes. Every answer must be the one that the model predicts, and every replay the
//! same bytes as the first outcome.
//!
//! Commands are published in waves, without waiting for answers. The stream swallows some of the copies and says so in
//! its PubAck; the model does not see those, and nobody may answer them.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

use crate::common::nats::NatsServer;
use crate::model::{Ask, Expected, Model, Request};
use crate::plain::{PATIENCE, Plain, id};
use crate::processor::RunningProcessor;

const CASES: u32 = 20;
const WAVES: usize = 5;
const COMMANDS_IN_WAVE: usize = 100;
const _: () = assert!(CASES as usize * WAVES * COMMANDS_IN_WAVE == 10_000);

const PRINCIPALS: [&str; 3] = ["alice", "bob", "carol"];
const KEYS: usize = 4;
/// Few enough that most of them come again.
const IDS: usize = 40;

/// What happens before a wave.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    Restart,
    /// Restart without the index.
    Wipe,
    /// The commands come while no processor runs, and wait.
    Wait,
}

#[derive(Debug, Clone)]
struct Wave {
    before: Before,
    requests: Vec<Request>,
}

fn asks() -> impl Strategy<Value = Ask> {
    let amounts = select(vec![1, 1, 2, 5, 50, 0, -1, i64::MAX]);
    prop_oneof![
        4 => Just(Ask::Open),
        8 => amounts.clone().prop_map(Ask::Deposit),
        6 => amounts.prop_map(Ask::Withdraw),
        1 => Just(Ask::Close),
        2 => Just(Ask::Void),
        1 => Just(Ask::Burn),
        1 => Just(Ask::Elsewhere),
        1 => Just(Ask::Garbled),
    ]
}

fn requests() -> impl Strategy<Value = Request> {
    let expected = prop_oneof![5 => Just(None), 1 => (0..4_u64).prop_map(Some)];
    (0..PRINCIPALS.len(), 0..KEYS, 0..IDS, asks(), expected, prop::bool::weighted(0.03), 0..3_usize).prop_map(
        |(principal, key, id, ask, expected, expired, spelling)| {
            // Half of the ids belong to one command each, so that copies are more than reused ids.
            let ask = match (ask, id % 2) {
                (Ask::Deposit(_) | Ask::Withdraw(_) | Ask::Open, 0) => Ask::Deposit(1 + id as i64),
                (ask, _) => ask,
            };
            // A void has no content but the id.
            let expected = expected.filter(|_| id % 2 == 1 && ask != Ask::Void);
            Request { principal, key, id, ask, expected, expired, spelling }
        },
    )
}

fn waves() -> impl Strategy<Value = Vec<Wave>> {
    let before = select(vec![Before::Nothing, Before::Nothing, Before::Restart, Before::Wipe, Before::Wait]);
    let requests = prop::collection::vec(requests(), COMMANDS_IN_WAVE);
    prop::collection::vec((before, requests).prop_map(|(before, requests)| Wave { before, requests }), WAVES)
}

/// The message of a request: subject behind `cmd.<principal>.`, headers, body.
fn message(request: &Request, number: usize) -> (String, HeaderMap, String) {
    let (kind, name, amount) = match request.ask {
        Ask::Open => ("account", "open", None),
        Ask::Deposit(amount) => ("account", "deposit", Some(amount)),
        Ask::Withdraw(amount) => ("account", "withdraw", Some(amount)),
        Ask::Close => ("account", "close", None),
        Ask::Void => ("account", "_void", None),
        Ask::Burn => ("account", "burn", None),
        Ask::Elsewhere => ("acount", "deposit", Some(1)),
        Ask::Garbled => ("account", "deposit", None),
    };
    let body = match (&request.ask, amount, request.spelling) {
        (Ask::Garbled, ..) => r#"{"amount":"#.to_owned(),
        (Ask::Open, _, 0) => r#"{"owner":"ann"}"#.to_owned(),
        (Ask::Open, _, 1) => r#"{ "owner" : "\u0061nn" }"#.to_owned(),
        (Ask::Open, ..) => r#"{"\u006fwner":"ann"}"#.to_owned(),
        (_, Some(amount), 0) => format!(r#"{{"amount":{amount}}}"#),
        (_, Some(amount), 1) => format!("{{\n\t\"amount\" : {amount} }}"),
        (_, Some(amount), _) => format!(r#"{{"am\u006funt":{amount}}}"#),
        (_, None, 0) => String::new(),
        (_, None, _) => "{ }".to_owned(),
    };
    let mut headers = HeaderMap::new();
    let own = id(request.id as u64);
    if request.ask == Ask::Void {
        headers.insert("Nats-Msg-Id", format!("void-of-some-id-{number}"));
        headers.insert("Hapax-Void", own);
    } else {
        headers.insert("Nats-Msg-Id", own);
    }
    if let Some(version) = request.expected {
        headers.insert("Hapax-Expected-Version", version.to_string());
    }
    if request.expired {
        headers.insert("Hapax-Not-After", "2000-01-01T00:00:00Z");
    }
    (format!("{kind}.{}.{name}", request.key), headers, body)
}

/// Everything that comes back, by the number of the command.
struct Wire {
    nats: Client,
    acks: Subscriber,
    answers: Vec<Subscriber>,
    published: usize,
}

impl Wire {
    async fn connect(server: &NatsServer) -> Wire {
        let nats = server.client().await;
        let acks = nats.subscribe("_INBOX.acks.*").await.unwrap();
        let mut answers = Vec::new();
        for principal in PRINCIPALS {
            answers.push(nats.subscribe(format!("_INBOX.{principal}.*")).await.unwrap());
        }
        Wire { nats, acks, answers, published: 0 }
    }

    /// Publishes requests in order, and gives the numbers of those that the stream has taken.
    async fn publish(&mut self, requests: &[Request]) -> Vec<(usize, Request)> {
        let first = self.published;
        for request in requests {
            let number = self.published;
            self.published += 1;
            let principal = PRINCIPALS[request.principal];
            let (to, mut headers, body) = message(request, number);
            headers.insert("Hapax-Reply-To", format!("_INBOX.{principal}.{number}"));
            let (subject, ack) = (format!("cmd.{principal}.{to}"), format!("_INBOX.acks.{number}"));
            self.nats.publish_with_reply_and_headers(subject, ack, headers, body.into()).await.unwrap();
        }
        let mut taken = Vec::new();
        for _ in requests {
            let ack = next(&mut self.acks).await;
            let number = number_of(&ack);
            let answer: Value = serde_json::from_slice(&ack.payload).unwrap();
            assert!(answer.get("error").is_none(), "{answer}");
            if answer["duplicate"] != true {
                taken.push((answer["seq"].as_u64().unwrap(), number));
            }
        }
        taken.sort_unstable();
        taken.into_iter().map(|(_, number)| (number, requests[number - first].clone())).collect()
    }

    /// The answers to these commands, one each and no other.
    async fn answers(&mut self, taken: &[(usize, Request)]) -> HashMap<usize, (Bytes, bool)> {
        let mut found = HashMap::new();
        for (_, request) in taken {
            let message = next(&mut self.answers[request.principal]).await;
            let replayed = message.headers.as_ref().is_some_and(|headers| headers.get("Hapax-Replayed").is_some());
            let before = found.insert(number_of(&message), (message.payload, replayed));
            assert!(before.is_none(), "a command was answered twice");
        }
        assert!(self.answers.iter_mut().all(|answers| answers.next().now_or_never().is_none()));
        found
    }
}

async fn next(subscriber: &mut Subscriber) -> async_nats::Message {
    tokio::time::timeout(PATIENCE, subscriber.next()).await.expect("an answer").unwrap()
}

fn number_of(message: &async_nats::Message) -> usize {
    message.subject.rsplit('.').next().unwrap().parse().unwrap()
}

/// What must hold for each answer; the first outcomes are kept by their position.
fn check(expected: Expected, answer: &(Bytes, bool), firsts: &mut HashMap<u64, Bytes>) -> Result<(), TestCaseError> {
    let (body, replayed) = answer;
    let json: Value = serde_json::from_slice(body).unwrap();
    let found_reason = json["error"]["reason"].as_str().unwrap_or("events");
    match expected {
        Expected::Decided { code, reason, version, position } => {
            let found = (json["code"].as_u64(), json["version"].as_u64(), json["position"].as_u64());
            prop_assert_eq!(found, (Some(code), Some(version), Some(position)), "{}", json);
            prop_assert_eq!((found_reason, *replayed), (reason, false), "{}", json);
            prop_assert!(code == 200 || json.get("events").is_none(), "{}", json);
            firsts.insert(position, body.clone());
        }
        Expected::Replay { position } => {
            prop_assert_eq!((body, *replayed), (&firsts[&position], true), "{}", json);
        }
        Expected::Refused { code, reason } => {
            prop_assert_eq!((json["code"].as_u64(), found_reason, *replayed), (Some(code), reason, false), "{}", json);
            prop_assert_eq!(json["status"].as_str(), Some("refused"));
        }
    }
    Ok(())
}

async fn prepare(
    before: Before,
    processor: Option<RunningProcessor>,
    server: &NatsServer,
    data: &Path,
) -> Option<RunningProcessor> {
    let Some(processor) = processor else { return Some(RunningProcessor::start(server, data).await) };
    if let Before::Nothing = before {
        return Some(processor);
    }
    processor.stop().await;
    if let Before::Wipe = before {
        std::fs::remove_dir_all(data.join("p0/sled")).unwrap();
    }
    match before {
        Before::Wait => None,
        _ => Some(RunningProcessor::start(server, data).await),
    }
}

async fn run(waves: Vec<Wave>) -> Result<(), TestCaseError> {
    let server = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let mut processor = Some(RunningProcessor::start(&server, data.path()).await);
    let mut wire = Wire::connect(&server).await;
    let plain = Plain::connect(&server, PRINCIPALS[0]).await;
    let (mut model, mut firsts) = (Model::default(), HashMap::new());
    for Wave { before, requests } in waves {
        processor = prepare(before, processor, &server, data.path()).await;
        let taken = wire.publish(&requests).await;
        if processor.is_none() {
            processor = Some(RunningProcessor::start(&server, data.path()).await);
        }
        let answers = wire.answers(&taken).await;
        for (number, request) in &taken {
            let expected = model.take(request);
            let Some(answer) = answers.get(number) else {
                return Err(TestCaseError::fail(format!("command {number} was not answered: {request:?}")));
            };
            check(expected, answer, &mut firsts)
                .map_err(|error| TestCaseError::fail(format!("command {number}, {request:?}: {error}")))?;
        }
        for key in 0..KEYS {
            let account = model.account(key);
            let state = plain.ask(&format!("state.account.{key}"), "").await.json();
            let found = (state["version"].as_u64(), state["state"]["balance"].as_i64());
            prop_assert_eq!(found, (Some(account.version), Some(account.balance)), "account {}", key);
        }
        window_passes(&plain).await;
    }
    plain.until_nothing_waits().await;
    if let Some(processor) = processor {
        processor.stop().await;
    }
    Ok(())
}

/// The stream has forgotten the ids of a wave when it takes a copy of a marker that came behind the wave.
async fn window_passes(plain: &Plain) {
    // Nothing in it can be decided, so it leaves no trace in the store.
    let marker = plain.letter("account.0._void", &id(999_999), "").header("Hapax-Reply-To", "_INBOX.nobody.1");
    plain.store(&marker).await;
    plain.store(&marker).await;
}

#[test]
fn random_commands_do_what_the_model_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: CASES, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let run_case = |waves| {
        let ran = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(100), run(waves)).await });
        ran.unwrap_or_else(|_| Err(TestCaseError::fail("a case takes too long")))
    };
    if let Err(error) = TestRunner::new(config).run(&waves(), run_case) {
        panic!("{error}");
    }
}
