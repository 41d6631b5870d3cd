//! The whole way against a real nats-server: a command goes in, its outcome comes back, once.

mod common;
#[path = "way/processor.rs"]
mod processor;
#[path = "way/child.rs"]
mod child;
#[path = "way/plain.rs"]
mod plain;
#[path = "way/vessel.rs"]
mod vessel;
#[path = "way/duplicates.rs"]
mod duplicates;
#[path = "way/codes.rs"]
mod codes;
#[path = "way/certainty.rs"]
mod certainty;
#[path = "way/questions.rs"]
mod questions;
#[path = "way/crashes.rs"]
mod crashes;
#[path = "way/batches.rs"]
mod batches;
#[path = "way/running.rs"]
mod running;
#[path = "way/model.rs"]
mod model;
#[path = "way/random.rs"]
mod random;

use std::time::Duration;

use hapax::client::Client;
use hapax::samples::{Account, AccountCommand};
use hapax::{Aggregate, CommandId, Principal, Version};

use common::nats::NatsServer;
use processor::RunningProcessor;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_decided_once() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let open = AccountCommand::Open { owner: "ann".into() };
    let outcome = client.send(Account::at("42"), open).deadline(Duration::from_secs(10)).await.unwrap();
    assert_eq!(outcome.version(), Version(1));
    let id = CommandId::parse("deposit-0000000000000001").unwrap();
    for _ in 0..3 {
        let deposit = AccountCommand::Deposit { amount: 100 };
        let outcome = client.send(Account::at("42"), deposit).id(id.clone()).await.unwrap();
        assert_eq!(outcome.version(), Version(2));
    }
    let state = client.state(Account::at("42")).await.unwrap();
    assert_eq!((state.version, state.state.balance), (Version(2), 100));
    processor.stop().await;
}
