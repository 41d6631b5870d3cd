//! A result that is folded again, or kept nowhere: what is answered and kept is what a fold from the first commit gives, to the
//! byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hapax::nats::ConnectOptions;
use hapax::projection::{ApplyError, Definition, Happened, Model, Notice, Projection, Settings, Table, follow};
use hapax::samples::{Balance, Balances};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::program::{Running, hapax, stdout};
use crate::served::{OWNERS, PATIENCE, Site};

const COMMANDS: u64 = 150;

/// Whom no account belongs to.
const NOBODY: &str = "nobody";

/// The balances by a program with a mistake that its author mends without raising the version: they hold a row too many.
struct Mistaken;

impl Projection for Mistaken {
    const NAME: &'static str = Balances::NAME;
    const VERSION: u32 = Balances::VERSION;
    type Row = Balance;
    const ROWS: Table<Balance> = Balances::ROWS;

    fn apply(happened: &Happened<'_>, model: &mut Model<'_>) -> Result<(), ApplyError> {
        model.put(Self::ROWS, NOBODY, &Balance { accounts: 1, balance: 1 })?;
        Balances::apply(happened, model)
    }
}

/// Folds with that mistake what is there.
async fn fold_mistakenly(site: &Site, kept: &Path) {
    let nats = ConnectOptions { servers: vec![site.nats.url()], ..ConnectOptions::default() };
    let settings = Settings { nats, data: Some(kept.to_owned()), rebuild: false };
    let stop = CancellationToken::new();
    let done = stop.clone();
    let following = follow(Definition::of::<Mistaken>(), settings, stop, |notice| {
        if let Notice::CaughtUp(_) = notice {
            done.cancel();
        }
    });
    tokio::time::timeout(PATIENCE, following).await.expect("it comes to its end").unwrap();
}

/// Everything that is kept, rows and mark.
fn kept_in(kept: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let db = loop {
        // Threads of sled hold its lock for some milliseconds more.
        if let Ok(db) = sled::open(kept.join("balances/sled")) {
            break db;
        }
    };
    db.iter().map(|entry| entry.map(|(place, row)| (place.to_vec(), row.to_vec())).unwrap()).collect()
}

/// What is answered about every owner, to the byte.
fn answers(site: &Site) -> Vec<String> {
    site.until_nothing_lags(COMMANDS);
    OWNERS.into_iter().chain([NOBODY]).map(|owner| stdout(&site.ask(&[owner, "--json"])).to_owned()).collect()
}

/// A site with something in its feed, what is answered about that, and what is kept of it, if it is folded for the first time.
async fn folded() -> (Site, Vec<String>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let (site, fresh) = (Site::start(2).await, tempfile::tempdir().unwrap());
    site.load(0, COMMANDS).await;
    let projecting = site.project(fresh.path(), &[]);
    let answers = answers(&site);
    assert_eq!(site.balances(), site.expected().await);
    projecting.stop();
    let kept = kept_in(fresh.path());
    assert!(kept.len() > OWNERS.len() + 1, "the rows of two tables, and the mark");
    (site, answers, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_the_fold_from_the_first_commit() {
    let (site, answered, whole) = folded().await;
    let kept = tempfile::tempdir().unwrap();
    fold_mistakenly(&site, kept.path()).await;
    // Nothing is wrong with that, as far as a start can see: it goes on, and shows the row.
    let projecting = site.project(kept.path(), &[]);
    site.until_nothing_lags(COMMANDS);
    assert_eq!(site.answer(&[NOBODY])["row"], json!({"accounts": 1, "balance": 1}));
    projecting.stop();
    assert_eq!(kept_in(kept.path()).len(), whole.len() + 1);

    let rebuilt = |what: &str| {
        let projecting = site.project(kept.path(), &["--rebuild"]);
        assert_eq!(answers(&site), answered, "{what}");
        projecting.stop();
        assert!(kept_in(kept.path()) == whole, "{what}: what is kept is not what a first fold keeps");
    };
    rebuilt("with a row too many");
    assert_eq!(serde_json::from_str::<Value>(&answered[OWNERS.len()]).unwrap()["row"], Value::Null);
    rebuilt("with nothing wrong");
    let file = kept.path().join("balances/sled/db");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, vec![0xff; bytes.len()]).unwrap();
    rebuilt("with a damaged file");
    site.processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_is_the_same_and_nothing_is_kept() {
    let (site, answered, _) = folded().await;
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut command = hapax(&["project", "balances", "--in-memory", "--server", &site.nats.url()]);
        let mut projecting = Running::start(command.current_dir(folder.path()));
        let ready = projecting.until("ready");
        assert!(ready.ends_with(&format!(", {COMMANDS} commits\n")), "it is folded before it says so: {ready}");
        assert_eq!(answers(&site), answered);
        projecting.stop();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something is kept");
    }
    site.processor.stop().await;
}
