//! Exported stores as texts that are compared.

use std::path::Path;

use hapax::replay::history::{HistoryError, histories};
use hapax::samples;

use crate::common::shown::{assert_shown, settings};
use crate::exported::exported;
use crate::till::{AS_IT_WAS, OTHER_EVENT, OTHER_FOLD, OTHER_RULE, service, story};

/// What the sample domain has decided is what it decides. A change of its rules is a red difference here.
#[test]
fn the_histories_of_the_sample_domain() {
    settings().bind(|| hapax::assert_histories!(samples::service(), "tests/histories"));
}

/// So that a production history may lie in a repository: it is decided again as it was, and nobody's name is in it.
#[test]
fn a_masked_history_is_decided_as_it_was_and_names_nobody() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let found = histories(samples::service(), &folder).unwrap();
    let text = |name| &found.iter().find(|history| history.name == name).unwrap().text;
    let (shop, masked) = (text("shop"), text("shop_masked"));
    assert!(!shop.contains("now ") && !masked.contains("now "), "{masked}");
    for name in ["account/ann", "account/bob", "alice", "\"ann\"", "lamp", "bulb", "T-1"] {
        assert!(shop.contains(name) && !masked.contains(name), "{name}: {masked}");
    }
    assert_eq!(shop.lines().count(), masked.lines().count());
}

fn told<const CODE: u8>() -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("till.jsonl"), exported(&story())).unwrap();
    let mut histories = histories(service::<CODE>(), folder.path()).unwrap();
    assert_eq!(histories.len(), 1);
    let history = histories.remove(0);
    assert_eq!(history.name, "till");
    history.text
}

#[test]
fn a_history_says_where_todays_code_decides_otherwise() {
    assert!(!told::<AS_IT_WAS>().contains("now "), "{}", told::<AS_IT_WAS>());
    assert_shown("history__another_rule", &told::<OTHER_RULE>());
}

#[test]
fn a_history_says_where_a_state_is_folded_otherwise() {
    let text = told::<OTHER_FOLD>();
    assert!(text.contains("till/1 v9: its events are folded into another state\n     total 80 -> -340\n"), "{text}");
    assert!(told::<OTHER_EVENT>().contains("     cannot be folded: till/1: evolve panicked at position 2"));
}

#[test]
fn a_folder_without_histories_is_no_test() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(histories(service::<AS_IT_WAS>(), folder.path()), Err(HistoryError::None(_))));
    std::fs::write(folder.path().join("cut.jsonl"), exported(&story()).lines().next().unwrap()).unwrap();
    let error = histories(service::<AS_IT_WAS>(), folder.path()).unwrap_err().to_string();
    assert!(error.contains("cut.jsonl: the file ends with line 1"), "{error}");
}
