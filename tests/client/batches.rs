//! Commands that travel together, each for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use hapax::client::{Cause, Client, RawCommand, RawOutcome, SendError, Window};
use hapax::model::partition::partition_of;
use hapax::{CommandId, CommandName, Key, Timestamp, Version};
use serde_json::Value;

use crate::fake::{Heard, Say};
use crate::set_up;

type Settled = BTreeMap<usize, Result<RawOutcome, SendError>>;

pub(crate) fn command(number: u64, key: &str) -> RawCommand {
    RawCommand {
        id: CommandId::parse(&format!("command-{number:0>12}")).unwrap(),
        aggregate: format!("account/{key}").parse().unwrap(),
        name: CommandName::parse("deposit").unwrap(),
        data: format!(r#"{{"amount":{number}}}"#).into(),
        expected: None,
        not_after: None,
    }
}

async fn send(client: &Client, commands: Vec<RawCommand>, window: Window) -> Settled {
    client.send_all_raw(stream::iter(commands), window, Duration::from_secs(10)).collect().await
}

pub(crate) fn items(heard: &Heard) -> Vec<Value> {
    let body: Value = serde_json::from_str(&heard.body).unwrap();
    body["commands"].as_array().cloned().unwrap_or_default()
}

/// What a command or an item of a batch is, by its number.
fn numbers(heard: &Heard) -> Vec<u64> {
    let number = |id: &str| id.rsplit('-').next().unwrap().parse().unwrap();
    match heard.subject.contains("._batch.") {
        true => items(heard).iter().map(|item| number(item["id"].as_str().unwrap())).collect(),
        false => vec![number(heard.id())],
    }
}

/// Accepts an item; its version is its amount.
pub(crate) fn accept(item: &Value) -> String {
    let (id, key) = (&item["id"], &item["key"]);
    let version = item["data"]["amount"].as_u64().unwrap_or(1);
    format!(
        r#"{{"id":{id},"status":"accepted","code":200,"aggregate":"account","key":{key},"version":{version},
        "position":7,"decided_at":"2026-11-24T20:15:01.123456Z","events":[]}}"#
    )
}

fn refuse(item: &Value, code: u16, reason: &str, retry: &str) -> String {
    let id = &item["id"];
    let error = format!(r#"{{"reason":"{reason}","message":"m"}}"#);
    format!(r#"{{"id":{id},"status":"refused","code":{code},"retry":{retry},"error":{error}}}"#)
}

/// The reply to a batch, with what each of its items is told.
pub(crate) fn reply(heard: &Heard, tell: impl Fn(&Value) -> String) -> Say {
    let items: Vec<String> = items(heard).iter().map(tell).collect();
    Say::new(format!(r#"{{"id":"{}","items":[{}]}}"#, heard.id(), items.join(",")))
}

/// A reply that leaves its events out.
pub(crate) fn brief(reply: &str) -> Say {
    let items = reply.strip_suffix('}').unwrap().replace(r#","events":[]"#, "");
    Say::new(format!(r#"{items},"events_omitted":true}}"#))
}

/// A processor that accepts everything.
fn accept_all(heard: &Heard) -> Vec<Say> {
    if heard.subject.contains("._batch.") {
        return vec![reply(heard, accept)];
    }
    vec![heard.accepted(numbers(heard)[0], "[]")]
}

#[track_caller]
fn assert_accepted(settled: &Settled, count: usize) {
    assert_eq!(settled.len(), count);
    for (number, result) in settled {
        assert_eq!(result.as_ref().unwrap().outcome.version, Version(*number as u64), "another command's outcome");
    }
}

#[tokio::test]
async fn what_is_packed_is_what_the_contract_says() {
    let (_server, fake, client) = set_up(accept_all).await;
    let mut commands: Vec<_> = (0..5).map(|number| command(number, "1")).collect();
    commands[0].expected = Some(Version(3));
    commands[1].data = "".into();
    let settled = send(&client, commands, Window::from(1).batches_of(2)).await;
    assert_eq!(settled.len(), 5);
    assert!(settled.values().all(Result::is_ok));

    let heard = fake.commands();
    assert_eq!(heard.iter().map(numbers).collect::<Vec<_>>(), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!(heard[0].subject, "cmd.alice._batch.1.run");
    assert_eq!(
        heard[0].body,
        r#"{"atomic":false,"commands":[{"id":"command-000000000000","aggregate":"account","key":"1","command":"deposit","expected_version":3,"data":{"amount":0}},{"id":"command-000000000001","aggregate":"account","key":"1","command":"deposit"}]}"#
    );
    assert!(heard[0].header("Hapax-Reply-To").unwrap().starts_with("_INBOX.alice."));
    assert_eq!((heard[0].header("Hapax-Expected-Version"), &heard[0].reply), (None, &None));
    assert_ne!(heard[0].id(), heard[1].id());
    assert_eq!(heard[2].subject, "cmd.alice.account.1.deposit", "one alone needs no batch");
    assert!(fake.questions().is_empty());
}

#[tokio::test]
async fn each_has_its_own_outcome_byte_for_byte() {
    let (_server, fake, client) = set_up(accept_all).await;
    let commands: Vec<_> = (0..2_000).map(|number| command(number, "1")).collect();
    let settled = send(&client, commands, Window::from(4).batches_of(100)).await;
    assert_accepted(&settled, 2_000);
    assert_eq!(fake.commands().len(), 20);
    assert_eq!(settled[&7].as_ref().unwrap().json, accept(&items(&fake.commands()[0])[7]));
}

#[tokio::test]
async fn a_time_limit_is_that_of_all_of_a_batch() {
    let (_server, fake, client) = set_up(accept_all).await;
    let at = |second: u64| Timestamp::parse(&format!("2026-11-24T20:15:0{second}Z"));
    let limits = [None, None, at(1), at(1), at(2), at(2), None, None];
    let with = |(number, limit)| RawCommand { not_after: limit, ..command(number, "1") };
    let settled = send(&client, (0..).zip(limits).map(with).collect(), Window::from(1).batches_of(10)).await;
    assert_accepted(&settled, 8);
    let told: Vec<_> = fake.commands().iter().map(|heard| heard.header("Hapax-Not-After").map(str::to_owned)).collect();
    let told: Vec<_> = told.iter().map(Option::as_deref).collect();
    let limit = |second| at(second).map(|time| time.to_string());
    assert_eq!(told, [None, limit(1).as_deref(), limit(2).as_deref(), None]);
}

#[tokio::test]
async fn no_batch_has_an_id_twice_or_what_would_make_it_malformed() {
    let (_server, fake, client) = set_up(accept_all).await;
    let mut commands: Vec<_> = [0, 1, 0, 3, 4, 5, 6, 7].map(|number| command(number, "1")).into();
    commands[4].data = "{".into();
    commands[5].name = CommandName::parse("_void").unwrap();
    commands[6].data = vec![b' '; 256 * 1024 + 1].into();
    let settled = send(&client, commands, Window::from(1).batches_of(10)).await;
    assert_eq!(settled.len(), 8);
    assert!(matches!(settled[&6], Err(SendError::Encode(_))));
    assert_eq!(
        fake.commands().iter().map(numbers).collect::<Vec<_>>(),
        [vec![0, 1], vec![0, 3], vec![4], vec![5], vec![7]]
    );
}

#[tokio::test]
async fn a_batch_is_no_larger_than_the_contract_allows() {
    let (_server, fake, client) = set_up(accept_all).await;
    let large = |number| {
        let data = format!(r#"{{"amount":{number},"note":"{}"}}"#, "x".repeat(200 * 1024));
        RawCommand { data: data.into(), ..command(number, "1") }
    };
    assert_accepted(&send(&client, (0..5).map(large).collect(), Window::from(1).batches_of(10)).await, 5);
    assert_eq!(fake.commands().iter().map(numbers).collect::<Vec<_>>(), [vec![0, 1], vec![2, 3], vec![4]]);
    assert!(fake.commands().iter().all(|heard| heard.body.len() <= 512 * 1024));
}

#[tokio::test]
async fn a_batch_holds_commands_of_one_partition_in_their_order() {
    let (_server, fake, client) = set_up(accept_all).await;
    let commands: Vec<_> = (0..100).map(|number| command(number, &(number % 10).to_string())).collect();
    assert_accepted(&send(&client, commands, Window::from(1).batches_of(8).partitions(3)).await, 100);
    let mut last = BTreeMap::new();
    for heard in fake.commands().iter().filter(|heard| heard.subject.contains("._batch.")) {
        let partition = |key: &str| partition_of(&Key::parse(key).unwrap(), 3);
        let own = partition(heard.subject.split('.').nth(3).unwrap());
        for item in items(heard) {
            assert_eq!(partition(item["key"].as_str().unwrap()), own);
            let number = item["data"]["amount"].as_u64();
            assert!(last.insert(own, number).flatten() < number, "out of order");
        }
    }
    assert!(fake.commands().len() < 20);
}

#[tokio::test]
async fn a_batch_that_does_not_fill_leaves_all_the_same() {
    let (_server, _fake, client) = set_up(accept_all).await;
    let trickle = stream::iter((0..3).map(|number| command(number, "1"))).chain(stream::pending());
    let settled = client.send_all_raw(trickle, Window::from(1).batches_of(100), Duration::from_secs(10));
    assert_accepted(&settled.take(3).collect().await, 3);
}

#[tokio::test]
async fn what_is_refused_for_a_time_is_sent_again_together_and_the_rest_is_not() {
    let script = |heard: &Heard| match (heard.subject.contains("._batch."), heard.number) {
        (true, 0) => vec![reply(heard, |item| match item["data"]["amount"].as_u64().unwrap() {
            1 | 3 => refuse(item, 503, "unavailable", r#"{"with":"same_id","after_ms":400}"#),
            2 => refuse(item, 422, "id_reused", r#"{"with":"new_id"}"#),
            4 => refuse(item, 421, "other_partition", "null"),
            _ => accept(item),
        })],
        _ => accept_all(heard),
    };
    let (_server, fake, client) = set_up(script).await;
    let mut settled =
        send(&client, (0..6).map(|number| command(number, "1")).collect(), Window::from(1).batches_of(6)).await;
    let reused = settled.remove(&2).unwrap().unwrap_err();
    let SendError::Refused { id, refusal } = &reused else { panic!("{reused:?}") };
    assert_eq!((id.as_str(), refusal.code), ("command-000000000002", 422));
    for (number, result) in &settled {
        assert_eq!(result.as_ref().unwrap().outcome.version, Version(*number as u64));
    }
    assert_eq!(settled.len(), 5);
    let heard = fake.commands();
    assert_eq!(heard.iter().map(numbers).collect::<Vec<_>>(), [vec![0, 1, 2, 3, 4, 5], vec![4], vec![1, 3]]);
    assert!(Duration::from_millis(390) <= heard[2].at - heard[0].at);
    assert_ne!(heard[0].id(), heard[2].id(), "other commands are another batch");
}

#[tokio::test]
async fn a_batch_that_is_refused_whole_is_sent_one_by_one() {
    let script = |heard: &Heard| match heard.subject.contains("._batch.") {
        true => vec![heard.refused(404, "unknown_aggregate", "null")],
        false => accept_all(heard),
    };
    let (_server, fake, client) = set_up(script).await;
    assert_accepted(
        &send(&client, (0..3).map(|number| command(number, "1")).collect(), Window::from(1).batches_of(3)).await,
        3,
    );
    assert_eq!(fake.commands().len(), 4);
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_by_one_of_them_and_the_batch_sent_again() {
    for decided in [false, true] {
        let script = move |heard: &Heard| match (heard.is_command(), heard.number) {
            (true, 0) => vec![],
            (true, _) => vec![reply(heard, accept).replayed()],
            (false, _) if decided => vec![heard.accepted(0, "[]").replayed()],
            (false, _) => vec![heard.unknown()],
        };
        let (_server, fake, client) = set_up(script).await;
        let settled =
            send(&client, (0..3).map(|number| command(number, "1")).collect(), Window::from(1).batches_of(3)).await;
        assert_accepted(&settled, 3);
        assert!(settled[&2].as_ref().unwrap().replayed);
        let heard = fake.commands();
        assert_eq!(heard.iter().map(numbers).collect::<Vec<_>>(), [[0, 1, 2], [0, 1, 2]]);
        assert_eq!(heard[0].id(), heard[1].id());
        assert!(Duration::from_millis(240) <= heard[1].at - heard[0].at && heard[1].reply.is_some());
        let questions = fake.questions();
        assert_eq!(questions[0].subject, "qry.alice.outcome.account.1.command-000000000000");
        assert!(questions[0].body.contains(r#""command":"deposit","data":{"amount":0}"#), "{}", questions[0].body);
    }
}

/// That one of them is known proves that the processor has been at work: the stream's word for a copy counts no more.
#[tokio::test]
async fn a_batch_that_the_stream_holds_is_sent_again_all_the_same_when_its_reply_is_lost() {
    let script = |heard: &Heard| match (heard.is_command(), heard.number) {
        (true, 0) => vec![],
        (true, 1) => vec![Say::new(r#"{"stream":"COMMANDS","seq":1}"#.to_owned()).by_the_stream()],
        (true, _) => vec![reply(heard, accept).replayed()],
        (false, _) => vec![heard.accepted(0, "[]").replayed()],
    };
    let (_server, fake, client) = set_up(script).await;
    let commands = stream::iter((0..3).map(|number| command(number, "1")));
    let settled = client.send_all_raw(commands, Window::from(1).batches_of(3), Duration::from_secs(60));
    assert_accepted(&settled.collect().await, 3);
    assert_eq!(fake.commands().len(), 3);
}

#[tokio::test]
async fn what_a_reply_has_no_room_for_is_asked_for() {
    let events = r#"[{"type":"deposited","schema":1,"data":{"amount":100}}]"#;
    let script = move |heard: &Heard| match heard.is_command() {
        true => vec![brief(&reply(heard, accept).json())],
        false => vec![heard.accepted(9, events).replayed()],
    };
    let (_server, fake, client) = set_up(script).await;
    let settled =
        send(&client, (0..3).map(|number| command(number, "1")).collect(), Window::from(1).batches_of(3)).await;
    for (number, result) in &settled {
        let raw = result.as_ref().unwrap();
        assert_eq!((raw.outcome.event_count(), raw.replayed), (1, false));
        assert_eq!(raw.outcome.id, command(*number as u64, "1").id);
    }
    assert_eq!((settled.len(), fake.commands().len(), fake.questions().len()), (3, 1, 3));
}

#[tokio::test]
async fn a_reply_about_other_commands_is_no_outcome() {
    let script = |heard: &Heard| match heard.is_command() {
        true => vec![Say::new(reply(heard, accept).json().replace("command-000000000001", "command-000000000009"))],
        false => vec![],
    };
    let (_server, _fake, client) = set_up(script).await;
    let settled =
        send(&client, (0..2).map(|number| command(number, "1")).collect(), Window::from(1).batches_of(2)).await;
    for result in settled.values() {
        assert!(matches!(result, Err(SendError::Unknown { cause: Cause::UnreadableReply(_), .. })), "{result:?}");
    }
}

#[tokio::test]
async fn refused_until_the_deadline_each_is_unknown() {
    let retry = r#"{"with":"same_id","after_ms":250}"#;
    let script = move |heard: &Heard| vec![reply(heard, |item| refuse(item, 503, "unavailable", retry))];
    let (_server, _fake, client) = set_up(script).await;
    let commands = stream::iter((0..2).map(|number| command(number, "1")));
    let settled = client.send_all_raw(commands, Window::from(1).batches_of(2), Duration::from_secs(1));
    let settled: Settled = settled.collect().await;
    for (number, result) in settled {
        let error = result.unwrap_err();
        let SendError::Unknown { id, cause: Cause::Refused(refusal) } = &error else { panic!("{error:?}") };
        assert_eq!((id, refusal.code), (&command(number as u64, "1").id, 503));
    }
}
