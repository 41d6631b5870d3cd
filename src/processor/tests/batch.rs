//! Several commands in one message: each for itself, or all or none.

use serde_json::Value;

use super::*;
use crate::model::Content;
use crate::model::limits::{ATOMIC_COMMANDS_MAX, BATCH_ITEMS_MAX};

const BATCH: u64 = 900;

fn item(key: &str, number: u64, amount: u64) -> String {
    let id = id(number);
    format!(r#"{{"id":"{id}","aggregate":"counter","key":"{key}","command":"add","data":{{"amount":{amount}}}}}"#)
}

fn check(key: &str, version: u64) -> String {
    format!(r#"{{"check":{{"aggregate":"counter","key":"{key}","version":{version}}}}}"#)
}

/// A batch under the id `number`, to be answered at `_INBOX.alice.<number>`.
fn batch_as(number: u64, atomic: bool, items: &[String]) -> Delivery {
    Delivery {
        subject: "work.0.alice._batch.1.run".into(),
        headers: vec![(header::ID, id(number).to_string()), (header::REPLY_TO, format!("_INBOX.alice.{number}"))],
        body: format!(r#"{{"atomic":{atomic},"commands":[{}]}}"#, items.join(",")).into(),
        stored_at: second(0),
        ticket: Ticket(number.to_string()),
    }
}

fn each(items: &[String]) -> Delivery {
    batch_as(BATCH, false, items)
}

fn atomic(items: &[String]) -> Delivery {
    batch_as(BATCH, true, items)
}

/// Delivers, makes durable, and gives what is replied: `200@2 409 too_much@3`, with `(replayed)` behind it.
fn outcome(rig: &mut Rig, delivery: Delivery) -> String {
    replies(&all(rig, delivery))
}

/// Delivers, makes durable, and gives everything that is to be done.
fn all(rig: &mut Rig, delivery: Delivery) -> Vec<Effect> {
    let mut effects = rig.decide(vec![delivery]);
    if !rig.processor.is_idle() {
        effects.extend(rig.sync());
    }
    effects
}

fn replies(effects: &[Effect]) -> String {
    let replies = effects.iter().filter_map(|effect| match effect {
        Effect::Reply(answer) => Some(tell_items(answer)),
        _ => None,
    });
    replies.collect::<Vec<_>>().join(" | ")
}

fn tell_items(answer: &Answer) -> String {
    let reply: Value = serde_json::from_slice(&answer.body).unwrap();
    let Some(items) = reply["items"].as_array() else {
        return format!("{} {}", reply["code"], reply["error"]["message"]);
    };
    let tell = |item: &Value| {
        let reason = item["error"]["reason"].as_str().map_or(String::new(), |reason| format!(" {reason}"));
        let at = item["position"].as_u64().map_or(String::new(), |position| format!("@{position}"));
        format!("{}{reason}{at}", item["code"])
    };
    let replayed = if answer.replayed { " (replayed)" } else { "" };
    format!("{}{replayed}", items.iter().map(tell).collect::<Vec<_>>().join(", "))
}

#[test]
fn each_for_itself_is_decided_replayed_or_refused() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    let mut items = vec![item("1", 1, 1), item("2", 2, 1), item("2", 3, 2000), item("1", 1, 1)];
    assert_eq!(
        outcome(&mut rig, each(&items)),
        r#"400 "commands[3].id: this id comes twice in the batch""#,
        "and nothing of it is decided"
    );
    items.pop();
    items.push(item("1", 5, 1).replace("add", "fly"));
    items.push(item("1", 6, 1).replace(r#"{"amount":1}"#, "[]"));
    assert_eq!(
        outcome(&mut rig, each(&items)),
        "200@1, 200@2, 409 too_much@3, 404 unknown_command, 400 malformed",
        "a part of them was known"
    );
    items.truncate(3);
    assert_eq!(outcome(&mut rig, each(&items)), "200@1, 200@2, 409 too_much@3 (replayed)");
    assert_eq!(outcome(&mut rig, each(&[item("1", 1, 7)])), "422 id_reused");
    assert_eq!(outcome(&mut rig, each(&[item("1", 1, 7), item("2", 2, 1)])), "422 id_reused, 200@2 (replayed)");
    assert_eq!(rig.commits.len(), 3);
}

#[test]
fn an_item_is_the_same_command_as_one_of_its_own() {
    let mut rig = Rig::new();
    assert_eq!(outcome(&mut rig, each(&[item("1", 1, 1)])), "200@1");
    assert_eq!(outcome(&mut rig, atomic(&[item("1", 2, 1)])), "200@3");
    let effects = rig.decide(vec![add("1", 1).copy(11), add("1", 2).copy(12)]);
    assert_eq!(
        told(&effects)[..2],
        ["reply 11: 200 at 1 (replayed)", "reply 12: 200 at 3 (replayed)"],
        "byte for byte what the batch's reply held"
    );
}

#[test]
fn all_are_accepted_as_one_group() {
    let mut rig = Rig::new();
    let items = [item("1", 1, 1), item("2", 2, 1), item("1", 3, 1), check("3", 0)];
    let effects = rig.decide(vec![atomic(&items)]);
    assert_eq!(told(&effects), ["append 1 2 3 4"], "the batch's own commit, and one for each command");
    assert_eq!(rig.commits.iter().map(|commit| commit.followers).collect::<Vec<_>>(), [3, 0, 0, 0]);
    assert_eq!(rig.commits.iter().map(|commit| commit.version.0).collect::<Vec<_>>(), [0, 1, 1, 2]);
    assert_eq!(rig.commits[3].previous, Some(position(2)));
    assert_eq!(replies(&rig.sync()), "200@2, 200@3, 200@4, 200");
}

#[test]
fn one_that_fails_takes_all_with_it() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    // The third is decided on the state without the second, which failed; the last sees what the first would have done.
    let items = [item("1", 2, 999), item("1", 3, 1), item("1", 4, 0), item("2", 5, 1), check("2", 7)];
    let rejected =
        "424 batch_aborted@3, 409 too_much@4, 424 batch_aborted@5, 424 batch_aborted@6, 412 version_mismatch";
    assert_eq!(outcome(&mut rig, atomic(&items)), rejected);
    assert_eq!(rig.commits.iter().map(|commit| commit.event_count).sum::<u64>(), 1, "nothing has happened");
    assert_eq!(outcome(&mut rig, atomic(&items)), format!("{rejected} (replayed)"));
    assert_eq!(outcome(&mut rig, delivery("1", 6, "add", r#"{"amount":999}"#)), "200 null", "the state is as it was");
}

#[test]
fn a_check_alone_can_hold_a_batch_back() {
    let mut rig = Rig::new();
    rig.decide(vec![add("2", 1)]);
    rig.sync();
    assert_eq!(
        outcome(&mut rig, atomic(&[item("1", 2, 1), check("2", 0)])),
        "424 batch_aborted@3, 412 version_mismatch"
    );
    let in_order = [check("1", 0), item("1", 3, 1), check("1", 1), check("2", 1)];
    assert_eq!(outcome(&mut rig, batch_as(901, true, &in_order)), "200, 200@5, 200, 200");
}

#[test]
fn the_same_batch_again_gets_the_same_bytes_also_from_the_index() {
    let mut rig = Rig::new();
    let items = [item("1", 1, 1), check("2", 0), item("2", 2, 1)];
    let bytes = |effects: &[Effect]| match effects {
        [.., Effect::Reply(answer), Effect::Ack(_)] => answer.body.clone(),
        other => panic!("{other:?}"),
    };
    rig.decide(vec![atomic(&items)]);
    let first = bytes(&rig.sync());
    assert_eq!(bytes(&rig.decide(vec![atomic(&items)])), first);
    rig.index(3);
    let effects = rig.deliver(vec![atomic(&items)]);
    assert_eq!(told(&effects), ["load 2: 3 ids, 0 aggregates"], "memory has let go of it");
    let loaded = rig.answer(&effects, 3);
    assert_eq!(bytes(&rig.on(loaded)), first);
}

#[test]
fn another_batch_under_its_id_changes_nothing() {
    let mut rig = Rig::new();
    outcome(&mut rig, atomic(&[item("1", 1, 1), check("2", 0)]));
    for other in [
        vec![item("1", 1, 2), check("2", 0)],
        vec![item("1", 1, 1)],
        vec![item("1", 1, 1), check("2", 1)],
        vec![check("2", 0), item("1", 1, 1)],
        vec![item("1", 1, 1), check("2", 0), item("1", 2, 1)],
        vec![item("1", 9, 1), check("2", 0)],
    ] {
        let told = outcome(&mut rig, atomic(&other));
        assert!(told.starts_with("422 "), "{told}");
    }
    let single = rig.decide(vec![add("1", BATCH)]);
    assert!(told(&single)[0].contains("422 id_reused"), "{single:?}");
    assert_eq!(rig.commits.len(), 2);
}

#[test]
fn an_id_known_from_elsewhere_refuses_an_atomic_batch_and_is_named() {
    let mut rig = Rig::new();
    rig.decide(vec![add("1", 1)]);
    rig.sync();
    let told = outcome(&mut rig, atomic(&[item("2", 2, 1), item("1", 1, 1)]));
    assert!(told.starts_with(r#"422 "commands[1]: "#), "{told}");
    assert_eq!(outcome(&mut rig, add("2", 2)), "200 null", "its neighbour's id is free");
    let told = outcome(&mut rig, atomic(&[item("1", BATCH, 1)]));
    assert!(told.starts_with(r#"400 "commands[0].id: "#), "{told}");
}

#[test]
fn what_cannot_be_read_refuses_an_atomic_batch_whole() {
    let mut rig = Rig::new();
    for (second, told) in [
        (item("2", 2, 1).replace(r#"{"amount":1}"#, "7"), r#"400 "commands[1]: data: "#),
        (item("2", 2, 1).replace("add", "fly"), r#"404 "commands[1]: "#),
        (item("2", 2, 1).replace("counter", "cow"), r#"404 "commands[1]: "#),
        (item("2", 2, 1).replace("amount", "mount"), r#"400 "commands[1]: body: "#),
        (item("2", 2, 1).replace("add", "_void"), r#"400 "commands[1].command: "#),
        (item("2", 2, 1).replace("counter", "_batch"), r#"400 "commands[1].aggregate: "#),
        (item("2", 2, 1).replace("data", "date"), r#"400 "commands[1]: unknown field `date`"#),
        (item("2", 2, 1).replace("command-", "c"), r#"400 "commands[1].id: "#),
        ("7".into(), r#"400 "commands[1]: "#),
        (item("2", 2, 1).replace("add", "panic").replace(r#""amount":1"#, ""), r#"500 "commands[1]: "#),
    ] {
        let refused = outcome(&mut rig, atomic(&[item("1", 1, 1), second]));
        assert!(refused.starts_with(told), "{refused} and not {told}");
    }
    let check_alone = outcome(&mut rig, each(&[check("1", 0)]));
    assert!(check_alone.starts_with(r#"400 "commands[0].check: "#), "{check_alone}");
    assert!(outcome(&mut rig, atomic(&[check("1", 0)])).starts_with("400 "), "nothing but checks");
    let both = check("1", 0).replacen('{', r#"{"expected_version":3,"#, 1);
    let told = outcome(&mut rig, atomic(&[item("1", 1, 1), both]));
    assert!(told.starts_with(r#"400 "commands[1].check: "#), "{told}");
    assert_eq!(rig.commits.len(), 0);
}

#[test]
fn as_many_items_as_are_allowed_and_no_more() {
    for (atomic, max) in [(false, BATCH_ITEMS_MAX), (true, ATOMIC_COMMANDS_MAX)] {
        let mut rig = Rig::new();
        let mut items: Vec<_> = (0..max as u64).map(|number| item("1", number, 0)).collect();
        assert!(outcome(&mut rig, batch_as(9_000, atomic, &items)).starts_with("200@"));
        assert!(rig.commits.len() <= 1_000, "one atomic publish takes no more");
        items.push(item("1", 8_000, 0));
        assert!(outcome(&mut rig, batch_as(9_001, atomic, &items)).starts_with(r#"400 "commands: "#));
        assert!(outcome(&mut rig, batch_as(9_001, atomic, &[])).starts_with(r#"400 "commands: "#));
    }
}

#[test]
fn a_reply_that_would_be_too_large_leaves_its_events_out() {
    let mut rig = Rig::new();
    let fill = |number| item("1", number, 300_000).replace("add", "fill").replace("amount", "bytes");
    let items = [fill(1), fill(2), fill(3), fill(4)];
    let effects = all(&mut rig, atomic(&items));
    let Some(Effect::Reply(answer)) = effects.iter().find(|effect| matches!(effect, Effect::Reply(_))) else {
        panic!()
    };
    let reply: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&reply["events_omitted"], &reply["items"][3]["version"]), (&Value::Bool(true), &4.into()));
    assert!(reply["items"][0].get("events").is_none());
    assert_eq!(tell_items(answer), "200@2, 200@3, 200@4, 200@5");
}

#[test]
fn a_batch_must_not_ask_for_more_than_memory_holds() {
    let fill = |number| item("1", number, 500_000).replace("add", "fill").replace("amount", "bytes");
    let items: Vec<_> = (0..40).map(fill).collect();
    let mut rig = Rig::new();
    let told = outcome(&mut rig, each(&items));
    assert!(told.contains("200@17") && told.ends_with("503 unavailable"), "{told}");
    let told = outcome(&mut rig, each(&items));
    assert!(told.contains("200@34") && told.ends_with("503 unavailable"), "what is known takes no room: {told}");
    let told = outcome(&mut rig, each(&items));
    assert!(told.ends_with("200@40"), "{told}");
    let told = outcome(&mut rig, batch_as(901, true, &(50..90).map(fill).collect::<Vec<_>>()));
    assert!(told.contains("409 outcome_too_large"), "{told}");
    let complain = |number| {
        let complaint = r#""lines":200000,"bells":0"#;
        item("1", number, 0).replace("add", "complain").replace(r#""amount":0"#, complaint)
    };
    let told = outcome(&mut rig, batch_as(902, true, &(100..140).map(complain).collect::<Vec<_>>()));
    assert!(told.starts_with("409 complaint") && told.contains("409 outcome_too_large@120"), "{told}");
}

#[test]
fn a_panicking_item_is_told_and_the_batch_put_aside_while_its_neighbours_are_served() {
    let mut rig = Rig::new();
    let items =
        [item("1", 1, 1), item("2", 2, 1).replace("add", "panic").replace(r#""amount":1"#, ""), item("1", 3, 1)];
    let effects = all(&mut rig, each(&items));
    assert_eq!(replies(&effects), "200@1, 500 decide_panicked, 200@2");
    assert!(told(&effects).contains(&format!("quarantine {BATCH}")), "{effects:?}");
}

#[test]
fn without_a_reply_address_nothing_gets_lost() {
    let mut rig = Rig::new();
    let quiet = |atomic, items: &[String]| batch_as(BATCH, atomic, items).without(header::REPLY_TO);
    let fine = all(&mut rig, quiet(false, &[item("1", 1, 1)]));
    assert!(told(&fine).contains(&format!("ack {BATCH}")));
    let wrong = rig.decide(vec![quiet(false, &[item("1", 2, 1).replace("add", "fly")])]);
    assert_eq!(told(&wrong), [format!("quarantine {BATCH}")]);
    rig.on(Input::ClockChecked(Err("the clock is wrong".into())));
    assert_eq!(told(&rig.decide(vec![quiet(false, &[item("1", 3, 1)])])), [""; 0], "it comes again");
    assert_eq!(told(&rig.decide(vec![quiet(true, &[item("1", 3, 1)])])), [""; 0]);
}

#[test]
fn a_void_settles_a_batch_and_shows_it() {
    let mut rig = Rig::new();
    let void = |number, of| Delivery {
        subject: "work.0.alice._batch.1._void".into(),
        headers: vec![
            (header::ID, id(number).to_string()),
            (header::VOID, id(of).to_string()),
            (header::REPLY_TO, format!("_INBOX.alice.{number}")),
        ],
        body: Bytes::new(),
        stored_at: second(0),
        ticket: Ticket(number.to_string()),
    };
    let items = [item("1", 1, 1)];
    assert_eq!(outcome(&mut rig, void(800, BATCH)), r#"410 "its sender gave this id up before it was decided""#);
    assert!(outcome(&mut rig, atomic(&items)).starts_with("410 "), "for every later copy");
    assert_eq!(outcome(&mut rig, batch_as(901, true, &items)), "200@3");
    assert_eq!(outcome(&mut rig, void(801, 901)), "200@3 (replayed)");
    let unknown =
        outcome(&mut rig, Delivery { subject: "work.0.alice._batch.1.fly".into(), ..batch_as(902, true, &items) });
    assert!(unknown.starts_with("404 "), "{unknown}");
}

#[test]
fn who_waits_for_a_batch_or_its_items_is_told() {
    let mut rig = Rig::new();
    let ask = |number: u64, aggregate: AggregateId, content| Ask::Outcome {
        identity: identity("1", number),
        aggregate,
        content,
        wait_until: Some(second(9)),
    };
    let of_batch = AggregateId { kind: AggregateType::parse("_batch").unwrap(), ..counter("1") };
    let delivery = atomic(&[item("1", 1, 1)]);
    let content = |body| Some(Content { name: CommandName::run(), expected: None, data: body });
    for effects in [
        rig.ask(ask(1, counter("1"), None)),
        rig.ask(ask(BATCH, of_batch.clone(), content(delivery.body.clone()))),
        rig.ask(ask(BATCH, of_batch, content(atomic(&[item("1", 2, 1)]).body))),
    ] {
        if let [Effect::Load(..)] = &effects[..] {
            let loaded = rig.answer(&effects, 0);
            rig.on(loaded);
        }
    }
    let effects = all(&mut rig, delivery);
    let mut told: Vec<_> = replies(&effects).split(" | ").map(str::to_owned).collect();
    told.sort();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(&told[..3], ["200 null", "200@2", "200@2 (replayed)"]);
    assert!(told[3].starts_with("422 "), "the other content is not what was recorded: {told:?}");
}

#[test]
fn an_item_of_another_partition_is_refused() {
    let mut rig = Rig::new();
    let two = PartitionNumber { number: 0, of: 2 };
    rig.processor = Processor::new(service(), two, Tip::empty(STORE), Newest::default());
    let keys: Vec<String> = (0..).map(|key: u64| key.to_string()).take(20).collect();
    let of = |owned| keys.iter().find(|key| two.owns(&Key::parse(key).unwrap()) == owned).unwrap();
    let items = [item(of(true), 1, 1), item(of(false), 2, 1)];
    assert_eq!(outcome(&mut rig, each(&items)), "200@1, 421 other_partition");
    let told = outcome(&mut rig, atomic(&[item(of(true), 3, 1), item(of(false), 4, 1)]));
    assert!(told.starts_with(r#"421 "commands[1]: "#), "{told}");
}
