//! A journal that is missing, an older copy or another's is damage to whoever reads it, as it is to a processor: what they
//! showed would be taken for all that has happened, and an import of such an export would decide old ids again.

use std::fs;
use std::path::Path;

use crate::common::folder::{copy_folder, copy_of};
use crate::common::nats::NatsServer;
use crate::hapax::{Running, code, run, stderr};

/// One of each of two partitions.
const AGGREGATES: [&str; 2] = ["account/1", "account/2"];

/// A store of two partitions in a folder, and a copy of it from its middle.
fn store(data: &Path, older: &Path) {
    let nats = NatsServer::start();
    for half in 0..2 {
        let processor = Running::serve_with(&nats.url(), data, &["--partitions", "2"]);
        for to in AGGREGATES {
            let id = format!("half-{half}-of-{}", to.replace('/', "-"));
            let what = if half == 0 { ["open", r#"{"owner":"ann"}"#] } else { ["deposit", r#"{"amount":9}"#] };
            let sent = run(&[&["send", to], &what[..], &["--id", &id, "--server", &nats.url()]].concat());
            assert_eq!(code(&sent), 0, "{}", stderr(&sent));
        }
        processor.stop();
        if half == 0 {
            copy_folder(data, older);
        }
    }
}

#[test]
fn nobody_reads_a_journal_that_is_not_the_whole_one_of_its_store() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (whole, older) = (folder.path().join("data"), folder.path().join("older"));
    store(&whole, &older);
    store(&other.path().join("data"), &other.path().join("older"));
    let theirs = other.path().join("data");
    let replace = |place: &Path, by: &Path| {
        fs::remove_dir_all(place).unwrap();
        copy_folder(by, place);
    };
    type Damage<'a> = (&'static str, Box<dyn Fn(&Path) + 'a>);
    let damages: [Damage<'_>; 6] = [
        ("none", Box::new(|_| ())),
        ("a partition is gone", Box::new(|data| fs::remove_dir_all(data.join("p1")).unwrap())),
        ("a journal is gone", Box::new(|data| fs::remove_dir_all(data.join("p1/journal")).unwrap())),
        ("a journal is older", Box::new(|data| replace(&data.join("p1/journal"), &older.join("p1/journal")))),
        (
            "a journal is another store's",
            Box::new(|data| replace(&data.join("p1/journal"), &theirs.join("p1/journal"))),
        ),
        ("two have changed places", Box::new(|data| replace(&data.join("p1"), &whole.join("p0")))),
    ];
    for (what, damage) in damages {
        let copy = copy_of(&whole);
        damage(copy.path());
        let data = copy.path().display().to_string();
        let in_p1 = AGGREGATES[1];
        let readers = [
            &["verify"][..],
            &["export"],
            &["replay"],
            &["replay", "--follow"],
            &["replay", in_p1],
            &["state", in_p1, "--at-version", "1"],
            &["why", "v1", "--of", in_p1],
        ];
        for reader in readers.into_iter().filter(|reader| what != "none" || !reader.contains(&"--follow")) {
            let output = run(&[reader, &["--data", &data]].concat());
            let expected = if what == "none" { 0 } else { 8 };
            assert_eq!(code(&output), expected, "{what}: {reader:?}: {}", stderr(&output));
        }
    }
}
