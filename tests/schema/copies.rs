//! What older versions have made of a store (exports, masked exports, projections), as they left it, read by today's code; and
//! what a later version has made, which is refused and not touched.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hapax::projection::{Definition, Fold, Home, HomeError, MemoryHome, PROJECTION_FORMAT, Projection, SledHome};
use hapax::replay::export::{EXPORT_FORMAT, Export, Header, ImportError, Item};
use hapax::replay::mask::{Mask, Masker};
use hapax::replay::states::States;
use hapax::samples::{Balance, Balances};
use hapax::store::StoreId;
use hapax::{AggregateId, Commit, Snapshot};

use crate::common::shown::assert_shown;
use crate::golden::{Golden, commits, names};
use crate::processor::samples;

/// The goldens that have an export and a projection. The first ones were made without.
fn goldens() -> Vec<Golden> {
    let goldens: Vec<Golden> = names().iter().map(|name| Golden::copy(name)).collect();
    let goldens: Vec<Golden> = goldens.into_iter().filter(|golden| golden.path("export.jsonl").exists()).collect();
    assert!(!goldens.is_empty());
    goldens
}

/// An export: which store, its commits, and the states behind them.
struct Exported {
    header: Header,
    commits: Vec<Commit>,
    states: Vec<(AggregateId, Snapshot)>,
}

impl Exported {
    /// Chain, positions and the end are checked on the way.
    fn read(path: &Path) -> Exported {
        let text = fs::read_to_string(path).unwrap();
        let mut export = Export::open(text.as_bytes()).unwrap();
        let (header, mut commits, mut states) = (export.header().clone(), Vec::new(), Vec::new());
        while let Some((_, item)) = export.read_next().unwrap() {
            match item {
                Item::Commit(commit) => commits.push(*commit),
                Item::State(aggregate, state) => states.push((aggregate, state)),
                Item::End => {}
            }
        }
        assert_eq!(header.partitions, 1);
        Exported { header, commits, states }
    }

    /// The recorded states are those that today's code folds from the commits.
    fn assert_folds(&self) {
        let mut states = States::new(Arc::new(samples()));
        self.commits.iter().for_each(|commit| states.apply(commit).unwrap());
        assert!(!self.states.is_empty());
        for (aggregate, recorded) in &self.states {
            assert_eq!(states.agrees(aggregate, recorded), Some(true), "{aggregate}");
        }
    }
}

fn records(commits: &[Commit]) -> Vec<(String, String)> {
    let record = |commit: &Commit| (commit.hash.to_string(), String::from_utf8(commit.json().to_vec()).unwrap());
    commits.iter().map(record).collect()
}

#[test]
fn every_export_is_the_store_that_it_was_made_of() {
    for golden in goldens() {
        let exported = Exported::read(&golden.path("export.jsonl"));
        assert!(exported.header.store == golden.data.store() && !exported.header.masked);
        assert_eq!(records(&exported.commits), records(&commits(&golden.reader())));
        exported.assert_folds();
    }
}

/// A pseudonym stays: with the salt of then, today's code gives the same one. Names are not in it.
#[test]
fn every_masked_export_is_read_and_would_be_the_same_today() {
    for golden in goldens() {
        let path = golden.path("masked.jsonl");
        let masked = Exported::read(&path);
        assert!(masked.header.store != golden.data.store() && masked.header.masked);
        masked.assert_folds();
        let text = fs::read_to_string(path).unwrap();
        for name in [r#""ann""#, r#""bob "#, r#""eve""#, r#""alice""#, r#""golden-"#, r#""pen""#, r#""ink""#] {
            assert!(!text.contains(name), "{name}");
        }
        let mask: Mask = toml::from_str(&fs::read_to_string(golden.path("mask.toml")).unwrap()).unwrap();
        let id = StoreId { store: mask.store(golden.data.store()), ..golden.data.store_id(0) };
        assert_eq!(masked.header.store, id.store);
        let mut unmatched = mask.unmatched();
        let mut masker = Masker::new(&mask, &mut unmatched, Arc::new(samples()), id);
        let today: Vec<Commit> =
            commits(&golden.reader()).iter().flat_map(|commit| masker.mask(commit).unwrap()).collect();
        assert_eq!(records(&masked.commits), records(&today));
    }
}

/// The rows are those that today's code folds, and it goes on with them.
#[test]
fn every_projection_is_gone_on_with() {
    for golden in goldens() {
        let (home, doubt) = SledHome::open(&golden.path("projection")).unwrap();
        assert_eq!(doubt, None);
        let open = |home: Box<dyn Home>| {
            let (fold, why) = Fold::open(Definition::of::<Balances>(), home, golden.data.store(), 1).unwrap();
            assert_eq!(why, None);
            fold
        };
        let (kept, mut anew) = (open(Box::new(home)), open(Box::<MemoryHome>::default()));
        anew.take(0, commits(&golden.reader())).unwrap();
        assert_eq!(kept.mark(), anew.mark());
        let row = |owner: &str| -> Option<Balance> { kept.get(Balances::ROWS, owner).unwrap() };
        let rows = ["ann", "bob \"b\" ß", "eve", "nobody"].map(|owner| format!("{owner}  {:?}\n", row(owner)));
        assert_shown("golden__projection", &rows.concat());
    }
}

/// Whatever else a later version writes: that it is one is read first, and said.
#[test]
fn an_export_of_a_later_version_is_refused_by_its_number() {
    let later = EXPORT_FORMAT + 1;
    for rest in [r#","store":"none","partitions":{}"#, ""] {
        let error = Export::open(format!("{{\"hapax_export\":{later}{rest}}}\n").as_bytes()).unwrap_err();
        assert!(matches!(error, ImportError::Format(format) if format == later), "{error}");
        let said =
            "the export has format 2; this version reads format 1: use the version that wrote it, or export again";
        assert_eq!(error.to_string(), said);
    }
}

/// Somebody has started an older program on it, and goes back to the newer one.
#[test]
fn a_projection_of_a_later_version_is_refused_and_left_alone() {
    let golden = goldens().pop().unwrap();
    let folder = golden.path("projection");
    let sled = || loop {
        // Threads of sled hold its lock for some milliseconds more.
        if let Ok(db) = sled::open(folder.join("sled")) {
            break db;
        }
    };
    let db = sled();
    let mark = String::from_utf8(db.get(b"\0mark").unwrap().unwrap().to_vec()).unwrap();
    let (ours, later) = (format!(r#""format":{PROJECTION_FORMAT},"#), r#""format":2,"of_another_form":"#);
    assert!(mark.contains(&ours), "{mark}");
    db.insert(b"\0mark", mark.replace(&ours, later).replace(r#""version":"#, "").as_bytes()).unwrap();
    let kept: Vec<_> = db.iter().map(Result::unwrap).collect();
    drop(db);
    for _ in 0..2 {
        let Err(error) = SledHome::open(&folder) else { panic!("it was opened") };
        assert!(matches!(error, HomeError::LaterFormat { format: 2, .. }), "{error}");
        let said = format!(
            "{} has format 2; this version reads format 1: run the version that wrote it, or remove the folder to fold the \
             projection again from the first commit",
            folder.display()
        );
        assert_eq!(error.to_string(), said);
    }
    assert_eq!(sled().iter().map(Result::unwrap).collect::<Vec<_>>(), kept);
}
