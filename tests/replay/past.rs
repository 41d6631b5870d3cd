//! What was, at some point; and what caused it.

use hapax::model::difference::difference;
use hapax::replay::cause::{Batch, cause, with_id};
use hapax::replay::past::{self, PastError};
use hapax::replay::{Selection, commits};
use hapax::store::EventStore;
use hapax::store::memory::{MemoryReader, MemoryStore};
use hapax::{AggregateType, At, CommandId, Position, Principal, Timestamp, Version};

use crate::common::pure::STORE;
use crate::till::{AS_IT_WAS, service, story};

fn reader() -> MemoryReader {
    let mut store = MemoryStore::new(STORE);
    store.append(story());
    store.reader()
}

fn at(number: u64) -> At {
    At::Position(Position::new(number).unwrap())
}

/// The state of `till/1` at some point, with version and position.
fn state(at: At) -> Result<String, String> {
    let answer = past::answer(&reader(), &service::<AS_IT_WAS>(), &"till/1".parse().unwrap(), at);
    answer.map(|json| String::from_utf8(json.to_vec()).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn a_state_at_a_version_a_position_and_a_time() {
    let expected = |version, position: &str, total| {
        let owner = if version == 0 { "" } else { "ann" };
        Ok(format!(
            r#"{{"aggregate":"till","key":"1","version":{version},"position":{position},"state":{{"owner":"{owner}","total":{total}}}}}"#
        ))
    };
    assert_eq!(state(At::Version(Version(0))), expected(0, "null", 0));
    assert_eq!(state(At::Version(Version(2))), expected(2, "2", 500));
    assert_eq!(state(At::Version(Version(3))), expected(3, "3", 300));
    assert_eq!(state(at(3)), expected(3, "3", 300));
    assert_eq!(state(at(5)), expected(3, "3", 300), "what was rejected changes nothing");
    // Three events of one commit: there is no version in the middle of it.
    assert_eq!(state(At::Version(Version(6))), expected(4, "6", 299));
    assert_eq!(state(At::Version(Version(7))), expected(7, "11", 239));
    let led_to = |version| {
        let commit = past::change_to(&reader(), &"till/1".parse().unwrap(), Version(version)).unwrap();
        commit.map(|commit| (commit.version_before().0, commit.version.0))
    };
    assert_eq!([3, 4, 5, 6, 7].map(led_to), [Some((2, 3)), Some((3, 4)), Some((4, 7)), Some((4, 7)), Some((4, 7))]);
    assert_eq!(led_to(0), None);
    assert_eq!(state(At::Now), expected(9, "15", 80));
    let time = story()[2].decided_at;
    assert_eq!(state(At::Time(time)), expected(3, "3", 300));
    assert_eq!(state(At::Time(Timestamp::EPOCH)), expected(0, "null", 0));
    assert_eq!(state(at(22)), Err("there is no position 22 yet, the last is 21".into()));
    assert_eq!(state(At::Version(Version(10))), Err("there is no version 10 yet, the last is 9".into()));
    let foreign = past::state(&reader(), &service::<AS_IT_WAS>(), &"order/1".parse().unwrap(), At::Now);
    assert!(matches!(foreign, Err(PastError::NotServed { .. })));
}

#[test]
fn a_difference_names_members() {
    let lines = difference(br#"{"a":1,"b":{"c":[1],"d":2},"e":null}"#, br#"{"a":2,"b":{"c":[1,2],"d":2},"f":"x"}"#);
    assert_eq!(lines, ["a 1 -> 2", "b.c[1] none -> 2", "e null -> none", "f none -> \"x\""]);
    assert_eq!(difference(br#"{"a":1,"b":2}"#, br#"{"b":2,"a":1}"#), [""; 0]);
    assert_eq!(difference(b"1", b"2"), ["state 1 -> 2"]);
}

fn chosen(change: impl FnOnce(&mut Selection)) -> Vec<u64> {
    let mut selection = Selection::default();
    change(&mut selection);
    commits(&reader(), &selection, |_| ()).map(|commit| commit.unwrap().position.get()).collect()
}

#[test]
fn a_selection_may_be_narrowed_by_everything() {
    let all: Vec<u64> = (1..=21).collect();
    assert_eq!(chosen(|_| ()), all);
    assert_eq!(chosen(|wanted| wanted.kind = Some(AggregateType::parse("account").unwrap())), [21]);
    assert_eq!(chosen(|wanted| wanted.event = Some("taken".into())), [3, 6, 11, 13, 15]);
    assert_eq!(chosen(|wanted| wanted.principal = Some(Principal::parse("bob").unwrap())), [3, 4, 5, 6, 7, 8]);
    assert_eq!(chosen(|wanted| wanted.id = Some(CommandId::parse("---------------9").unwrap())), [9]);
    let version = |number| Some(At::Version(Version(number)));
    let of_till = |change: fn(&mut Selection)| {
        chosen(|wanted| {
            wanted.aggregate = Some("till/1".parse().unwrap());
            change(wanted);
        })
    };
    assert_eq!(of_till(|wanted| wanted.upto = Some(At::Version(Version(2)))), [1, 2]);
    assert_eq!(of_till(|wanted| wanted.from = Some(At::Version(Version(8)))), [13, 15, 18]);
    assert_eq!(chosen(|wanted| (wanted.from, wanted.upto) = (version(3), version(3))), [3, 4, 5]);
    // Times, in whatever mixture with positions; every commit of the story has its own.
    let time = |position: usize| Some(At::Time(story()[position - 1].decided_at));
    assert_eq!(chosen(|wanted| (wanted.from, wanted.upto) = (time(4), time(6))), [4, 5, 6]);
    assert_eq!(chosen(|wanted| (wanted.from, wanted.upto) = (Some(at(20)), Some(At::Now))), [20, 21]);
    assert_eq!(chosen(|wanted| wanted.from = Some(At::Now)), [0; 0]);
    assert_eq!(chosen(|wanted| wanted.upto = Some(At::Time(Timestamp::EPOCH))), [0; 0]);
}

/// Nothing behind the last wanted position is read, and nothing before the first.
#[test]
fn a_range_reads_what_is_in_it() {
    let mut seen = Vec::new();
    let selection =
        Selection { from: Some(At::Time(story()[8].decided_at)), upto: Some(at(11)), ..Selection::default() };
    let count = commits(&reader(), &selection, |position| seen.push(position.get())).count();
    assert_eq!((count, seen), (3, vec![9, 10, 11, 12]));
}

#[test]
fn a_cause_names_what_was_before_and_what_belongs_to_it() {
    let (reader, service) = (reader(), service::<AS_IT_WAS>());
    let cause = |position: usize| cause(&reader, &service, story()[position - 1].clone()).unwrap();
    let taken = cause(15);
    let (before, after) = taken.states.unwrap();
    assert_eq!(difference(&before, &after), ["total 230 -> 80"]);
    assert_eq!(taken.previous.unwrap().position.get(), 13);
    let group =
        |position: usize| cause(position).batch.map(|Batch { head, last, .. }| (head.position.get(), last.get()));
    assert_eq!(
        [12, 13, 14, 15, 16, 17, 18, 19, 20, 21].map(group),
        [
            None,
            None,
            Some((14, 16)),
            Some((14, 16)),
            Some((14, 16)),
            Some((17, 19)),
            Some((17, 19)),
            Some((17, 19)),
            None,
            None
        ]
    );
    let rejected_for =
        |position: usize| cause(position).batch.and_then(|batch| Some(batch.rejected_for?.position.get()));
    assert_eq!([14, 15, 16, 17, 18, 19].map(rejected_for), [None, None, None, Some(18), Some(18), Some(18)]);
    let first = cause(1);
    assert!(first.previous.is_none());
    let (before, after) = first.states.unwrap();
    assert_eq!(difference(&before, &after), [r#"owner "" -> "ann""#]);
    let (before, after) = cause(4).states.unwrap();
    assert_eq!(before, after, "it was rejected");
    let found = with_id(&reader, &CommandId::parse("---given-up-batch").unwrap()).unwrap();
    assert_eq!(found.iter().map(|commit| commit.position.get()).collect::<Vec<_>>(), [20]);
}
