//! State, outcome, void and update.

use std::time::Duration;

use hapax::client::{Known, Outcome, QueryError, Reason};
use hapax::samples::Account;
use hapax::samples::AccountCommand::*;
use hapax::{Aggregate, AggregateId, Version};

use crate::fake::{Heard, Say};
use crate::{ID, id, set_up};

fn account() -> AggregateId {
    "account/42".parse().unwrap()
}

fn state(version: u64, balance: i64) -> Say {
    Say::new(format!(
        r#"{{"aggregate":"account","key":"42","version":{version},"position":7,
        "state":{{"owner":"ann","balance":{balance},"closed":false}}}}"#
    ))
}

#[tokio::test]
async fn a_state_has_the_type_of_its_aggregate() {
    let (_server, fake, client) = set_up(|_| vec![state(3, 20)]).await;
    let state = client.state(Account::at("42")).await.unwrap();
    assert_eq!((state.version, state.position.unwrap().get()), (Version(3), 7));
    assert_eq!(state.state, Account { owner: Some("ann".to_owned()), balance: 20, closed: false });
    assert_eq!(fake.questions()[0].subject, "qry.alice.state.account.42");
}

#[tokio::test]
async fn a_question_may_be_refused_or_find_nobody() {
    let refusal = r#"{"status":"refused","code":503,"error":{"reason":"unavailable","message":"m"}}"#;
    let (_server, _fake, client) = set_up(|_| vec![Say::new(refusal.to_owned())]).await;
    assert!(matches!(client.state(Account::at("42")).await, Err(QueryError::Refused(refusal)) if refusal.code == 503));

    let server = crate::common::nats::NatsServer::start();
    let client = crate::client(&server).await;
    assert!(matches!(client.state(Account::at("42")).await, Err(QueryError::NoProcessor)));
}

#[tokio::test]
async fn an_outcome_is_given_as_it_was_sent() {
    let (_server, _fake, client) = set_up(|heard| vec![heard.deposited()]).await;
    let known = client.outcome(&account(), &id(), Duration::ZERO).await.unwrap();
    let Known::Decided(raw) = known else { panic!("{known:?}") };
    assert!(raw.json.starts_with(br#"{"id":"a-command-of-a-test","status":"accepted","#));
    assert_eq!(raw.outcome.version, Version(3));
}

/// A processor with too many waiters answers at once; the client then asks again as it is told.
#[tokio::test]
async fn a_question_that_may_wait_is_asked_until_it_may_not() {
    let script = |heard: &Heard| match heard.number {
        0 => vec![Say::new(r#"{"status":"unknown","after_ms":50}"#.to_owned())],
        _ => vec![heard.deposited()],
    };
    let (_server, fake, client) = set_up(script).await;
    let known = client.outcome(&account(), &id(), Duration::from_secs(5)).await.unwrap();
    assert!(matches!(known, Known::Decided(_)));
    assert_eq!(fake.questions().len(), 2);

    let (_server, _fake, client) = set_up(|heard| vec![heard.unknown()]).await;
    let known = client.outcome(&account(), &id(), Duration::ZERO).await.unwrap();
    assert!(matches!(known, Known::Unknown { as_of: Some(position), .. } if position.get() == 6));
}

#[tokio::test]
async fn a_void_settles_an_id() {
    let script = |heard: &Heard| {
        let voided = heard.rejected(410, r#"{"reason":"voided","message":"m"}"#).json();
        match (heard.is_command(), heard.number) {
            (true, 0) => vec![],
            (true, _) => vec![Say::new(voided.replace(heard.id(), ID))],
            (false, _) => vec![heard.unknown()],
        }
    };
    let (_server, fake, client) = set_up(script).await;
    let raw = client.void(&account(), &id(), Duration::from_secs(10)).await.unwrap();
    assert_eq!(raw.outcome.id, id());
    let outcome = raw.typed::<Account>().unwrap();
    assert!(matches!(outcome, Outcome::Rejected { reason: Reason::Protocol(voided), .. } if voided.reason == "voided"));

    let commands = fake.commands();
    let [first, second] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(first.subject, "cmd.alice.account.42._void");
    assert_eq!(first.header("Hapax-Void"), Some(ID));
    assert!(first.id() != ID && first.id() == second.id());
    assert_eq!(fake.questions()[0].subject, format!("qry.alice.outcome.account.42.{ID}"));
}

#[tokio::test]
async fn an_update_starts_over_when_somebody_was_faster() {
    let mismatch = r#"{"reason":"version_mismatch","message":"m","details":{"expected":3,"actual":4}}"#;
    let script = move |heard: &Heard| match (heard.is_command(), heard.number) {
        (false, 0) => vec![state(3, 20)],
        (false, _) => vec![state(4, 100)],
        (true, 0) => vec![heard.rejected(412, mismatch)],
        (true, _) => vec![heard.accepted(5, r#"[{"type":"withdrawn","schema":1,"data":{"amount":100}}]"#)],
    };
    let (_server, fake, client) = set_up(script).await;
    let all = |account: &Account| Withdraw { amount: account.balance };
    let outcome = client.update(Account::at("42"), all).await.unwrap();
    assert!(outcome.is_accepted() && outcome.version() == Version(5));

    let commands = fake.commands();
    let [first, second] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((first.header("Hapax-Expected-Version"), &*first.body), (Some("3"), r#"{"amount":20}"#));
    assert_eq!((second.header("Hapax-Expected-Version"), &*second.body), (Some("4"), r#"{"amount":100}"#));
    assert_ne!(first.id(), second.id());
}

#[tokio::test]
async fn an_update_reads_again_when_it_is_told_to() {
    let later = r#"{"status":"refused","code":503,"retry":{"with":"same_id","after_ms":10},
        "error":{"reason":"unavailable","message":"m"}}"#;
    let script = move |heard: &Heard| match (heard.is_command(), heard.number) {
        (false, 0) => vec![Say::new(later.to_owned())],
        (false, _) => vec![state(3, 20)],
        (true, _) => vec![heard.deposited()],
    };
    let (_server, _fake, client) = set_up(script).await;
    assert!(client.update(Account::at("42"), |_| Deposit { amount: 100 }).await.unwrap().is_accepted());
}

#[tokio::test]
async fn an_update_does_not_argue_with_a_rule_nor_beyond_its_deadline() {
    let script = |heard: &Heard| match heard.is_command() {
        false => vec![state(3, 20)],
        true => vec![heard.rejected(409, r#"{"reason":"not_open","message":"m"}"#)],
    };
    let (_server, fake, client) = set_up(script).await;
    let outcome = client.update(Account::at("42"), |_| Close).await.unwrap();
    assert!(matches!(outcome, Outcome::Rejected { reason: Reason::Rule(_), .. }));
    assert_eq!(fake.commands().len(), 1);

    let script = |heard: &Heard| match heard.is_command() {
        false => vec![state(3, 20)],
        true => vec![heard.rejected(412, r#"{"reason":"version_mismatch","message":"m"}"#)],
    };
    let (_server, fake, client) = set_up(script).await;
    let outcome = client.update(Account::at("42"), |_| Close).deadline(Duration::from_secs(1)).await.unwrap();
    assert!(matches!(outcome, Outcome::Rejected { reason: Reason::Protocol(_), .. }));
    assert!(2 <= fake.commands().len());
}
