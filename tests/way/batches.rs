//! Batches the whole way: packed by the client, and all or none; with processors that die between.

use std::time::Duration;

use futures::{StreamExt, stream};
use hapax::client::{BatchOutcome, Client, Known, Outcome, Prepared, Window};
use hapax::samples::{Account, AccountCommand};
use hapax::{Address, Aggregate, CommandId, Context, Principal, Service, Version};
use serde::{Deserialize, Serialize};

use crate::child::ChildProcessor;
use crate::common::nats::NatsServer;
use crate::common::proxy::Proxy;
use crate::processor::{RunningProcessor, samples, settings};

const ACCOUNTS: u64 = 20;

async fn alice(nats: &NatsServer) -> Client {
    Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap()
}

fn account(number: u64) -> Address<Account> {
    Account::at((number % ACCOUNTS).to_string())
}

fn id(name: &str, number: u64) -> CommandId {
    CommandId::parse(&format!("{name}-{number:0>16}")).unwrap()
}

fn opens() -> impl Iterator<Item = Prepared<Account>> {
    let open = |number: u64| AccountCommand::Open { owner: format!("owner {number}") };
    (0..ACCOUNTS).map(move |number| Prepared::new(account(number), open(number)).id(id("open", number)))
}

/// Each expects the version that those before it leave: one out of order is rejected.
fn deposits(count: u64) -> impl Iterator<Item = Prepared<Account>> {
    (0..count).map(|number| {
        let deposit = AccountCommand::Deposit { amount: 1 };
        Prepared::new(account(number), deposit).id(id("deposit", number)).expect(Version(1 + number / ACCOUNTS))
    })
}

async fn send(client: &Client, commands: impl Iterator<Item = Prepared<Account>>, window: Window) -> (u64, u64) {
    let settled = client.send_all(stream::iter(commands), window);
    let settled: Vec<_> = settled.map(|(number, result)| (number, result.unwrap())).collect().await;
    for (number, outcome) in &settled {
        assert!(outcome.is_accepted(), "{number}: {outcome:?}");
    }
    let replayed = settled.iter().filter(|(_, outcome)| outcome.replayed()).count();
    (settled.len() as u64, replayed as u64)
}

async fn assert_balances(client: &Client, deposits: u64) {
    for number in 0..ACCOUNTS {
        let state = client.state(account(number)).await.unwrap();
        let each = deposits / ACCOUNTS;
        assert_eq!((state.version, state.state.balance), (Version(1 + each), each.cast_signed()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_packed_is_decided_once_and_in_order() {
    for partitions in [1, 3] {
        let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
        let settings = hapax::serve::Settings { partitions: Some(partitions), ..settings(nats.url(), data.path()) };
        let processor = RunningProcessor::start_with(samples(), settings).await;
        let client = alice(&nats).await;
        let window = Window::from(8).batches_of(50).partitions(partitions);
        assert_eq!(send(&client, opens(), window).await, (ACCOUNTS, 0));
        assert_eq!(send(&client, deposits(4_000), window).await, (4_000, 0));
        // Again, and packed otherwise; what was told for one partition works with more.
        let again = send(&client, deposits(4_000), Window::from(2).batches_of(333)).await;
        assert_eq!(again.0, 4_000);
        assert!(partitions > 1 || again.1 == 4_000, "{again:?}");
        assert_balances(&client, 4_000).await;
        processor.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_that_is_lost_is_asked_for_and_compared() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let client = alice(&nats).await;
    send(&client, opens(), Window::from(1)).await;
    let owner = "x".repeat(250 * 1024);
    let large = |number: u64, owner: &str| {
        let open = AccountCommand::Open { owner: owner.to_owned() };
        Prepared::new(Account::at(format!("large-{number}")), open).id(id("large", number))
    };
    let batch = |owner: &str| client.batch().id(id("batch", 1)).command(large(0, owner)).command(large(1, owner));
    let BatchOutcome::Accepted(first) = batch(&owner).run().await.unwrap() else { panic!() };
    let BatchOutcome::Accepted(again) = batch(&owner).run().await.unwrap() else { panic!() };
    assert_eq!((first.json, first.replayed, again.replayed), (again.json.clone(), false, true));
    let to = "_batch/large-0".parse().unwrap();
    let Known::Batch(asked) = client.outcome(&to, &id("batch", 1), Duration::ZERO).await.unwrap() else { panic!() };
    assert_eq!(asked.json, again.json);
    let other = batch("somebody else").run().await.unwrap_err();
    assert!(matches!(&other, hapax::client::SendError::Refused { refusal, .. } if refusal.code == 422), "{other:?}");
    processor.stop().await;
}

/// Whose events are larger than its commands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Bag;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BagCommand {
    Fill { bytes: usize },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BagEvent {
    Filled { text: String },
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum BagRejection {}

impl Aggregate for Bag {
    const TYPE: &'static str = "bag";
    type Command = BagCommand;
    type Event = BagEvent;
    type Rejection = BagRejection;

    fn decide(&self, BagCommand::Fill { bytes }: BagCommand, _: &Context<'_>) -> Result<Vec<BagEvent>, BagRejection> {
        Ok(vec![BagEvent::Filled { text: "x".repeat(bytes) }])
    }

    fn evolve(self, _: &BagEvent) -> Bag {
        Bag
    }
}

/// All events of a batch together are larger than a message.
#[tokio::test(flavor = "multi_thread")]
async fn no_outcome_lacks_its_events() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let service = Service::new().with::<Bag>();
    let processor = RunningProcessor::start_with(service, settings(nats.url(), data.path())).await;
    let client = alice(&nats).await;
    let fill = |number: u64| Prepared::new(Bag::at("1"), BagCommand::Fill { bytes: 50_000 }).id(id("fill", number));
    let is_whole = |outcome: &Outcome<Bag>| {
        matches!(outcome, Outcome::Accepted { events, replayed: false, .. }
            if matches!(&events[..], [BagEvent::Filled { text }] if text.len() == 50_000))
    };
    let settled = client.send_all(stream::iter((0..30).map(fill)), Window::from(1).batches_of(30));
    let settled: Vec<_> = settled.collect().await;
    assert_eq!(settled.len(), 30);
    assert!(settled.iter().all(|(_, result)| is_whole(result.as_ref().unwrap())));

    let batch = (100..130).map(fill).fold(client.batch().id(id("batch", 1)), |batch, command| batch.command(command));
    let BatchOutcome::Accepted(batch) = batch.run().await.unwrap() else { panic!() };
    assert!((0..30).all(|item| is_whole(&batch.outcome(item).unwrap().typed().unwrap())));
    let Known::Batch(asked) =
        client.outcome(&"_batch/1".parse().unwrap(), &id("batch", 1), Duration::ZERO).await.unwrap()
    else {
        panic!()
    };
    assert!(asked.reply.events_omitted, "as it came");
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_while_batches_are_under_way_cost_time_only() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let url = nats.url();
    let mut child = ChildProcessor::start(&url, data.path());
    let client = alice(&nats).await;
    send(&client, opens(), Window::from(1)).await;
    let count = 6_000;
    // Without versions: what is sent again comes behind its successors.
    let deposits = (0..count)
        .map(|number| Prepared::new(account(number), AccountCommand::Deposit { amount: 1 }).id(id("deposit", number)));
    let settled = client.send_all(stream::iter(deposits), Window::from(4).batches_of(50));
    let mut settled = std::pin::pin!(settled);
    let mut accepted = 0;
    while let Some((number, result)) = settled.next().await {
        assert!(result.unwrap().is_accepted(), "{number}");
        accepted += 1;
        if accepted % 2_000 == 0 && accepted < count {
            child.kill();
            child = ChildProcessor::start(&url, data.path());
        }
    }
    assert_eq!(accepted, count);
    assert_balances(&client, count).await;
    child.kill();
}

/// Each item sees what those before it have done.
async fn back_and_forth(client: &Client) -> BatchOutcome {
    let deposit = Prepared::new(account(1), AccountCommand::Deposit { amount: 5 }).id(id("to", 1));
    let withdraw = Prepared::new(account(1), AccountCommand::Withdraw { amount: 5 }).id(id("from", 1));
    let batch = client.batch().id(id("transfer", 1)).command(deposit).check(account(1), Version(2));
    let batch = batch.command(withdraw).check(account(2), Version(1));
    batch.deadline(Duration::from_secs(60)).run().await.unwrap()
}

/// The group is on disk and its reply was withheld: whoever asks gets it from the next process.
#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_survives_the_process_that_decided_it() {
    const REPLIES: &str = "_INBOX.alice.";
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(nats.port()).await;
    let child = ChildProcessor::start(&proxy.url(), data.path());
    let client = alice(&nats).await;
    send(&client, opens(), Window::from(1)).await;
    proxy.withhold(&[REPLIES]);
    let running = tokio::spawn({
        let client = client.clone();
        async move { back_and_forth(&client).await }
    });
    proxy.until_withheld(REPLIES, 1).await;
    child.kill();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let BatchOutcome::Accepted(batch) = running.await.unwrap() else { panic!() };
    assert!(batch.replayed);
    let again = back_and_forth(&client).await;
    assert!(matches!(&again, BatchOutcome::Accepted(again) if again.json == batch.json), "{again:?}");
    let state = client.state(account(1)).await.unwrap();
    assert_eq!((state.version, state.state.balance), (Version(3), 0));
    processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_of_a_batch_is_certainty() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let client = alice(&nats).await;
    send(&client, opens(), Window::from(1)).await;
    let key = hapax::Key::parse(&account(1).key).unwrap();
    let patience = Duration::from_secs(30);
    let deposit = |number| {
        let deposit = Prepared::new(account(1), AccountCommand::Deposit { amount: 5 }).id(id("deposit", number));
        client.batch().id(id("batch", number)).command(deposit)
    };
    assert!(matches!(client.void_batch(&key, &id("batch", 1), patience).await.unwrap(), BatchOutcome::Voided(_)));
    assert!(matches!(deposit(1).run().await.unwrap(), BatchOutcome::Voided(raw) if raw.replayed));
    let BatchOutcome::Accepted(decided) = deposit(2).run().await.unwrap() else { panic!() };
    let voided = client.void_batch(&key, &id("batch", 2), patience).await.unwrap();
    assert!(matches!(&voided, BatchOutcome::Accepted(batch) if batch.json == decided.json), "{voided:?}");
    processor.stop().await;
}
