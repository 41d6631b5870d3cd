//! `hapax why`: commits of one trace name each other, and a point says which commit is meant.

use std::fs;

use bytes::Bytes;
use hapax::serve::DataDir;
use hapax::store::EventStore;
use hapax::store::file::FileStore;
use hapax::{ChainHash, Commit};
use serde_json::Value;

use crate::common::shown::assert_shown;
use crate::hapax::{Transcript, code, run, stderr, stdout};
use crate::reading::{SHOP, imported, rewritten};

/// A commit whose sender handed on a trace, in a step of its own.
fn traced(commit: &str, trace: &str, step: &str) -> String {
    let member = format!(r#""traceparent":"00-{trace}-{step}-01","data":"#);
    commit.replacen(r#""data":"#, &member, 1)
}

const CHECKOUT: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// One checkout: the order is placed, then a part of it paid; each call of the sender is a step of its own. Nothing but the
/// trace joins the two, and the opening of an account has another one.
#[test]
fn commits_of_one_trace_name_each_other() {
    let (_export, file) = rewritten(|commit| match commit {
        commit if commit.contains("2026-order-ann-001") => traced(commit, CHECKOUT, "b7ad6b7169203331"),
        commit if commit.contains("2026-pay-ann-00001") => traced(commit, CHECKOUT, "00f067aa0ba902b7"),
        commit if commit.contains("2026-open-bob-0001") => traced(commit, OTHER, "00f067aa0ba902b7"),
        commit => commit.to_owned(),
    });
    let (_folder, data) = imported(&file);
    let mut say = Transcript::new("nats://127.0.0.1:1");
    say.ask(&["why", "2026-pay-ann-00001", "--data", &data]);
    let related = |what: &str| {
        let output = run(&["why", what, "--json", "--data", &data]);
        serde_json::from_str::<Value>(stdout(&output)).unwrap()["related"].to_string()
    };
    assert_eq!(related("@5"), r#"[{"partition":0,"position":6}]"#);
    assert_eq!(related("@6"), r#"[{"partition":0,"position":5}]"#);
    for alone in ["@4", "@7"] {
        assert_eq!(related(alone), "[]", "{alone}");
    }
    assert_shown("cli__trace", &say.text().replace(&data, "DATA"));
}

/// It was taken for a position that no store has.
#[test]
fn an_id_of_digits_is_an_id_whoever_it_is_of() {
    let (_export, file) = rewritten(|commit| commit.replace("2026-pay-ann-00001", "0123456789012345"));
    let (_folder, data) = imported(&file);
    for of in [&[][..], &["--of", "order/ann"]] {
        let said = run(&[&["why", "0123456789012345", "--data", &data], of].concat());
        assert!(stdout(&said).starts_with("position   6\n"), "{of:?}: {}{}", stdout(&said), stderr(&said));
    }
}

/// A trace may be long: the first commits of it are named, and that there are more.
#[test]
fn the_first_commits_of_a_long_trace_are_named() {
    let (_export, file) = rewritten(|commit| traced(commit, CHECKOUT, "b7ad6b7169203331"));
    let (_folder, data) = imported(&file);
    let said = run(&["why", "@2", "--data", &data]);
    let said = stdout(&said);
    assert_eq!(said.matches("also position ").count(), 10, "{said}");
    assert!(said.contains("also position 1: alice to account/ann: open"), "{said}");
    assert!(said.contains("also position 11: ") && said.contains("and more\n"), "{said}");
    let json: Value = serde_json::from_str(stdout(&run(&["why", "@2", "--json", "--data", &data]))).unwrap();
    assert_eq!((json["related"].as_array().unwrap().len(), &json["related_more"]), (10, &Value::Bool(true)));
}

/// A trace keeps to no partition, and neither does what is said of it.
#[test]
fn a_trace_leads_into_other_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open_or_create(&folder.path().join("data"), Some(2)).unwrap();
    let text = fs::read_to_string(SHOP).unwrap();
    let first = text.lines().nth(1).unwrap().split_once("\"commit\":").unwrap().1.strip_suffix('}').unwrap();
    for partition in 0..2 {
        let id = data.store_id(partition);
        let (mut store, _) = FileStore::open(&data.journal_dir(partition), id, None).unwrap();
        let json = Bytes::from(traced(first, CHECKOUT, "b7ad6b7169203331"));
        let hash = ChainHash::of_store(id.store).link(&json);
        store.append(vec![Commit::from_json(json, hash).unwrap()]);
    }
    data.begin(false).unwrap();
    let dir = folder.path().join("data").display().to_string();
    let said = run(&["why", "@1", "--partition", "0", "--data", &dir]);
    assert_eq!(code(&said), 0, "{}", stderr(&said));
    let (own, other) = ("position  1 of partition 0\n", "also position 1 of partition 1: alice to account/ann: open");
    assert!(stdout(&said).contains(own) && stdout(&said).contains(other), "{}", stdout(&said));
    // Each partition has its own order, so a time says no more than a position which commit is meant.
    for what in ["@1", "2026-11-28", "now"] {
        let which = run(&["why", what, "--data", &dir]);
        let asks = stderr(&which).contains("each partition has its own commits: say which one with --partition N");
        assert!(code(&which) == 2 && asks, "{what}: {}", stderr(&which));
    }
}
