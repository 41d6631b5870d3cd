//! All or none.

use std::time::Duration;

use hapax::client::{BatchOutcome, Client, EncodeError, Outcome, Prepared, Reason, SendError};
use hapax::samples::{Account, AccountCommand::*, AccountRejection};
use hapax::{Aggregate, CommandId, ItemReply, Key, Timestamp, Version};

use crate::batches::{accept, brief, items, reply};
use crate::fake::{Heard, Say};
use crate::set_up;

fn id(number: u64) -> CommandId {
    CommandId::parse(&format!("command-{number:0>12}")).unwrap()
}

/// From 1 to 2, if nothing has happened to 3.
fn transfer(client: &Client) -> hapax::client::Batch<'_> {
    client
        .batch()
        .id(id(9))
        .command(Prepared::new(Account::at("1"), Withdraw { amount: 5 }).id(id(0)).expect(Version(4)))
        .check(Account::at("3"), Version(7))
        .command(Prepared::new(Account::at("2"), Deposit { amount: 5 }).id(id(1)))
}

const BODY: &str = r#"{"atomic":true,"commands":[{"id":"command-000000000000","aggregate":"account","key":"1","command":"withdraw","expected_version":4,"data":{"amount":5}},{"check":{"aggregate":"account","key":"3","version":7}},{"id":"command-000000000001","aggregate":"account","key":"2","command":"deposit","data":{"amount":5}}]}"#;

fn accepted(heard: &Heard) -> Say {
    reply(heard, |item| match item["check"].is_object() {
        true => r#"{"status":"accepted","code":200,"aggregate":"account","key":"3","version":7}"#.to_owned(),
        false => accept(item),
    })
}

#[tokio::test]
async fn what_is_sent_is_what_the_contract_says() {
    let (_server, fake, client) = set_up(|heard| vec![accepted(heard)]).await;
    let not_after = Timestamp::parse("2026-11-24T20:15:02Z").unwrap();
    let outcome = transfer(&client).not_after(not_after).run().await.unwrap();
    let BatchOutcome::Accepted(batch) = outcome else { panic!("{outcome:?}") };
    let withdrawn = batch.outcome(0).unwrap();
    assert_eq!(withdrawn.json, accept(&items(&fake.commands()[0])[0]));
    assert!(matches!(withdrawn.typed::<Account>().unwrap(), Outcome::Accepted { version: Version(5), .. }));
    assert!(
        matches!(&batch.reply.items[1], ItemReply::Check(check) if check.version == Version(7) && check.stale.is_none())
    );
    assert!(batch.outcome(1).is_none() && batch.outcome(3).is_none() && !batch.replayed);

    let commands = fake.commands();
    let [command] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(
        (command.subject.as_str(), command.id(), command.body.as_str()),
        ("cmd.alice._batch.1.run", id(9).as_str(), BODY)
    );
    assert_eq!(command.header("Hapax-Not-After"), Some("2026-11-24T20:15:02.000000Z"));
    assert_eq!(command.reply, None);
}

#[tokio::test]
async fn a_no_says_whose_it_is() {
    let no = |item: &serde_json::Value, code: u16, error: &str| {
        accept(item)
            .replace(r#""accepted","code":200"#, &format!(r#""rejected","code":{code}"#))
            .replace(r#""events":[]"#, &format!(r#""error":{error}"#))
    };
    let script = move |heard: &Heard| {
        vec![reply(heard, |item| {
            match (item["check"].is_object(), item["command"].as_str()) {
            (true, _) => r#"{"status":"rejected","code":412,"aggregate":"account","key":"3","version":8,"retry":{"with":"new_id"},
                "error":{"reason":"version_mismatch","message":"m","details":{"expected":7,"actual":8}}}"#.to_owned(),
            (_, Some("withdraw")) => no(item, 409, r#"{"reason":"insufficient_funds","message":"m","details":{"balance":2,"amount":5}}"#),
            _ => no(item, 424, r#"{"reason":"batch_aborted","message":"m"}"#),
        }
        })]
    };
    let (_server, _fake, client) = set_up(script).await;
    let outcome = transfer(&client).run().await.unwrap();
    let BatchOutcome::Rejected(batch) = outcome else { panic!("{outcome:?}") };
    let typed = |item| batch.outcome(item).unwrap().typed::<Account>().unwrap();
    let Outcome::Rejected { reason: Reason::Rule(rejection), .. } = typed(0) else { panic!("{batch:?}") };
    assert_eq!(rejection, AccountRejection::InsufficientFunds { balance: 2, amount: 5 });
    let Outcome::Rejected { reason: Reason::Protocol(aborted), .. } = typed(2) else { panic!("{batch:?}") };
    assert_eq!((aborted.code, aborted.reason.as_str()), (424, "batch_aborted"));
    let ItemReply::Check(check) = &batch.reply.items[1] else { panic!("{batch:?}") };
    assert_eq!((check.version, check.stale.as_ref().unwrap().code), (Version(8), 412));
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_with_its_content() {
    let script = |heard: &Heard| match heard.is_command() {
        true => vec![],
        false => vec![Say::new(format!(r#"{{"id":"{}","items":[]}}"#, id(9))).replayed()],
    };
    let (_server, fake, client) = set_up(script).await;
    let outcome = transfer(&client).run().await.unwrap();
    assert!(matches!(&outcome, BatchOutcome::Accepted(batch) if batch.replayed), "{outcome:?}");
    assert_eq!(fake.commands().len(), 1);
    let question = &fake.questions()[0];
    assert_eq!(question.subject, format!("qry.alice.outcome._batch.1.{}", id(9)));
    assert!(question.body.ends_with(&format!(r#","command":"run","data":{BODY}}}"#)), "{}", question.body);
}

#[tokio::test]
async fn a_copy_of_a_batch_is_the_same_batch() {
    let script = |heard: &Heard| match heard.number {
        0 => vec![heard.refused(503, "unavailable", r#"{"with":"same_id","after_ms":250}"#)],
        _ => vec![accepted(heard)],
    };
    let (_server, fake, client) = set_up(script).await;
    assert!(matches!(transfer(&client).run().await.unwrap(), BatchOutcome::Accepted(_)));
    let heard = fake.commands();
    assert_eq!((heard[0].id(), &heard[0].body), (heard[1].id(), &heard[1].body));
}

#[tokio::test]
async fn what_a_reply_has_no_room_for_is_asked_for() {
    let script = |heard: &Heard| match heard.is_command() {
        true => vec![brief(&accepted(heard).json())],
        false => vec![heard.deposited()],
    };
    let (_server, fake, client) = set_up(script).await;
    let outcome = transfer(&client).run().await.unwrap();
    let BatchOutcome::Accepted(batch) = outcome else { panic!("{outcome:?}") };
    assert!(!batch.reply.events_omitted);
    assert_eq!([0, 2].map(|item| batch.outcome(item).unwrap().outcome.event_count()), [1, 1]);
    assert_eq!(fake.questions().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_that_of_the_batch() {
    let (_server, fake, client) = set_up(|heard| vec![heard.refused(421, "other_partition", "null")]).await;
    let error = transfer(&client).run().await.unwrap_err();
    let SendError::Refused { id: about, refusal } = &error else { panic!("{error:?}") };
    assert_eq!((about, refusal.code, fake.commands().len()), (&id(9), 421, 1));
}

#[tokio::test]
async fn what_is_given_up_is_voided_or_was_decided() {
    for decided in [false, true] {
        let script = move |heard: &Heard| {
            let voided = heard.header("Hapax-Void").unwrap();
            let no = heard.rejected(410, r#"{"reason":"voided","message":"m"}"#).json().replace(heard.id(), voided);
            let yes = format!(r#"{{"id":"{voided}","items":[]}}"#);
            vec![Say::new(if decided { yes } else { no })]
        };
        let (_server, fake, client) = set_up(script).await;
        let outcome = client.void_batch(&Key::parse("1").unwrap(), &id(9), Duration::from_secs(5)).await.unwrap();
        assert_eq!(matches!(outcome, BatchOutcome::Accepted(_)), decided);
        assert_eq!(matches!(outcome, BatchOutcome::Voided(_)), !decided);
        assert_eq!(fake.commands()[0].subject, "cmd.alice._batch.1._void");
    }
}

#[tokio::test]
async fn what_is_no_batch_is_not_sent() {
    let (_server, fake, client) = set_up(|heard| vec![accepted(heard)]).await;
    let deposit = |number| Prepared::new(Account::at("1"), Deposit { amount: 5 }).id(id(number));
    let many = (0..1_000).fold(client.batch(), |batch, number| batch.command(deposit(number)));
    let time = Timestamp::parse("2026-11-24T20:15:02Z").unwrap();
    for (batch, why) in [
        (client.batch(), "no command"),
        (client.batch().check(Account::at("1"), Version(0)), "no command"),
        (client.batch().command(deposit(1)).command(deposit(1)), "comes twice"),
        (client.batch().command(deposit(1).not_after(time)), "time limit of its own"),
        (many, "at most 999"),
    ] {
        let error = batch.run().await.unwrap_err();
        let SendError::Encode(EncodeError::Batch(said)) = &error else { panic!("{error:?}") };
        assert!(said.contains(why), "{said}");
    }
    let error = client.batch().command(deposit(1)).check(Account::at("a b"), Version(0)).run().await.unwrap_err();
    assert!(matches!(error, SendError::Encode(EncodeError::Subject { .. })), "{error:?}");
    assert!(fake.commands().is_empty());
}
