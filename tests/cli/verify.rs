//! `hapax verify` finds one planted difference in each place that it looks at, and says what is wrong and where.
//!
//! The feed is the one place that takes a broker: the differences of `verify --feed` are planted in `tests/feed/verify.rs`.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use hapax::index::{Index, SledIndex};
use hapax::model::{Entry, Snapshot};
use hapax::serve::DataDir;
use hapax::store::file::{FileReader, FileStore};
use hapax::store::{CommitReader, EventStore, Tip};
use hapax::{ChainHash, CommandId, Commit, Position, Version};

use crate::common::nats::NatsServer;
use crate::find;
use crate::hapax::{code, run, stderr, stdout};
use crate::reading::{SHOP, imported};

/// Bytes of a frame before the commit's JSON; where in them the checksum and the chain hash are.
const HEAD: usize = 52;
const CRC: usize = 8;
const HASH: usize = 20;

fn commits(data: &DataDir) -> Vec<Commit> {
    let reader = FileReader::open_read_only(&data.journal_dir(0)).unwrap();
    reader.read(Position::FIRST).map(Result::unwrap).collect()
}

/// Makes the index anew, out of entries that are not all those of the commits. `hash`: of its checkpoint, if not the last.
fn index(data: &Path, hash: Option<ChainHash>, edit: impl Fn(&mut [Entry])) {
    let data = DataDir::open(data).unwrap();
    let (dir, commits) = (data.partition_dir(0), commits(&data));
    if dir.join("sled").exists() {
        fs::remove_dir_all(dir.join("sled")).unwrap();
        fs::remove_file(dir.join("checkpoint.json")).unwrap();
    }
    let mut entries: Vec<Entry> = commits.iter().map(Entry::of).collect();
    edit(&mut entries);
    let (index, last) = (SledIndex::open(&dir, data.store_id(0)).unwrap().index, commits.last().unwrap());
    index.note(&entries).unwrap();
    index.checkpoint(last.position, hash.unwrap_or(last.hash)).unwrap();
}

/// The index of whoever notes one commit otherwise than it is.
fn noted(data: &Path, position: usize, edit: impl Fn(&mut Entry)) {
    index(data, None, |entries| edit(&mut entries[position - 1]));
}

/// Writes the journal anew, in a chain that holds: one commit is another, and nothing follows `last`. What replaces it must
/// have been there.
fn journal(data: &Path, last: usize, position: usize, old: &str, new: &str) {
    let data = DataDir::open(data).unwrap();
    let old_commits = commits(&data);
    fs::remove_dir_all(data.journal_dir(0)).unwrap();
    let (mut store, mut tip) = FileStore::open(&data.journal_dir(0), data.store_id(0), None).unwrap();
    let written = old_commits[..last].iter().map(|commit| {
        let mut json = String::from_utf8(commit.json().to_vec()).unwrap();
        if commit.position.get() == position as u64 {
            assert!(json.contains(old), "{json}");
            json = json.replace(old, new);
        }
        let (json, before) = (Bytes::from(json), tip.hash);
        let hash = before.link(&json);
        let commit = Commit::from_json(json, hash).unwrap();
        tip = Tip::of(&commit);
        commit
    });
    store.append(written.collect());
    drop(store); // Waits until everything is durable.
}

/// The same, with an index that agrees with it: the store does not contradict itself.
fn rewritten(data: &Path, position: usize, old: &str, new: &str) {
    journal(data, 18, position, old, new);
    index(data, None, |_| {});
}

/// Changes the frame of a commit. Then its checksum is made right again, or not.
fn frame(data: &Path, position: usize, is_sealed: bool, edit: impl Fn(&mut [u8])) {
    let json = commits(&DataDir::open(data).unwrap())[position - 1].json().clone();
    let path = data.join("p0/journal/00000000000000000001.log");
    let mut bytes = fs::read(&path).unwrap();
    let start = find(&bytes, &json) - HEAD;
    let frame = &mut bytes[start..start + HEAD + json.len()];
    edit(frame);
    if is_sealed {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&frame[3..CRC]);
        hasher.update(&frame[CRC + 4..]);
        frame[CRC..CRC + 4].copy_from_slice(&hasher.finalize().to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

/// What is planted; how `verify --data` and `verify --against` of the same directory end; and what either says.
struct Planted {
    what: &'static str,
    plant: fn(&Path),
    codes: [i32; 2],
    says: &'static [&'static str],
}

impl Planted {
    /// In the store itself.
    const fn damage(what: &'static str, plant: fn(&Path), says: &'static [&'static str]) -> Planted {
        Planted { what, plant, codes: [8, 8], says }
    }

    /// In what can be made again, or in what today's code makes of the store.
    const fn other(what: &'static str, plant: fn(&Path), says: &'static [&'static str]) -> Planted {
        Planted { what, plant, codes: [1, 1], says }
    }

    /// In the rules, which may change: only who asks before a deploy is stopped.
    const fn rule(what: &'static str, plant: fn(&Path), says: &'static [&'static str]) -> Planted {
        Planted { what, plant, codes: [0, 1], says }
    }
}

const LOG: &str = "00000000000000000001.log at byte ";

const PLANTED: [Planted; 22] = [
    Planted::damage(
        "frame: a bit of a commit",
        |data| frame(data, 3, false, |frame| frame[HEAD + 40] ^= 1),
        &[LOG, "log at byte 811, position 3: the frame's checksum is wrong"],
    ),
    Planted::damage(
        "frame: a bit of its head",
        |data| frame(data, 3, false, |frame| frame[4] ^= 1),
        &[LOG, "position 3: "],
    ),
    Planted::damage(
        "chain: another hash",
        |data| frame(data, 3, true, |frame| frame[HASH] ^= 1),
        &[LOG, "position 3: the chain hash does not follow from the commit before"],
    ),
    Planted::damage(
        "chain: another commit",
        |data| {
            frame(data, 3, true, |frame| {
                let place = find(frame, b"alice");
                frame[place..place + 5].copy_from_slice(b"mallo");
            });
        },
        &[LOG, "position 3: the chain hash does not follow from the commit before"],
    ),
    Planted::damage(
        "journal: its end",
        |data| journal(data, 17, 1, "", ""),
        &[LOG, "position 18: the journal ends, but position 18 was synced"],
    ),
    Planted::damage(
        "versions: a gap",
        |data| journal(data, 18, 9, r#""version":3"#, r#""version":4"#),
        &["position 9 contradicts the store: account/ann was at version 2, and this commit begins at version 3"],
    ),
    Planted::damage(
        "versions: one twice",
        |data| journal(data, 18, 9, r#""version":3"#, r#""version":2"#),
        &["position 9 contradicts the store: account/ann was at version 2, and this commit begins at version 1"],
    ),
    Planted::damage(
        "links: one is left out",
        |data| journal(data, 18, 9, r#""previous":2"#, r#""previous":1"#),
        &["position 9 contradicts the store: account/ann was last changed at position 2, the link back leads to 1"],
    ),
    Planted::damage(
        "identities: one twice",
        |data| journal(data, 18, 6, "2026-pay-ann-00001", "2026-order-ann-001"),
        &[
            "position 6 contradicts the store: command 2026-order-ann-001 of alice for ann was decided before, at position 5",
        ],
    ),
    Planted::damage(
        "times: one goes back",
        |data| journal(data, 18, 6, "2026-11-27T22:46:06.677935Z", "2026-11-27T22:46:05.677935Z"),
        &["position 6 contradicts the store: it was decided before the commit in front of it"],
    ),
    Planted::damage(
        "groups: a command is another principal's",
        |data| journal(data, 18, 10, r#""principal":"alice""#, r#""principal":"bob""#),
        &["position 10 contradicts the store: of the atomic batch at position 8, a command is another principal's"],
    ),
    Planted::other(
        "index: a command is not there",
        |data| noted(data, 7, |entry| entry.identity.id = CommandId::parse("2026-never-sent-01").unwrap()),
        &["index      wrong: the index disagrees with the store: the command of position 7 is not known"],
    ),
    Planted::other(
        "index: a command is at the place of another",
        |data| {
            index(data, None, |entries| {
                let other = entries[6].identity.clone();
                entries[6].identity = std::mem::replace(&mut entries[2].identity, other);
            });
        },
        &[
            "index      wrong: the index disagrees with the store: the command of position 3 is noted at 7",
            "delete sled and checkpoint.json of the partition while no processor runs, and the next start builds them anew",
        ],
    ),
    Planted::other(
        "index: a head is not there",
        |data| noted(data, 14, |entry| entry.changed_to = None),
        &[
            "index      wrong: the index disagrees with the store: order/ann was changed at position 14, its head is older",
        ],
    ),
    Planted::other(
        "index: a head is another",
        |data| noted(data, 14, |entry| entry.changed_to = Some(Version(5))),
        &["index      wrong: the index disagrees with the store: order/ann does not stand where position 14 says"],
    ),
    Planted::other(
        "index: of another history",
        |data| index(data, Some(ChainHash([7; 32])), |_| {}),
        &["index      wrong: the index disagrees with the store: the checkpoint at 18 is no commit of the store"],
    ),
    Planted::other(
        "snapshot: not the fold",
        |data| {
            noted(data, 9, |entry| {
                let state = Bytes::from(r#"{"owner":"ann","balance":7001,"closed":false}"#);
                entry.snapshot = Some(Snapshot { version: Version(3), fold: 1, state });
            });
        },
        &[
            "account/ann  its state at version 3\n  recorded  {\"owner\":\"ann\",\"balance\":7001,",
            "account/ann  its events are folded into another state; raise FOLD if that is meant",
        ],
    ),
    Planted::rule(
        "decisions: what was accepted is rejected",
        |data| rewritten(data, 6, r#"{"amount":1000},"previous""#, r#"{"amount":4001},"previous""#),
        &[
            "position 6  order/ann: pay {\"amount\":4001}\n  recorded  paid {\"amount\":1000}\n  now       rejected overpaid",
            "again      other, 1 of 18 outcomes",
            "order/ann  1 outcome would be another",
        ],
    ),
    Planted::rule(
        "decisions: a rejection has other words",
        |data| rewritten(data, 7, "3000 are still due", "not before 3000 are paid"),
        &[
            "position 7  order/ann: ship {\"tracking\":\"T-1\"}\n  recorded  rejected underpaid: not before 3000 are paid",
            "again      other, 1 of 18 outcomes",
            "order/ann  1 outcome would be another",
        ],
    ),
    Planted::rule(
        "decisions: a check of a batch does not hold",
        |data| rewritten(data, 8, r#""version":1,"actual":1"#, r#""version":2,"actual":2"#),
        &["position 8  _batch/bob: ", "again      other, "],
    ),
    Planted::other(
        "events: one of a name that nobody knows",
        |data| rewritten(data, 18, r#""type":"closed""#, r#""type":"frozen""#),
        &["account/bob  ", "the event \"frozen\" (schema 1) at position 18 cannot be read"],
    ),
    Planted::other(
        "events: one of a later schema",
        |data| rewritten(data, 18, r#""type":"closed","schema":1"#, r#""type":"closed","schema":2"#),
        &["account/bob  ", "the event \"closed\" (schema 2) at position 18 cannot be read"],
    ),
];

#[test]
fn one_planted_difference_is_found_in_each_place() {
    let verify = |what: &str, data: &str| {
        let output = run(&["verify", what, data]);
        (code(&output), format!("{}{}", stdout(&output), stderr(&output)))
    };
    let mut missed = Vec::new();
    for Planted { what, plant, codes, says } in PLANTED {
        let (_folder, data) = imported(SHOP);
        index(Path::new(&data), None, |_| {});
        // It is the difference that is found, and nothing that was there before.
        let (code, said) = verify("--against", &data);
        assert!(code == 0 && said.contains("index      agrees, checkpoint at position 18\n"), "{said}");
        assert!(said.contains("again      same, 18 decided as they were\n"), "{said}");
        plant(Path::new(&data));
        for (flag, expected) in ["--data", "--against"].into_iter().zip(codes) {
            let (code, said) = verify(flag, &data);
            if code != expected || !says.iter().all(|text| said.contains(text)) {
                missed.push(format!("{what}: verify {flag} ended with {code}, not {expected}, and said\n{said}"));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// The checkpoint knows how far the store went, be its index lost or not; and whoever looks does not make it forget that.
#[test]
fn a_tail_is_missed_although_the_index_is_lost_too() {
    let (_folder, data) = imported(SHOP);
    let data_dir = DataDir::open(Path::new(&data)).unwrap();
    fs::remove_dir_all(data_dir.partition_dir(0).join("sled")).unwrap();
    journal(Path::new(&data), 17, 17, "", "");
    let nats = NatsServer::start();
    let serve = ["serve", "--server", &nats.url(), "--data", &data];
    for looks in [&["verify", "--data", &data][..], &serve, &serve, &["verify", "--data", &data]] {
        let output = run(looks);
        assert_eq!(code(&output), 8, "{looks:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("position 18 was synced"), "{looks:?}: {}", stderr(&output));
    }
}

/// Whoever reads back meets it too: what can be told is told, and what cannot is said, with the place.
#[test]
fn an_event_that_nobody_can_read_is_said_by_whatever_reads_back() {
    const MASK: &str = "salt = \"a salt of a test\"\nids = true\n";
    let events: Vec<Planted> = PLANTED.into_iter().filter(|planted| planted.what.starts_with("events: ")).collect();
    assert_eq!(events.len(), 2);
    for Planted { what, plant, says, .. } in events {
        let (folder, data) = imported(SHOP);
        plant(Path::new(&data));
        let (said, mask) = (format!("account/bob: {}", says[1]), folder.path().join("mask.toml"));
        fs::write(&mask, MASK).unwrap();
        let mask = mask.display().to_string();
        let ask = |arguments: &[&str]| {
            let output = run(&[arguments, &["--data", &data]].concat());
            (code(&output), stdout(&output).to_owned(), stderr(&output).to_owned())
        };

        let (code, shown, why) = ask(&["state", "account/bob"]);
        assert!((code, &*shown) == (1, "") && why.contains(&said), "{what}: {shown}{why}");
        assert_eq!(ask(&["state", "account/bob", "--at-version", "1"]).0, 0, "{what}: nothing is wrong before");
        assert_eq!(ask(&["state", "account/ann"]).0, 0, "{what}: nor with others");

        let (code, shown, _) = ask(&["why", "@18"]);
        let is_told = shown.contains("account/bob") && shown.contains(&format!("cannot be told: {said}"));
        assert!(code == 0 && is_told, "{what}: {shown}");

        for more in [&[][..], &["--mask", &mask]] {
            let (code, lines, why) = ask(&[&["export"], more].concat());
            let states = lines.matches("\"state\":").count();
            assert_eq!((code, lines.matches("\"commit\":").count(), states), (0, 18, 2), "{what}: {lines}");
            assert!(!lines.contains(r#""key":"bob","version":2,"fold""#), "{what}: {lines}");
            assert!(why.starts_with(&format!("partition 0: no state is written: {said}")), "{what}: {why}");
            assert_eq!(why.lines().count(), 1, "{what}: {why}");
        }
    }
}
