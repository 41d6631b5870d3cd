//! Whatever the bytes are that come in or lie on the disk: no panic, no wrong answer. Good input, mutated. `tests/fuzz` goes on
//! from there with a fuzzer: `HAPAX_FUZZ_SEEDS` names a folder that the good input is written to. `HAPAX_DECODER_TIMES` says
//! how many times as many cases are tried here.

// The fuzzers' own, so that what they are made of is compiled here too.
#[path = "fuzz/common.rs"]
mod common;
#[path = "common/row.rs"]
#[allow(dead_code, reason = "each test binary uses its part of it")]
mod row;
#[path = "stores/commits.rs"]
#[allow(dead_code, reason = "each test binary uses its part of it")]
mod commits;
#[path = "decoders/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::pure::Pure;
use hapax::Service;
use hapax::index::{Index, SledIndex};
use hapax::model::{Commit, Entry};
use hapax::samples::Account;
use hapax::store::Tip;
use hapax::store::file::disk::OsDisk;
use hapax::store::file::journal::Journal;
use proptest::prelude::*;
use proptest::sample::Index as Place;
use proptest::test_runner::TestRunner;

use row::{Row, Verdict};
use targets::STORE;

/// A folder that the good inputs are written to, for the fuzzers to begin with.
const SEEDS: &str = "HAPAX_FUZZ_SEEDS";

/// Zeros behind a segment's frames that are left there. The last frames may end in zeros, so some more than those.
const ZEROS: usize = 256;

/// One step away from good input.
#[derive(Debug, Clone)]
enum Mutation {
    Flip(Place, u8),
    Set(Place, u8),
    Remove(Place, u8),
    Insert(Place, Vec<u8>),
    Repeat(Place, u8),
    Cut(Place),
    /// Another digit in place of one: still the same form.
    Digit(Place, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let telling = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        proptest::sample::select(vec![
            "\"",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\\u0000",
            "\\",
            "null",
            "-",
            "1e999",
            ".",
            "*",
            ">",
            "\n",
            "\r",
            "\0",
            " ",
            "\u{85}",
            "\u{feff}",
            "Hapax-Void: ",
            "Hapax-Expected-Version: ",
            "_void",
            "_batch",
            "18446744073709551616",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        (any::<Place>(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Place>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Place>(), 1..40_u8).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (any::<Place>(), telling).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Place>(), 1..40_u8).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        any::<Place>().prop_map(Mutation::Cut),
        (any::<Place>(), b'0'..=b'9').prop_map(|(at, digit)| Mutation::Digit(at, digit)),
    ]
}

fn mutated(good: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for mutation in mutations {
        let part = |at: &Place, length: u8| {
            let start = at.index(bytes.len() + 1);
            start..(start + usize::from(length)).min(bytes.len())
        };
        match mutation {
            Mutation::Flip(at, _) | Mutation::Set(at, _) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = match mutation {
                    Mutation::Flip(_, bit) => bytes[at] ^ (1 << bit),
                    Mutation::Set(_, byte) => *byte,
                    _ => unreachable!("only these two are matched"),
                };
            }
            Mutation::Flip(..) | Mutation::Set(..) => {}
            Mutation::Remove(at, length) => drop(bytes.drain(part(at, *length))),
            Mutation::Insert(at, more) => {
                let at = at.index(bytes.len() + 1);
                drop(bytes.splice(at..at, more.iter().copied()));
            }
            Mutation::Repeat(at, length) => {
                let part = part(at, *length);
                let again = bytes[part.clone()].to_vec();
                drop(bytes.splice(part.end..part.end, again));
            }
            Mutation::Digit(which, digit) => {
                let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    bytes[*which.get(&digits)] = *digit;
                }
            }
            Mutation::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
        }
    }
    bytes
}

/// Tries mutations of each of the good inputs, and the inputs themselves. `name` is what the fuzzer of the same target has.
fn try_all(name: &str, cases: u32, good: &[Vec<u8>], target: impl Fn(&[u8])) {
    if let Some(folder) = std::env::var_os(SEEDS) {
        give_seeds(&Path::new(&folder).join(name), good);
    }
    good.iter().for_each(|bytes| target(bytes));
    let cases = cases * std::env::var("HAPAX_DECODER_TIMES").map_or(1, |number| number.parse::<u32>().unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let input = (any::<Place>(), proptest::collection::vec(mutation(), 1..6));
    let tried = TestRunner::new(config).run(&input, |(which, mutations)| {
        target(&mutated(which.get::<Vec<u8>>(good), &mutations));
        Ok(())
    });
    let complaints = tried.err().iter().map(ToString::to_string).collect();
    Row::whole(&format!("decoders: {name}, mutated"), cases as usize, &Verdict { complaints, lost: 0 });
}

/// What a fuzzer begins with.
fn give_seeds(folder: &Path, good: &[Vec<u8>]) {
    fs::create_dir_all(folder).unwrap();
    for (number, bytes) in good.iter().enumerate() {
        fs::write(folder.join(number.to_string()), bytes).unwrap();
    }
}

/// A vector of the contract as `targets::envelope` reads it.
fn envelopes() -> Vec<Vec<u8>> {
    let lines = include_str!("vectors/contract.jsonl").lines();
    let vectors = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let envelope = |vector: serde_json::Value| {
        let send = vector.get("send")?;
        let subject = send.get("subject")?.as_str()?.strip_prefix("cmd.")?.to_owned();
        let headers = send.get("headers").and_then(|headers| headers.as_array().cloned()).unwrap_or_default();
        let headers: String = headers
            .iter()
            .filter_map(|pair| Some(format!("\n{}: {}", pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)))
            .collect();
        let body = send.get("body").and_then(|body| body.as_str()).unwrap_or_default();
        Some(format!("{subject}{headers}\n\n{body}").into_bytes())
    };
    vectors.filter_map(envelope).filter(|envelope| envelope.len() < 4_096).collect()
}

#[test]
fn envelope() {
    let good = envelopes();
    assert!(good.len() > 50, "{} vectors are left", good.len());
    try_all("envelope", 20_000, &good, targets::envelope);
}

#[test]
fn body() {
    let good = [
        r#"{"amount":100}"#,
        r#" { "a" : [1, 2.50, -0e5, "\u00e9\n", {"b": null}] , "é": true } "#,
        r#"{"a":"say \"no  way\" \\ now"}"#,
        "",
        "{}",
    ];
    try_all("body", 40_000, &good.map(|text| text.as_bytes().to_vec()), targets::body);
}

#[test]
fn batch() {
    let item = |number: u64, key: u64, name: &str, data: &str| {
        let id = format!("command-{number:08}");
        format!(r#"{{"id":"{id}","aggregate":"account","key":"{key}","command":"{name}","data":{data}}}"#)
    };
    let open = |number, key| item(number, key, "open", r#"{"owner":"ann"}"#);
    let deposit = item(3, 1, "deposit", r#"{"amount":5}"#);
    let check = r#"{"check":{"aggregate":"account","key":"3","version":0}}"#;
    let good = [
        format!(r#"{{"atomic":false,"commands":[{},{},{deposit}]}}"#, open(1, 1), open(2, 2)),
        format!(r#"{{"atomic":true,"commands":[{},{check},{deposit},{}]}}"#, open(1, 1), open(2, 2)),
        format!(r#"{{"atomic":true,"commands":[{},{deposit},{}]}}"#, open(1, 1), item(4, 1, "close", "{}")),
        r#"{"commands":2,"checks":[{"at":0,"aggregate":"account","key":"3","version":0,"actual":1}]}"#.to_owned(),
    ];
    try_all("batch", 10_000, &good.map(String::into_bytes), targets::batch);
}

#[test]
fn commit() {
    let mut pure = Pure::new(Service::new().with::<Account>());
    for (number, command) in
        [r#"open {"owner":"ann"}"#, r#"deposit {"amount":5}"#, r#"withdraw {"amount":9}"#].iter().enumerate()
    {
        let (name, body) = command.split_once(' ').unwrap();
        let id = ("Nats-Msg-Id".to_owned(), format!("command-{number:08}"));
        pure.publish(0, &format!("cmd.alice.account.42.{name}"), &[id], body.into(), false);
        pure.settle();
    }
    let item = r#"{"id":"command-00000009","aggregate":"account","key":"42","command":"close"}"#;
    let batch = format!(r#"{{"atomic":true,"commands":[{item}]}}"#);
    let id = ("Nats-Msg-Id".to_owned(), "command-of-batch".to_owned());
    pure.publish(0, "cmd.alice._batch.42.run", &[id], batch.into(), false);
    pure.settle();
    let good: Vec<Vec<u8>> = pure.commits().iter().map(|commit| commit.json().to_vec()).collect();
    assert_eq!(good.len(), 5);
    try_all("commit", 40_000, &good, targets::commit);
}

#[test]
fn reply() {
    let good = [
        r#"{"id":"0198f000-0000-7000-8000-000000000001","status":"accepted","code":200,"aggregate":"account","key":"42","version":3,"position":1207,"decided_at":"2026-11-24T20:15:01.123456Z","events":[{"type":"deposited","schema":1,"data":{"amount":100}}]}"#,
        r#"{"id":"0198f000-0000-7000-8000-000000000001","status":"rejected","code":409,"aggregate":"account","key":"42","version":3,"position":1208,"decided_at":"2026-11-24T20:15:01.123456Z","retry":{"with":"new_id"},"error":{"reason":"insufficient_funds","message":"balance 20 is less than 100","details":{"balance":20}}}"#,
        r#"{"id":"0198f000-0000-7000-8000-000000000001","status":"refused","code":503,"retry":{"with":"same_id","after_ms":250},"error":{"reason":"unavailable","message":"…"}}"#,
        r#"{"status":"unknown","as_of":7,"after_ms":250}"#,
    ];
    try_all("reply", 40_000, &good.map(|text| text.as_bytes().to_vec()), targets::reply);
}

/// A segment of three writes, the last one an atomic batch, whose frames and last marker say that all of it is durable. Of
/// the zeros behind it there are a few only: they are all alike, and each is a case.
fn segment() -> (Vec<u8>, Vec<Commit>) {
    let dir = tempfile::tempdir().unwrap();
    let mut commits = commits::following(Tip::empty(STORE), 4, 40);
    commits.push(commits::commit(Tip::of(&commits[3]), "_batch", "run", r#"{"commands":1}"#.to_owned()));
    commits.extend(commits::following(Tip::of(&commits[4]), 1, 40));
    let mut journal = Journal::open(Arc::new(OsDisk), dir.path(), STORE, None, u64::MAX).unwrap();
    for group in commits.chunks(2) {
        journal.append(group).unwrap();
        journal.sync().unwrap();
    }
    journal.state_synced().unwrap();
    let mut bytes = fs::read(dir.path().join(format!("{:020}.log", 1))).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end + ZEROS);
    (bytes, commits)
}

/// Whatever happens to it, it is opened whole or not at all; and no single bit that falls makes a durable commit look like
/// a torn tail.
#[test]
fn segments() {
    let (good, commits) = segment();
    try_all("segment", 4_000, std::slice::from_ref(&good), |bytes| targets::segment(bytes, None));
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        targets::segment(&bytes, Some(&commits));
    }
    Row::whole("decoders: segment, a bit of each byte flipped", good.len(), &Verdict::default());
}

#[test]
fn checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let commits = commits::following(Tip::empty(STORE), 6, 40);
    let index = SledIndex::open(dir.path(), STORE).unwrap().index;
    index.note(&commits.iter().map(Entry::of).collect::<Vec<_>>()).unwrap();
    let last = commits.last().unwrap();
    index.checkpoint(last.position, last.hash).unwrap();
    drop(index);
    let (_, written) = SledIndex::open_as_it_is(dir.path(), STORE).unwrap().unwrap();
    let good = fs::read(dir.path().join("checkpoint.json")).unwrap();
    try_all("checkpoint", 200, &[good], |bytes| targets::checkpoint(bytes, Some(&written)));
}
