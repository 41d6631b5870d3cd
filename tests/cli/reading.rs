//! Reading back from the terminal, from a store that an export was made of: no broker, no processor.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use hapax::index::{Index, SledIndex};
use hapax::model::{Entry, Snapshot};
use hapax::serve::DataDir;
use hapax::store::CommitReader;
use hapax::store::file::FileReader;
use hapax::{ChainHash, Position, Version};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::folder::copy_of;
use crate::common::nats::NatsServer;
use crate::common::shown::assert_shown;
use crate::hapax::{Running, Transcript, code, hapax, run, stderr, stdout};
use crate::{Site, assert_snapshot};

/// Made by `hapax export`; the snapshot test of histories reads it too.
pub(crate) const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories/shop.jsonl");

/// A data directory with the commits of an export.
pub(crate) fn imported(export: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let output = run(&["import", export, "--data", &data]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    (folder, data)
}

/// The export with other commits, in a chain that holds.
pub(crate) fn rewritten(edit: impl Fn(&str) -> String) -> (TempDir, String) {
    let text = fs::read_to_string(SHOP).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let mut hash = ChainHash::of_store(header["store"].as_str().unwrap().parse().unwrap());
    let (mut written, mut position) = (format!("{}\n", text.lines().next().unwrap()), 0);
    for line in text.lines().filter(|line| line.contains("\"commit\":")) {
        let commit = edit(line.split_once("\"commit\":").unwrap().1.strip_suffix('}').unwrap());
        (hash, position) = (hash.link(commit.as_bytes()), position + 1);
        writeln!(written, r#"{{"partition":0,"position":{position},"hash":"{hash}","commit":{commit}}}"#).unwrap();
    }
    for line in text.lines().filter(|line| line.contains("\"state\":")) {
        writeln!(written, "{}", edit(line)).unwrap();
    }
    writeln!(written, r#"{{"partition":0,"end":{{"position":{position},"hash":"{hash}"}}}}"#).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("production.jsonl");
    fs::write(&path, written).unwrap();
    (folder, path.display().to_string())
}

#[test]
fn what_a_store_tells_without_broker_and_processor() {
    let (folder, data) = imported(SHOP);
    let mut say = Transcript::new("nats://127.0.0.1:1");
    say.ask(&["replay", "account/ann", "--from", "v2", "--to", "v3", "--data", &data]);
    say.ask(&["replay", "--type", "order", "--event", "paid", "--data", &data]);
    say.ask(&["replay", "--principal", "bob", "--from", "@5", "--data", &data]);
    say.ask(&["replay", "--id", "2026-ship-ann-0002", "--data", &data]);
    say.ask(&["replay", "--to", "2026-11-27T22:46:06.65Z", "--data", &data]);
    say.ask(&["state", "account/ann", "--data", &data]);
    say.ask(&["state", "account/ann", "--at-version", "1", "--data", &data]);
    say.ask(&["state", "account/ann", "--at-time", "2026-11-27T22:46:06.65Z", "--data", &data, "--json"]);
    say.ask(&["state", "order/ann", "--at-version", "1", "--diff", "@10", "--data", &data]);
    say.ask(&["state", "order/ann", "--at-version", "1", "--diff", "@10", "--data", &data, "--json"]);
    say.ask(&["state", "account/ann", "--at-position", "99", "--data", &data]);
    say.ask(&["state", "account/ann", "--at-version", "9", "--data", &data]);
    say.ask(&["why", "2026-rest-ann-0001", "--data", &data]);
    say.ask(&["why", "7", "--data", &data]);
    say.ask(&["why", "@8", "--data", &data]);
    say.ask(&["why", "@11", "--data", &data]);
    say.ask(&["why", "@13", "--data", &data]);
    say.ask(&["why", "v4", "--of", "order/ann", "--data", &data]);
    say.ask(&["why", "2026-rest-ann-0001", "--of", "order/ann", "--data", &data]);
    say.ask(&["why", "2026-11-27", "--of", "order/ann", "--data", &data]);
    say.ask(&["why", "v4", "--data", &data]);
    say.ask(&["why", "2026-never-sent-01", "--data", &data]);
    say.ask(&["verify", "--data", &data]);
    say.ask(&["verify", "--against", &data]);
    drop(folder);
    assert_shown("cli__reading", &say.text().replace(&data, "DATA"));
}

/// What production has decided is not what this program decides: a withdrawal that it would refuse, and a rejection in other
/// words.
#[test]
fn a_program_that_would_decide_otherwise_is_stopped_before_it_is_deployed() {
    let other_rule = |commit: &str| {
        commit
            .replace(r#""data":{"amount":1000},"previous""#, r#""data":{"amount":4001},"previous""#)
            .replace("3000 are still due", "not before 3000 are paid")
            .replace(r#""balance":7000"#, r#""balance":7001"#)
    };
    let (_folder, file) = rewritten(other_rule);
    let (_data_folder, data) = imported(&file);
    let mut say = Transcript::new("nats://127.0.0.1:1");
    assert_eq!(code(&say.ask(&["verify", "--against", &file])), 1);
    assert_eq!(code(&say.ask(&["verify", "--against", &data])), 1);
    // A rule that has changed since is no damage.
    assert_eq!(code(&say.ask(&["verify", "--data", &data])), 0);
    assert_eq!(code(&say.ask(&["verify", "--against", &file, "--json"])), 1);
    assert_snapshot("cli__against", &say.text().replace(&data, "DATA").replace(&file, "production.jsonl"));
    assert_eq!(code(&run(&["verify", "--against", SHOP])), 0, "this is what it has decided itself");
    let missing = run(&["verify", "--against", "nowhere.jsonl"]);
    let said = "error: there is no nowhere.jsonl: name an export, or a copy of a data directory\n";
    assert_eq!((code(&missing), stderr(&missing)), (1, said));
}

/// Somebody looks with our program at the store of his.
#[test]
fn aggregates_that_are_not_served_here_are_not_decided_again() {
    let (_folder, file) = rewritten(|text| text.replace("\"order\"", "\"parcel\""));
    let (_data_folder, data) = imported(&file);
    let verified = run(&["verify", "--data", &data]);
    assert_eq!(code(&verified), 0, "{}", stderr(&verified));
    let again = "again      same, 10 decided as they were; 8 of types that this program does not serve\n";
    assert!(stdout(&verified).contains(again), "{}", stdout(&verified));
    let against = run(&["verify", "--against", &file]);
    assert_eq!(code(&against), 1);
    assert!(
        stdout(&against).contains("refused unknown_aggregate: no aggregate \"parcel\" here"),
        "{}",
        stdout(&against)
    );
}

#[test]
fn an_export_that_was_changed_is_not_imported_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (broken, data) = (folder.path().join("broken.jsonl"), folder.path().join("data"));
    let text = fs::read_to_string(SHOP).unwrap();
    let import = |text: &str| {
        fs::write(&broken, text).unwrap();
        let output = run(&["import", &broken.display().to_string(), "--data", &data.display().to_string()]);
        assert_eq!(code(&output), 1);
        assert!(!data.exists() && fs::read_dir(folder.path()).unwrap().count() == 1, "nothing is left");
        stderr(&output).to_owned()
    };
    let half: Vec<&str> = text.lines().take(9).collect();
    assert!(import(&half.join("\n")).contains("it was cut off"));
    assert!(import(&text.replace("10000", "10001")).contains("the chain hash does not follow"));
    assert!(import("[]").contains("line 1 is not the first line of an export of hapax"));
    let (_rewritten, twice) = rewritten(|text| text.replace("2026-pay-ann-00001", "2026-order-ann-001"));
    assert!(import(&fs::read_to_string(twice).unwrap()).contains("was decided before, at position 5"));
    // Not over another store, nor over what an import has left that was killed.
    fs::create_dir_all(data.join("p0")).unwrap();
    let onto = |data: &Path| run(&["import", SHOP, "--data", &data.display().to_string()]);
    assert!(stderr(&onto(&data)).contains("is not empty"));
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let unfinished = run(&["import", &broken.display().to_string(), "--data", &data.display().to_string()]);
    assert_eq!((code(&unfinished), fs::read_dir(&data).unwrap().count()), (1, 0), "what was empty is empty again");
    assert_eq!(code(&onto(&data)), 0, "an empty one may be there");
}

/// Commands of every kind, their export, an import on another machine with another broker: every id is known there, and has
/// the same bytes.
#[test]
fn every_old_id_replays_after_an_import() {
    let mut site = Site::start();
    let line = |id: &str, key: &str, command: &str, data: &str| {
        format!(r#"{{"id":"{id:->16}","aggregate":"account","key":"{key}","command":"{command}","data":{data}}}"#)
    };
    let open = |id: &str, key: &str| line(id, key, "open", r#"{"owner":"ann"}"#);
    let moved = [line("4", "1", "deposit", r#"{"amount":5}"#), line("5", "2", "deposit", r#"{"amount":5}"#)];
    let overdrawn = [line("6", "1", "withdraw", r#"{"amount":50}"#), line("7", "2", "close", "{}")];
    let singles =
        [open("1", "1"), open("2", "2"), line("3", "1", "withdraw", r#"{"amount":7}"#), open("given-up-0000001", "1")];
    let files = [
        site.write("moved.jsonl", &moved.join("\n")),
        site.write("overdrawn.jsonl", &overdrawn.join("\n")),
        site.write("singles.jsonl", &singles.join("\n")),
    ];
    let void = ["void", "account/1", "given-up-0000001", "--json"];
    // `--json` prints what came, byte for byte.
    let said = |url: &str| {
        let as_alice = |arguments: &[&str]| {
            let mut command = hapax(arguments);
            let output = command.env("NATS_URL", url).env("HAPAX_PRINCIPAL", "alice").output().unwrap();
            // The only thing that may be another: whether it is the first time.
            (code(&output), stdout(&output).replace("\"replayed\":false", "\"replayed\":true"))
        };
        let singles = as_alice(&["send", "--file", &files[2], "--window", "1", "--json"]);
        let atomic = files[..2].iter().map(|file| as_alice(&["send", "--file", file, "--atomic", "--json"]));
        [singles].into_iter().chain(atomic).chain([as_alice(&void)]).collect::<Vec<_>>()
    };
    let first_void = hapax(&void).env("NATS_URL", site.nats.url()).env("HAPAX_PRINCIPAL", "alice").output().unwrap();
    assert_eq!(code(&first_void), 3);
    let before = said(&site.nats.url());
    assert_eq!(before.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [3, 0, 3, 3]);
    site.stop_processor();
    let (export, copy) = (site.write("x", "") + ".jsonl", site.folder.path().join("copy"));
    let exported = run(&["export", "--data", &site.data_text(), "--to", &export]);
    assert_eq!(code(&exported), 0, "{}", stderr(&exported));
    assert_eq!(code(&run(&["export", "--data", &site.data_text(), "--to", &export])), 1, "it overwrites nothing");
    assert_eq!(code(&run(&["import", &export, "--data", &copy.display().to_string()])), 0);
    let other = NatsServer::start();
    let processor = Running::serve(&other.url(), &copy);
    let after = said(&other.url());
    let (mut left, mut right): (Vec<_>, Vec<_>) = (before[0].1.lines().collect(), after[0].1.lines().collect());
    left.sort_unstable();
    right.sort_unstable();
    assert_eq!(left, right);
    assert_eq!(before[1..], after[1..]);
    let health = run(&["health", "--json", "--server", &other.url()]);
    assert!(stdout(&health).contains(r#""decided":0"#), "{}", stdout(&health));
    processor.stop();
    let verified = run(&["verify", "--data", &copy.display().to_string()]);
    assert!(stdout(&verified).contains("again      same, 10 decided"), "{}", stdout(&verified));
    let chain = |data: &str| stdout(&run(&["verify", "--json", "--data", data])).to_owned();
    let hash = |text: &str| serde_json::from_str::<Value>(text).unwrap()["hash"].clone();
    assert_eq!(hash(&chain(&copy.display().to_string())), hash(&chain(&site.data_text())));
}

#[test]
fn a_follower_sees_what_comes_and_ends_when_it_is_told_to() {
    let site = Site::start();
    let (url, data) = (site.nats.url(), site.data_text());
    let send = |key: &str| {
        let sent = run(&["send", &format!("account/{key}"), "open", r#"{"owner":"ann"}"#, "--server", &url]);
        assert_eq!(code(&sent), 0, "{}", stderr(&sent));
    };
    send("1");
    let arguments = ["replay", "--follow", "--type", "account", "--data", &data];
    let mut following = Running::start(hapax(&arguments).stderr(Stdio::null()));
    assert!(following.until("1 ").contains("account/1 v1"));
    send("2");
    assert!(following.until("2 ").contains("account/2 v1"));
    following.signal("INT");
    assert!(following.wait().success());
}

#[test]
fn a_masked_export_says_so_and_hides_what_it_was_told_to() {
    let (folder, data) = imported(SHOP);
    let mask = folder.path().join("mask.toml").display().to_string();
    let settings = "salt = \"a salt of this test\"\nprincipals = true\nids = true\nkeys = [\"account\", \"order\"]\n\
                    fields = [\"owner\", \"lines.sku\", \"tracking\"]\n";
    fs::write(&mask, settings).unwrap();
    let masked = run(&["export", "--mask", &mask, "--data", &data]);
    assert_eq!(code(&masked), 0, "{}", stderr(&masked));
    let text = stdout(&masked);
    assert!(text.lines().next().unwrap().ends_with(r#""partitions":1,"masked":true}"#));
    for name in ["ann", "bob", "alice", "lamp", "T-1", "2026-ship"] {
        assert!(!text.contains(name), "{name}");
    }
    assert_eq!(text, stdout(&run(&["export", "--mask", &mask, "--data", &data])), "the same pseudonyms every time");
    let file = folder.path().join("masked.jsonl").display().to_string();
    fs::write(&file, text).unwrap();
    let verified = run(&["verify", "--against", &file]);
    assert_eq!(code(&verified), 0, "{}{}", stdout(&verified), stderr(&verified));
    imported(&file);
    for wrong in ["salt = \"short\"\nids = true", "salt = \"a salt of this test\"", "salted = true"] {
        fs::write(&mask, wrong).unwrap();
        let refused = run(&["export", "--mask", &mask, "--data", &data]);
        assert_eq!((code(&refused), stdout(&refused)), (2, ""), "{wrong}");
        assert!(stderr(&refused).contains("mask.toml: "), "{}", stderr(&refused));
    }
}

/// What a snapshot holds is what the code has folded that made it. Under the same `FOLD`, today's must fold the same, or a
/// processor goes on from a state that nobody would come to.
#[test]
fn a_snapshot_that_is_not_the_fold_is_found() {
    let mut site = Site::start();
    let mut commands = String::new();
    for number in 0..102 {
        let (name, data) = if number == 0 { ("open", r#"{"owner":"ann"}"#) } else { ("deposit", r#"{"amount":1}"#) };
        let id = format!("command-{number:0>10}");
        let line = format!(r#"{{"id":"{id}","aggregate":"account","key":"1","command":"{name}","data":{data}}}"#);
        writeln!(commands, "{line}").unwrap();
    }
    let file = site.write("commands.jsonl", &commands);
    assert_eq!(code(&run(&["send", "--file", &file, "--window", "1", "--server", &site.nats.url()])), 0);
    site.stop_processor();
    let verify = |what: &str| run(&["verify", what, &site.data_text()]);
    let verified = verify("--data");
    assert!(stdout(&verified).contains("again      same, 102 decided as they were\n"), "{}", stdout(&verified));
    assert_eq!(code(&verify("--against")), 0);
    // As if the code that made it had not counted the last deposit.
    let dir = DataDir::open(&site.data()).unwrap();
    let reader = FileReader::open_read_only(&dir.journal_dir(0)).unwrap();
    let commit = reader.get(Position::new(101).unwrap()).unwrap();
    let state = r#"{"owner":"ann","balance":99,"closed":false}"#.into();
    let snapshot = Some(Snapshot { version: Version(101), fold: 1, state });
    let index = SledIndex::open(&dir.partition_dir(0), dir.store_id(0)).unwrap().index;
    index.note(&[Entry { snapshot, ..Entry::of(&commit) }]).unwrap();
    drop(index);
    for what in ["--data", "--against"] {
        let verified = verify(what);
        assert_eq!(code(&verified), 1, "{}{}", stdout(&verified), stderr(&verified));
        let said = stdout(&verified);
        assert!(
            said.contains("account/1  its events are folded into another state; raise FOLD if that is meant"),
            "{said}"
        );
        assert!(said.contains("recorded  {\"owner\":\"ann\",\"balance\":99,"), "{said}");
    }
}

#[test]
fn several_partitions_are_exported_and_asked_about() {
    let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let (url, data) = (nats.url(), folder.path().join("data"));
    let processor = Running::serve_with(&url, &data, &["--partitions", "3"]);
    for key in ["1", "2"] {
        let id = format!("open-account-{key:0>4}");
        let sent =
            run(&["send", &format!("account/{key}"), "open", r#"{"owner":"ann"}"#, "--id", &id, "--server", &url]);
        assert_eq!(code(&sent), 0, "{}", stderr(&sent));
    }
    processor.stop();
    let (data, export) = (data.display().to_string(), folder.path().join("store.jsonl").display().to_string());
    assert_eq!(code(&run(&["export", "--data", &data, "--to", &export])), 0);
    let (_copy, copy) = imported(&export);
    for data in [&data, &copy] {
        let verified = run(&["verify", "--json", "--data", data]);
        assert_eq!((code(&verified), stdout(&verified).lines().count()), (0, 3), "{}", stderr(&verified));
        assert_eq!(stdout(&run(&["replay", "--data", data])), stdout(&run(&["replay", "--data", &copy])));
        assert_eq!(code(&run(&["state", "account/2", "--at-time", "now", "--data", data])), 0);
        // A position is one of its partition; an id, or a version of an aggregate, says where it is.
        let which = run(&["why", "1", "--data", data]);
        assert_eq!(code(&which), 2);
        assert!(stderr(&which).contains("say which one with --partition N"), "{}", stderr(&which));
        assert_eq!(code(&run(&["why", "1", "--partition", "3", "--data", data])), 2);
        let by_id = run(&["why", "open-account-0002", "--json", "--data", data]);
        let said: Value = serde_json::from_str(stdout(&by_id)).unwrap();
        let (partition, position) = (said["partition"].to_string(), said["position"].to_string());
        for same in [&["why", &position, "--partition", &partition][..], &["why", "v1", "--of", "account/2"]] {
            assert_eq!(stdout(&run(&[same, &["--json", "--data", data]].concat())), stdout(&by_id));
        }
    }
    let against = run(&["verify", "--json", "--against", &export]);
    assert_eq!((code(&against), stdout(&against).lines().count()), (0, 3), "{}", stderr(&against));
    let masked = folder.path().join("mask.toml").display().to_string();
    fs::write(&masked, "salt = \"a salt of this test\"\nkeys = [\"account\"]\n").unwrap();
    let masked = run(&["export", "--mask", &masked, "--data", &data]);
    fs::write(&export, stdout(&masked)).unwrap();
    imported(&export); // Each key in its partition, or it would be refused.
}

/// They are under no chain, so that they can be taken out without a trace.
#[test]
fn states_that_an_export_lacks_are_said() {
    let (folder, data) = imported(SHOP);
    let file = folder.path().join("stateless.jsonl").display().to_string();
    let whole = run(&["export", "--data", &data]);
    let lines: Vec<&str> = stdout(&whole).lines().filter(|line| !line.contains(r#""fold":"#)).collect();
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let states = stdout(&whole).lines().count() - lines.len();
    let against = run(&["verify", "--against", &file]);
    let said = format!(
        "again      same, 18 decided as they were; states not compared, since the export lacks them: {states}\n"
    );
    assert!(states > 0 && stdout(&against).contains(&said), "{}", stdout(&against));
    let against = run(&["verify", "--json", "--against", &file]);
    assert!(stdout(&against).contains(&format!(r#""not_compared":{states}"#)), "{}", stdout(&against));
}

/// An index of an earlier version is no difference of a program that comes after it.
#[test]
fn an_index_of_another_form_is_no_difference() {
    let copy = copy_of(Path::new("tests/golden/3-order-cancelled-2"));
    for what in ["--against", "--data"] {
        let verified = run(&["verify", what, copy.path().to_str().unwrap()]);
        assert_eq!(code(&verified), 0, "{}{}", stdout(&verified), stderr(&verified));
        let said = "index      left out, since it has format 2: the next start of this version builds it anew\n";
        assert!(stdout(&verified).contains(said), "{}", stdout(&verified));
    }
}

/// Who has misspelt it sees that there is nothing, and not that something is broken.
#[test]
fn nothing_that_is_like_that_is_said() {
    let (_folder, data) = imported(SHOP);
    for (selection, said) in [("ordr", "no commit is like that\n"), ("order", "")] {
        let shown = run(&["replay", "--type", selection, "--data", &data]);
        assert_eq!((code(&shown), stderr(&shown), stdout(&shown).is_empty()), (0, said, !said.is_empty()));
    }
}

/// What a misspelt name was to hide would lie open, in a file that says that it is masked.
#[test]
fn a_misspelt_mask_leaves_no_export() {
    let (folder, data) = imported(SHOP);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (mask, to) = (path("mask.toml"), path("masked.jsonl"));
    for (fields, code_expected, is_there) in [("ownr", 2, false), ("owner", 0, true)] {
        fs::write(&mask, format!("salt = \"a salt of a test\"\nfields = [\"{fields}\"]")).unwrap();
        let output = run(&["export", "--data", &data, "--mask", &mask, "--to", &to]);
        assert_eq!((code(&output), fs::exists(&to).unwrap()), (code_expected, is_there), "{}", stderr(&output));
        assert_eq!(stderr(&output).contains("fields: ownr"), !is_there);
    }
}
