//! A store as lines: what comes back is what went out, and what was changed on the way is found. And pseudonyms.

use std::sync::Arc;

use hapax::model::partition::partition_of;
use hapax::replay::export::{Export, ExportError, Header, ImportError, Item, write_masked, write_partition};
use hapax::replay::mask::{Mask, Masker};
use hapax::replay::redecide::Redecider;
use hapax::replay::verify::Checks;
use hapax::store::memory::MemoryStore;
use hapax::store::{EventStore, StoreId};
use hapax::{AggregateId, Commit, Key, Service, Snapshot};

use crate::common::pure::STORE;
use crate::till::{AS_IT_WAS, Desk, OTHER_FOLD, RAISED_FOLD, service, story};

fn store(commits: &[Commit]) -> MemoryStore {
    let mut store = MemoryStore::new(STORE);
    store.append(commits.to_vec());
    store
}

pub(crate) fn exported(commits: &[Commit]) -> String {
    let mut out = Vec::new();
    Header::new(STORE.store, 1, false).write(&mut out).unwrap();
    write_partition(&mut out, STORE, &store(commits).reader(), &Arc::new(service::<AS_IT_WAS>()), || ()).unwrap();
    String::from_utf8(out).unwrap()
}

fn mask(settings: &str) -> Mask {
    let mask: Mask = toml::from_str(&format!("salt = \"a salt of a test\"\n{settings}")).unwrap();
    mask.check().unwrap();
    mask
}

fn masked(commits: &[Commit], settings: &str) -> String {
    try_to_mask(commits, settings).unwrap()
}

fn try_to_mask(commits: &[Commit], settings: &str) -> Result<String, ExportError> {
    let mask = mask(settings);
    let id = StoreId { store: mask.store(STORE.store), ..STORE };
    let mut out = Vec::new();
    Header::new(id.store, 1, true).write(&mut out).unwrap();
    let mut unmatched = mask.unmatched();
    let masker = Masker::new(&mask, &mut unmatched, Arc::new(service::<AS_IT_WAS>()), id);
    write_masked(&mut out, id, &store(commits).reader(), masker, || ())?;
    Ok(String::from_utf8(out).unwrap())
}

/// Commits, states, and which store it is.
type Imported = (Vec<Commit>, Vec<(AggregateId, Snapshot)>, StoreId);

fn imported(text: &str) -> Result<Imported, ImportError> {
    let mut export = Export::open(text.as_bytes())?;
    let id = export.header().store_id(0);
    let (mut commits, mut states) = (Vec::new(), Vec::new());
    while let Some((_, item)) = export.read_next()? {
        match item {
            Item::Commit(commit) => commits.push(*commit),
            Item::State(aggregate, snapshot) => states.push((aggregate, snapshot)),
            Item::End => {}
        }
    }
    Ok((commits, states, id))
}

#[test]
fn what_comes_back_is_what_went_out() {
    let before = story();
    let (commits, states, id) = imported(&exported(&before)).unwrap();
    assert_eq!(id, STORE);
    assert_eq!(commits.len(), before.len());
    for (left, right) in before.iter().zip(&commits) {
        assert_eq!((left.json(), left.hash, left.outcome_json()), (right.json(), right.hash, right.outcome_json()));
    }
    let states: Vec<_> = states.iter().map(|(of, state)| format!("{of} v{}", state.version)).collect();
    assert_eq!(states, ["account/1 v1", "till/1 v9", "till/2 v2"]);
}

#[test]
fn what_was_changed_on_the_way_is_found() {
    let text = exported(&story());
    let lines: Vec<&str> = text.lines().collect();
    let wrong = |lines: &[&str]| imported(&lines.join("\n")).unwrap_err().to_string();
    assert_eq!(
        wrong(&lines[..9]),
        "the file ends with line 9, before the end of partition 0: it was cut off; export again, or copy it again"
    );
    let without = [&lines[..5], &lines[6..]].concat();
    assert_eq!(
        wrong(&without),
        "line 6: the chain hash does not follow from the commit before; the file was changed since it was written: export \
         again, or take an unchanged copy"
    );
    let one = lines[3].replace(r#"{"amount":200}"#, r#"{"amount":201}"#);
    let changed = [&lines[..3], &[one.as_str()], &lines[4..]].concat();
    assert!(wrong(&changed).contains("the chain hash does not follow"), "{}", wrong(&changed));
    let other_end = text.replace(r#""end":{"position":21"#, r#""end":{"position":20"#);
    assert!(imported(&other_end).unwrap_err().to_string().contains("ends with another commit"));
    let swapped = [&lines[..1], &lines[2..3], &lines[1..2], &lines[3..]].concat();
    assert!(wrong(&swapped).starts_with("line 2: "), "{}", wrong(&swapped));
    assert!(matches!(imported("{}\n"), Err(ImportError::Header(_))));
    assert!(matches!(imported(&text.replacen(":1,", ":2,", 1)), Err(ImportError::Format(2))));
    let member = lines[1].replacen('{', r#"{"more":1,"#, 1);
    assert!(matches!(imported(&[lines[0], &member].join("\n")), Err(ImportError::Line { line: 2, .. })));
}

/// The commits are there all the same.
#[test]
fn what_has_no_state_is_told() {
    let (mut out, store) = (Vec::new(), store(&story()));
    let service = Arc::new(Service::new());
    let untold = write_partition(&mut out, STORE, &store.reader(), &service, || ()).unwrap();
    assert_eq!(untold, ["account is not served", "till is not served"]);
    let mask = mask("ids = true");
    let mut unmatched = mask.unmatched();
    let masker = Masker::new(&mask, &mut unmatched, service, STORE);
    assert_eq!(write_masked(&mut out, STORE, &store.reader(), masker, || ()).unwrap(), untold);
    let lines = String::from_utf8(out).unwrap();
    assert_eq!((lines.matches("\"commit\":").count(), lines.matches("\"state\":").count()), (2 * 21, 0));
}

/// Which of the exported states other code does not fold; `None`: nothing is said.
fn disagreements<const CODE: u8>() -> Vec<(String, Option<bool>)> {
    let (commits, states, _) = imported(&exported(&story())).unwrap();
    let mut redecider = Redecider::new(Arc::new(service::<CODE>()), STORE);
    for commit in commits {
        redecider.decide(commit).unwrap();
    }
    let agrees = |(of, state): &(AggregateId, Snapshot)| (of.to_string(), redecider.states().agrees(of, state));
    states.iter().map(agrees).collect()
}

/// Re-deciding alone finds a changed `evolve` only where it leads to another decision.
#[test]
fn a_state_that_is_folded_otherwise_is_found() {
    let said = |first, second, third| {
        [("account/1", first), ("till/1", second), ("till/2", third)].map(|(of, said)| (of.to_owned(), said))
    };
    assert_eq!(disagreements::<AS_IT_WAS>(), said(Some(true), Some(true), Some(true)));
    assert_eq!(disagreements::<OTHER_FOLD>(), said(Some(true), Some(false), Some(true)));
    assert_eq!(disagreements::<RAISED_FOLD>(), said(Some(true), None, None));
}

const ALL: &str = "principals = true\nids = true\nkeys = [\"till\"]\nfields = [\"owner\"]";

#[test]
fn nothing_that_is_masked_is_left_and_it_is_still_a_history() {
    let mut desk = Desk::new(service::<AS_IT_WAS>());
    let commits = {
        desk.send("ann.till.greta.open", "order-of-greta", r#"{"owner":"greta"}"#);
        desk.send("ann.till.greta.put", "2", r#"{"amount":70}"#);
        desk.send("ann.till.greta.take", "3", r#"{"amount":90}"#);
        desk.send("bob.till.otto.open", "4", r#"{"owner":"greta"}"#);
        let moved = [
            crate::till::check("greta", 2),
            crate::till::item("5", "till", "greta", "take", r#"{"amount":70}"#),
            crate::till::item("6", "till", "otto", "put", r#"{"amount":70}"#),
        ];
        desk.send("ann._batch.greta.run", "all", &crate::till::batch(true, &moved));
        desk.commits()
    };
    let text = masked(&commits, ALL);
    for name in ["greta", "otto", "ann", "bob", "order-of", "-------2"] {
        assert!(!text.contains(name), "{name} is in {text}");
    }
    assert!(text.starts_with(r#"{"hapax_export":1,"#) && text.lines().next().unwrap().contains(r#""masked":true"#));
    let (commits, states, id) = imported(&text).unwrap();
    assert_ne!(id.store, STORE.store);
    let mut checks = Checks::new(id);
    let mut redecider = Redecider::new(Arc::new(service::<AS_IT_WAS>()), id);
    for commit in &commits {
        checks.check(commit).unwrap();
        for redecided in redecider.decide(commit.clone()).unwrap() {
            assert!(redecided.now.is_none(), "{redecided:?}");
        }
    }
    // The same value has the same pseudonym, be it a key, or an owner in a state, or in the words of a rejection.
    let greta = commits[0].command.aggregate.key.to_string();
    assert_eq!(commits[0].command.data, format!(r#"{{"owner":"{greta}"}}"#));
    assert!(String::from_utf8_lossy(commits[2].outcome_json()).contains(&format!("\"{greta} has 70, not 90\"")));
    assert!(states.iter().all(|(_, state)| String::from_utf8_lossy(&state.state).contains(&greta)));
    // Another salt, other pseudonyms; the same salt, the same.
    assert_eq!(text, masked(&desk.commits(), ALL));
}

#[test]
fn what_is_not_named_stays_as_it_is() {
    let before = story();
    let (commits, ..) = imported(&masked(&before, "fields = [\"amount\"]")).unwrap();
    let amounts =
        |commit: &Commit| serde_json::from_slice::<serde_json::Value>(&commit.command.data).unwrap()["amount"].clone();
    let put = amounts(&commits[1]).as_i64().unwrap();
    assert!((1..=500).contains(&put) && put != 500, "{put}");
    for (left, right) in before.iter().zip(&commits) {
        assert_eq!(left.command.identity, right.command.identity);
        assert_eq!((left.position, left.version, left.previous), (right.position, right.version, right.previous));
        assert_eq!(left.command.traceparent, right.command.traceparent);
    }
    // Rules are made of numbers: what they say about other numbers is not known, so nothing is said.
    assert!(String::from_utf8_lossy(commits[3].outcome_json()).contains(r#""reason":"too_much""#));
}

/// A store of three partitions stays one of three.
#[test]
fn a_pseudonym_lives_where_its_key_does() {
    let mask = mask("keys = [\"till\"]");
    let id = StoreId { partitions: 3, partition: 0, ..STORE };
    let mut unmatched = mask.unmatched();
    let mut masker = Masker::new(&mask, &mut unmatched, Arc::new(service::<AS_IT_WAS>()), id);
    for commit in story() {
        for masked in masker.mask(&commit).unwrap() {
            let number = usize::try_from(masked.position.get()).unwrap() - 1;
            let partition = |key: &Key| partition_of(key, 3);
            let before = &story()[number].command.aggregate.key;
            assert_eq!(partition(&masked.command.aggregate.key), partition(before));
        }
    }
}

#[test]
fn a_mask_that_hides_nothing_or_badly_is_refused() {
    let wrong = |text: &str| toml::from_str::<Mask>(text).unwrap().check().unwrap_err();
    assert!(wrong("salt = \"short\"\nids = true").starts_with("salt: "));
    assert!(wrong("salt = \"a salt of a test\"").starts_with("nothing is to be masked"));
    assert!(toml::from_str::<Mask>("salt = \"a salt of a test\"\nfield = [\"owner\"]").is_err(), "a misspelt name");
}

/// What was to be hidden would lie open, in a file that says that it is masked.
#[test]
fn a_name_in_a_mask_that_is_none_in_the_store_is_refused() {
    let misspelt = "keys = [\"till\", \"tile\"]\nfields = [\"owner\", \"ownr\", \"coins.count\"]";
    let error = try_to_mask(&story(), misspelt).unwrap_err();
    let ExportError::Unmatched(names) = &error else { panic!("{error}") };
    assert!(names.to_string().starts_with("keys: tile; fields: "), "{names}");
    assert!(
        names.to_string().contains("ownr") && error.to_string().contains("spell them as the store does"),
        "{error}"
    );
    let mut none = Vec::new();
    let empty = Header::new(STORE.store, 1, true);
    assert!(matches!(
        empty.write_empty(&mut none, 0, Some(&mask("keys = [\"till\"]").unmatched())),
        Err(ExportError::Unmatched(_))
    ));
    assert!(none.is_empty(), "it has no end");
    // A name that another partition has met is met.
    let mask = mask("keys = [\"till\"]");
    let mut unmatched = mask.unmatched();
    assert_eq!(unmatched.to_string(), "keys: till");
    for (partition, commits) in [(0, story()), (1, Vec::new())] {
        let id = StoreId { partitions: 2, partition, ..STORE };
        let masker = Masker::new(&mask, &mut unmatched, Arc::new(service::<AS_IT_WAS>()), id);
        write_masked(&mut Vec::new(), id, &store(&commits).reader(), masker, || ()).unwrap();
    }
    assert!(unmatched.is_empty());
}

/// Of two exports in one file only the first was taken, in silence.
#[test]
fn what_follows_the_end_is_refused() {
    let text = exported(&story());
    for more in [text.as_str(), "garbage", "\n"] {
        let error = imported(&format!("{text}{more}")).unwrap_err().to_string();
        assert!(error.contains("something follows the end of the store"), "{error}");
    }
}
