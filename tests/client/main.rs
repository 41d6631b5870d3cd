//! The client against a real nats-server and a processor that answers as told: what it sends, what it gives back, and
//! what it does when nothing comes.

#[path = "../common/mod.rs"]
mod common;
mod atomic;
mod batches;
mod fake;
mod many;
mod questions;

use std::time::Duration;

use common::nats::NatsServer;
use fake::{Fake, Heard, Say};
use hapax::client::{Cause, Client, NotSent, Outcome, Reason, SendError};
use hapax::samples::AccountCommand::*;
use hapax::samples::{Account, AccountEvent, AccountRejection, Order, OrderCommand, OrderEvent};
use hapax::{Aggregate, CommandId, Principal, Timestamp, Version};

const ID: &str = "a-command-of-a-test";

fn id() -> CommandId {
    CommandId::parse(ID).unwrap()
}

fn alice() -> Principal {
    Principal::parse("alice").unwrap()
}

async fn client(server: &NatsServer) -> Client {
    Client::connect(async_nats::ConnectOptions::new(), server.url(), alice()).await.unwrap()
}

/// Server, fake and client. Nobody but the fake takes commands: there is no stream.
async fn set_up(script: impl FnMut(&Heard) -> Vec<Say> + Send + 'static) -> (NatsServer, Fake, Client) {
    let server = NatsServer::start();
    let fake = Fake::start(&server.url(), script).await;
    let client = client(&server).await;
    (server, fake, client)
}

async fn create_stream(server: &NatsServer) -> async_nats::jetstream::stream::Stream {
    let config = async_nats::jetstream::stream::Config {
        name: "COMMANDS".to_owned(),
        subjects: vec!["cmd.*.*.*.*".to_owned()],
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    async_nats::jetstream::new(server.client().await).create_stream(config).await.unwrap()
}

#[track_caller]
fn assert_deposited(outcome: Outcome<Account>, was_replayed: bool) {
    let Outcome::Accepted { events, version, position, decided_at, replayed } = outcome else {
        panic!("rejected: {outcome:?}")
    };
    assert_eq!(events, [AccountEvent::Deposited { amount: 100 }]);
    assert_eq!((version, position.get(), replayed), (Version(3), 7, was_replayed));
    assert_eq!(decided_at.to_string(), "2026-11-24T20:15:01.123456Z");
}

#[tokio::test]
async fn what_is_sent_is_what_the_contract_says() {
    let (_server, fake, client) = set_up(|heard| vec![heard.deposited()]).await;
    let not_after = Timestamp::parse("2026-11-24T20:15:02Z").unwrap();
    let sending = client.send(Account::at("42"), Deposit { amount: 100 }).id(id());
    assert_deposited(sending.expect(Version(2)).not_after(not_after).await.unwrap(), false);

    let commands = fake.commands();
    let [command] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(command.subject, "cmd.alice.account.42.deposit");
    assert_eq!(command.body, r#"{"amount":100}"#);
    assert_eq!(command.header("Nats-Msg-Id"), Some(ID));
    assert_eq!(command.header("Hapax-Expected-Version"), Some("2"));
    assert_eq!(command.header("Hapax-Not-After"), Some("2026-11-24T20:15:02.000000Z"));
    assert!(command.header("Hapax-Reply-To").unwrap().starts_with("_INBOX.alice."));
    assert_eq!(command.reply, None, "the first copy asks for no PubAck");
    assert!(fake.questions().is_empty());
}

#[tokio::test]
async fn a_command_without_an_id_gets_one_and_a_bare_one_an_empty_body() {
    let (_server, fake, client) =
        set_up(|heard| vec![heard.accepted(4, r#"[{"type":"closed","schema":1,"data":{}}]"#)]).await;
    for _ in 0..2 {
        let outcome = client.send(Account::at("42"), Close).await.unwrap();
        assert!(matches!(outcome, Outcome::Accepted { events, .. } if events == [AccountEvent::Closed]));
    }
    let commands = fake.commands();
    assert_eq!(commands[0].body, "{}");
    assert_eq!(commands[0].id().len(), 36, "a UUID: {}", commands[0].id());
    assert_ne!(commands[0].id(), commands[1].id());
}

#[tokio::test]
async fn a_rejection_has_the_type_of_its_aggregate() {
    let details = r#"{"reason":"insufficient_funds","message":"m","details":{"balance":20,"amount":100}}"#;
    let (_server, _fake, client) = set_up(|heard| vec![heard.rejected(409, details)]).await;
    let outcome = client.send(Account::at("42"), Withdraw { amount: 100 }).await.unwrap();
    let Outcome::Rejected { reason: Reason::Rule(rejection), version, replayed, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(rejection, AccountRejection::InsufficientFunds { balance: 20, amount: 100 });
    assert_eq!((version, replayed), (Version(3), false));
}

#[tokio::test]
async fn a_rejection_by_the_protocol_is_told_apart() {
    let error = r#"{"reason":"expired","message":"m","details":{"not_after":"2026-11-24T20:15:02.000000Z"}}"#;
    let (_server, _fake, client) = set_up(|heard| vec![heard.rejected(410, error)]).await;
    let outcome = client.send(Account::at("42"), Close).await.unwrap();
    let Outcome::Rejected { reason: Reason::Protocol(rejection), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(rejection.reason, "expired");
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_and_nothing_is_sent_again() {
    let script = |heard: &Heard| if heard.is_command() { vec![] } else { vec![heard.deposited().replayed()] };
    let (_server, fake, client) = set_up(script).await;
    let outcome = client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap();
    assert_deposited(outcome, true);
    assert_eq!(fake.commands().len(), 1);
    assert_eq!(fake.questions()[0].subject, format!("qry.alice.outcome.account.42.{ID}"));
    assert!(fake.questions()[0].body.contains("wait_ms"));
}

#[tokio::test]
async fn an_unknown_command_is_sent_again_with_a_pub_ack_that_is_no_outcome() {
    let script = |heard: &Heard| match (heard.is_command(), heard.number) {
        (true, 0) => vec![], // Lost.
        // Late enough for the stream's PubAck to come first.
        (true, _) => vec![heard.deposited().after(Duration::from_millis(100))],
        (false, _) => vec![heard.unknown()],
    };
    let (server, fake, client) = set_up(script).await;
    let mut stream = create_stream(&server).await;
    assert_deposited(client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap(), false);

    let commands = fake.commands();
    let [first, second] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((first.id(), second.id()), (ID, ID));
    assert_eq!(first.header("Hapax-Reply-To"), second.header("Hapax-Reply-To"));
    assert_eq!(first.reply, None);
    assert!(second.reply.is_some() && second.reply.as_deref() != second.header("Hapax-Reply-To"));
    assert!(Duration::from_millis(240) <= second.at - first.at);
    assert_eq!(stream.info().await.unwrap().state.messages, 2);
}

#[tokio::test]
async fn a_copy_that_the_stream_has_swallowed_gets_its_outcome_by_attaching() {
    let script = |heard: &Heard| match (heard.is_command(), heard.number) {
        (true, 0) => vec![],
        (true, _) => vec![Say::new(r#"{"stream":"COMMANDS","seq":1,"duplicate":true}"#.to_owned()).by_the_stream()],
        (false, 0) => vec![heard.unknown()],
        (false, _) => vec![heard.deposited().after(Duration::from_millis(300))],
    };
    let (_server, fake, client) = set_up(script).await;
    assert_deposited(client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap(), false);
    assert_eq!(fake.commands().len(), 2);
}

/// A processor that is far behind must not get more and more copies of what waits in its stream.
#[tokio::test]
async fn what_the_stream_holds_is_not_sent_again_in_a_hurry() {
    let script = |heard: &Heard| match (heard.is_command(), heard.number) {
        (true, 0) => vec![],
        (true, _) => vec![Say::new(r#"{"stream":"COMMANDS","seq":1}"#.to_owned()).by_the_stream()],
        (false, _) => vec![heard.unknown()],
    };
    let (_server, fake, client) = set_up(script).await;
    let error = client.send(Account::at("42"), Close).deadline(Duration::from_secs(4)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown { cause: Cause::Silence, .. }), "{error:?}");
    assert_eq!(fake.commands().len(), 2);
}

#[tokio::test]
async fn a_processor_that_is_not_available_is_waited_for_as_told() {
    let retry = r#"{"with":"same_id","after_ms":700}"#;
    let script = |heard: &Heard| match heard.number {
        0 => vec![heard.refused(503, "unavailable", retry)],
        _ => vec![heard.deposited()],
    };
    let (_server, fake, client) = set_up(script).await;
    assert_deposited(client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap(), false);
    let commands = fake.commands();
    let [first, second] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((first.id(), second.id()), (ID, ID));
    assert!(Duration::from_millis(690) <= second.at - first.at);
    assert!(fake.questions().is_empty());
}

/// Within the stream's duplicate window a copy would be swallowed, and nobody would answer it.
#[tokio::test]
async fn however_soon_a_refusal_allows_it_copies_keep_their_distance() {
    let script = |heard: &Heard| match heard.number {
        0..4 => vec![heard.refused(503, "unavailable", r#"{"with":"same_id","after_ms":0}"#)],
        _ => vec![heard.deposited()],
    };
    let (_server, fake, client) = set_up(script).await;
    assert_deposited(client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap(), false);
    let commands = fake.commands();
    for pair in commands.windows(2) {
        // The fake's clock, so give or take what the way to it takes.
        assert!(Duration::from_millis(240) <= pair[1].at - pair[0].at, "{:?}", pair[1].at - pair[0].at);
    }
}

#[tokio::test]
async fn an_outcome_that_comes_while_a_refusal_is_waited_out_counts() {
    let retry = r#"{"with":"same_id","after_ms":5000}"#;
    let script = |heard: &Heard| {
        vec![heard.refused(503, "unavailable", retry), heard.deposited().after(Duration::from_millis(200))]
    };
    let (_server, fake, client) = set_up(script).await;
    assert_deposited(client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap(), false);
    assert_eq!(fake.commands().len(), 1);
}

#[tokio::test]
async fn what_waiting_does_not_mend_goes_to_the_caller() {
    for (code, reason, retry) in [
        (422, "id_reused", r#"{"with":"new_id"}"#),
        (400, "malformed", r#"{"with":"same_id"}"#),
        (404, "unknown_command", "null"),
        (599, "of_a_later_contract", r#"{"with":"new_id","after_ms":5}"#),
    ] {
        let (_server, fake, client) = set_up(move |heard| vec![heard.refused(code, reason, retry)]).await;
        let error = client.send(Account::at("42"), Close).id(id()).await.unwrap_err();
        let SendError::Refused { id: about, refusal } = &error else { panic!("{error:?}") };
        assert_eq!((about.as_str(), refusal.code, &*refusal.reason), (ID, code, reason));
        assert_eq!(fake.commands().len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_question_that_is_refused_says_nothing_of_the_command() {
    let script = |heard: &Heard| match (heard.is_command(), heard.number) {
        (true, 0) => vec![],
        (true, _) => vec![heard.deposited()],
        (false, _) => vec![heard.refused(400, "malformed", "null")],
    };
    let (_server, _fake, client) = set_up(script).await;
    assert_deposited(client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap(), false);
}

#[tokio::test]
async fn only_a_reply_about_this_command_counts() {
    let script = |heard: &Heard| {
        let ack = Say::new(r#"{"stream":"COMMANDS","seq":1}"#.to_owned());
        let other = Say::new(heard.accepted(9, "[]").json().replace(ID, "another-commands-id"));
        let later = |say: Say, ms| say.after(Duration::from_millis(ms));
        vec![ack, later(other, 50), later(heard.deposited(), 100)]
    };
    let (_server, fake, client) = set_up(script).await;
    assert_deposited(client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await.unwrap(), false);
    assert_eq!(fake.commands().len(), 1);
}

#[tokio::test]
async fn an_event_that_this_program_does_not_know_is_no_unknown_outcome() {
    let events = r#"[{"type":"frozen","schema":1,"data":{}}]"#;
    let (_server, _fake, client) = set_up(move |heard| vec![heard.accepted(4, events)]).await;
    let error = client.send(Account::at("42"), Close).await.unwrap_err();
    assert!(matches!(&error, SendError::Unreadable { outcome, .. } if outcome.version == Version(4)), "{error:?}");
}

/// A replay brings what was recorded when the command was decided, which may be long ago: typed, it is today's form.
#[tokio::test]
async fn an_event_of_an_older_schema_is_given_in_todays_form() {
    for (schema, data, is_read) in [
        (1, r#"{"reason":"late","refund":7}"#, true),
        (2, r#"{"reason":"late","refunded":7}"#, true),
        (3, r#"{"reason":"late","refunded":7}"#, false),
    ] {
        let events = format!(r#"[{{"type":"cancelled","schema":{schema},"data":{data}}}]"#);
        let (_server, _fake, client) = set_up(move |heard| vec![heard.accepted(4, &events).replayed()]).await;
        let sent = client.send(Order::at("42"), OrderCommand::Cancel { reason: "late".to_owned() }).await;
        if is_read {
            let Ok(Outcome::Accepted { events, replayed: true, .. }) = sent else { panic!("not a replay: {sent:?}") };
            assert_eq!(events, [OrderEvent::Cancelled { reason: "late".to_owned(), refunded: 7 }]);
        } else {
            let Err(SendError::Unreadable { source, .. }) = sent else { panic!("it cannot be read: {sent:?}") };
            assert!(source.to_string().contains("this version knows cancelled up to schema 2"), "{source}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_in_a_subject_is_not_sent() {
    let (_server, fake, client) = set_up(|heard| vec![heard.deposited()]).await;
    let error = client.send(Account::at("4.2"), Close).await.unwrap_err();
    assert!(matches!(error, SendError::Encode(_)) && error.nothing_was_published(), "{error:?}");
    assert!(fake.commands().is_empty());
}

#[tokio::test]
async fn without_a_stream_the_error_says_so() {
    let server = NatsServer::start();
    let client = client(&server).await;
    let error = client.send(Account::at("42"), Close).id(id()).deadline(Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown { id, cause: Cause::NoStream } if id.as_str() == ID), "{error:?}");
}

#[tokio::test]
async fn without_a_processor_the_command_waits_in_the_stream_and_is_not_sent_for_ever() {
    let server = NatsServer::start();
    let mut stream = create_stream(&server).await;
    let client = client(&server).await;
    let error = client.send(Account::at("42"), Close).id(id()).deadline(Duration::from_secs(8)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown { cause: Cause::NoProcessor, .. }), "{error:?}");
    assert_eq!(stream.info().await.unwrap().state.messages, 2, "the first copy, and one that the stream confirmed");
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_named_with_its_reason() {
    let script = |heard: &Heard| {
        let full = r#"{"error":{"code":400,"err_code":10077,"description":"maximum messages exceeded"},"seq":0}"#;
        match (heard.is_command(), heard.number) {
            (true, 0) => vec![],
            (true, _) => vec![Say::new(full.to_owned()).by_the_stream()],
            (false, _) => vec![heard.unknown()],
        }
    };
    let (_server, _fake, client) = set_up(script).await;
    let error = client.send(Account::at("42"), Close).deadline(Duration::from_secs(2)).await.unwrap_err();
    let SendError::Unknown { cause: Cause::NotStored(why), .. } = &error else { panic!("{error:?}") };
    assert_eq!(why, "maximum messages exceeded");
}

#[tokio::test]
async fn refused_until_the_deadline_is_unknown_with_the_refusal_as_its_cause() {
    let retry = r#"{"with":"same_id","after_ms":250}"#;
    let (_server, _fake, client) = set_up(|heard| vec![heard.refused(503, "unavailable", retry)]).await;
    let error = client.send(Account::at("42"), Close).deadline(Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&error, SendError::Unknown { cause: Cause::Refused(refusal), .. } if refusal.code == 503));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_a_command_is_under_way_costs_time_only() {
    let script = |heard: &Heard| if heard.is_command() { vec![] } else { vec![heard.deposited().replayed()] };
    let (mut server, fake, client) = set_up(script).await;
    let sending = tokio::spawn(async move { client.send(Account::at("42"), Deposit { amount: 100 }).id(id()).await });
    fake.news().await;
    server.restart();
    assert_deposited(sending.await.unwrap().unwrap(), true);
    assert_eq!(fake.commands().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_nothing_is_sent_and_the_error_is_sure_of_it() {
    let (mut server, fake, client) = set_up(|heard| vec![heard.deposited()]).await;
    // Until the client has seen it: what it publishes before that may be lost, and then nobody can be sure.
    server.kill();
    let error = loop {
        let error = client.send(Account::at("42"), Close).deadline(Duration::from_millis(300)).await.unwrap_err();
        if !matches!(error, SendError::Unknown { .. }) {
            break error;
        }
    };
    assert!(matches!(error, SendError::NotSent(NotSent::Disconnected)), "{error:?}");
    server.start_again();
    let outcome = client.send(Account::at("42"), Deposit { amount: 100 }).await;
    assert!(outcome.is_ok() || fake.commands().is_empty(), "{outcome:?}");
}

/// A server that lets alice do only that, and alice's client.
async fn with_permissions(permissions: &str) -> (NatsServer, Client) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("nats.conf");
    let user = format!("{{user: alice, password: secret, permissions: {permissions}}}");
    std::fs::write(&config, format!("authorization {{ users = [{user}] }}")).unwrap();
    let arguments: &'static [&'static str] = vec!["-c", config.to_str().unwrap().to_owned().leak() as &str].leak();
    let server = NatsServer::start_with(arguments);
    let options = async_nats::ConnectOptions::with_user_and_password("alice".to_owned(), "secret".to_owned());
    let client = Client::connect(options, server.url(), alice()).await.unwrap();
    (server, client)
}

#[tokio::test]
async fn a_command_that_is_not_permitted_is_told_at_once() {
    let permissions = r#"{publish: ["cmd.alice.order.>", "qry.alice.>"], subscribe: "_INBOX.alice.>"}"#;
    let (_server, client) = with_permissions(permissions).await;
    let error = client.send(Account::at("42"), Close).await.unwrap_err();
    let SendError::NotSent(NotSent::NotPermitted(why)) = &error else { panic!("{error:?}") };
    assert!(why.contains("cmd.alice.account.42.close"), "{why}");
}

#[tokio::test]
async fn an_inbox_that_is_not_permitted_is_named() {
    let permissions = r#"{publish: ["cmd.alice.>", "qry.alice.>"], subscribe: "_INBOX.bob.>"}"#;
    let (_server, client) = with_permissions(permissions).await;
    let error = client.send(Account::at("42"), Close).deadline(Duration::from_secs(1)).await.unwrap_err();
    let SendError::Unknown { cause: Cause::Server(why), .. } = &error else { panic!("{error:?}") };
    assert!(why.contains("_INBOX.alice."), "{why}");
}
