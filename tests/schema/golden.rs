//! Data directories that older versions have written, as they left them (`tests/golden/README.md`), read by today's code.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hapax::aggregate::Folded;
use hapax::aggregate::service::Decided;
use hapax::index::checkpoint::INDEX_FORMAT;
use hapax::index::{SledIndex, catch_up, verify};
use hapax::model::WIRE_FORMAT;
use hapax::projection::PROJECTION_FORMAT;
use hapax::replay::export::EXPORT_FORMAT;
use hapax::replay::states::States;
use hapax::replay::verify::Checks;
use hapax::serve::DataDir;
use hapax::serve::data_dir::DATA_FORMAT;
use hapax::store::file::{FORMAT as JOURNAL_FORMAT, FileReader, FileStore};
use hapax::store::{CommitReader, ReadError, Tip};
use hapax::{AggregateId, Commit, Context, Decision, Position, Service};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::folder::copy_of;
use crate::common::shown::assert_shown;
use crate::processor::samples;

/// The newest one, whose index is believed.
const NEWEST: &str = "4-index-3";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The names of all, the oldest first.
pub(crate) fn names() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let folders = entries.filter(|path| path.is_dir() && path.join("hapax.json").exists());
    let mut names: Vec<String> = folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// A copy that may be written to.
pub(crate) struct Golden {
    folder: TempDir,
    pub(crate) data: DataDir,
}

impl Golden {
    pub(crate) fn copy(name: &str) -> Golden {
        let target = copy_of(&folder().join(name));
        let data = DataDir::open(target.path()).unwrap();
        assert!(data.partitions() == 1 && data.has_begun(), "{name}");
        Golden { folder: target, data }
    }

    /// Something beside the data directory's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn reader(&self) -> FileReader {
        FileReader::open_read_only(&self.data.journal_dir(0)).unwrap()
    }

    fn version(&self) -> String {
        std::fs::read_to_string(self.path("version")).unwrap()
    }
}

pub(crate) fn commits(reader: &FileReader) -> Vec<Commit> {
    reader.read(Position::FIRST).map(|commit| commit.unwrap()).collect()
}

/// The states that the commits lead to, one a line.
fn fold(service: Service, reader: &FileReader) -> String {
    let mut states = States::new(Arc::new(service));
    reader.changes(|recorded| states.follow(recorded.change).map_err(Box::<dyn Error>::from)).unwrap();
    let lines: BTreeMap<AggregateId, String> =
        states.all().map(|(id, folded)| (id.clone(), line(&id, folded))).collect();
    lines.into_values().collect()
}

fn line(aggregate: &AggregateId, folded: &Folded) -> String {
    let state = String::from_utf8(folded.state.to_json().unwrap()).unwrap();
    format!("{aggregate} v{} {state}\n", folded.version)
}

/// The same, commit by commit.
fn fold_commits(service: &Service, commits: &[Commit]) -> String {
    let mut all: BTreeMap<AggregateId, Folded> = BTreeMap::new();
    for commit in commits.iter().filter(|commit| commit.event_count > 0) {
        let aggregate = &commit.command.aggregate;
        let folded = all.entry(aggregate.clone()).or_insert_with(|| service.start(&aggregate.kind).unwrap());
        folded.apply(commit).unwrap();
    }
    all.iter().map(|(aggregate, folded)| line(aggregate, folded)).collect()
}

/// Whoever raises a format adds what that writes, so that the one after it is tested against both.
#[test]
fn there_is_a_golden_of_every_format() {
    let versions: Vec<String> = names().iter().map(|name| Golden::copy(name).version()).collect();
    let formats = [
        ("journal format", JOURNAL_FORMAT),
        ("index format", INDEX_FORMAT),
        ("data directory format", DATA_FORMAT),
        ("export format", EXPORT_FORMAT),
        ("projection format", PROJECTION_FORMAT),
        ("wire contract", WIRE_FORMAT),
    ];
    for (what, newest) in formats {
        for format in 1..=newest {
            let line = format!("{what} {format}");
            assert!(versions.iter().any(|version| version.lines().any(|has| has == line)), "no golden has {line}");
        }
    }
}

/// Journal, chain and commits. The snapshot has every byte that an outcome is sent with, but for the times.
#[test]
fn every_journal_is_read() {
    for name in names() {
        let golden = Golden::copy(&name);
        let reader = golden.reader();
        assert_eq!(reader.id(), golden.data.store_id(0), "{name}");
        let mut checks = Checks::new(reader.id());
        let tip = reader.verify(|commit| checks.check(commit).unwrap()).unwrap();
        let commits = commits(&reader);
        let mut text = format!("{}\nchain {}\n\n", golden.version().trim_end(), tip.hash);
        for commit in &commits {
            let outcome = String::from_utf8(commit.outcome_json().to_vec()).unwrap();
            writeln!(text, "{outcome}").unwrap();
        }
        text += "\n";
        let folded = fold(samples(), &reader);
        assert_eq!(folded, fold_commits(&samples(), &commits), "{name}");
        text += &folded;
        assert_shown(&format!("golden__{name}"), &text);
    }
}

/// What is damaged is named, and nothing behind it is folded: a bit has flipped since the journal was opened.
#[test]
fn damage_ends_a_fold() {
    let golden = Golden::copy(NEWEST);
    let reader = golden.reader();
    let path = golden.data.journal_dir(0).join("00000000000000000001.log");
    let mut bytes = std::fs::read(&path).unwrap();
    let third = commits(&reader)[2].json().clone();
    let at = bytes.windows(third.len()).position(|window| window == third).unwrap();
    bytes[at + 10] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = reader.changes(|_| Ok::<_, ReadError>(())).unwrap_err().to_string();
    assert!(error.contains("position 3: the frame's checksum is wrong"), "{error}");
}

/// A writer goes on where the older version has stopped.
#[test]
fn every_journal_is_written_on() {
    for name in names() {
        let golden = Golden::copy(&name);
        let last = golden.reader().last();
        let (store, tip) = FileStore::open(&golden.data.journal_dir(0), golden.data.store_id(0), last).unwrap();
        assert_eq!(Some(&Tip::of(commits(&golden.reader()).last().unwrap())), Some(&tip), "{name}");
        drop(store);
        assert_eq!(golden.reader().last(), last, "{name}");
    }
}

/// The index is a cache: one of an older format is moved aside, and built anew from the journal. Today's is believed.
#[test]
fn an_index_of_an_older_format_is_built_anew() {
    for name in names() {
        let golden = Golden::copy(&name);
        let (dir, id, reader) = (golden.data.partition_dir(0), golden.data.store_id(0), golden.reader());
        let opened = SledIndex::open(&dir, id).unwrap();
        let is_todays = golden.version().contains(&format!("index format {INDEX_FORMAT}\n"));
        assert_eq!(opened.from.is_some(), is_todays, "{name}: {:?}", opened.doubt);
        if !is_todays {
            let doubt = match golden.version() {
                version if version.contains("index format 1\n") => {
                    "the checkpoint cannot be read: missing field `index_format` at line 1 column 207"
                }
                _ => "the index has format 2",
            };
            assert_eq!(opened.doubt.as_deref(), Some(doubt), "{name}");
            assert!(dir.join("sled.doubtful-1").exists(), "{name}: it is moved aside");
        }
        catch_up(&opened.index, &reader, opened.from.as_ref(), reader.last(), &mut |_| {}).unwrap();
        let tip = Tip::of(commits(&reader).last().unwrap());
        opened.index.checkpoint(tip.position.unwrap(), tip.hash).unwrap();
        drop(opened);
        let (index, checkpoint) = SledIndex::open_as_it_is(&dir, id).unwrap().unwrap();
        verify(&index, &reader, &checkpoint, &mut |_| {}).unwrap();
    }
    assert!(Golden::copy(NEWEST).version().contains(&format!("index format {INDEX_FORMAT}\n")), "add a golden");
}

/// What was decided then is what is decided today, once its events are in today's form.
#[test]
fn what_was_decided_is_decided_again() {
    let service = samples();
    let mut upcast = 0;
    for name in names() {
        let mut states: BTreeMap<AggregateId, Folded> = BTreeMap::new();
        for commit in commits(&Golden::copy(&name).reader()) {
            let aggregate = &commit.command.aggregate;
            let Decision::Accepted(then) = commit.outcome().unwrap().decision else { continue };
            if aggregate.kind.is_batch() {
                continue;
            }
            let folded = states.entry(aggregate.clone()).or_insert_with(|| service.start(&aggregate.kind).unwrap());
            let identity = &commit.command.identity;
            let context = Context { time: commit.decided_at, principal: &identity.principal, id: &identity.id };
            let again = folded.state.decide(commit.command.name.as_str(), &commit.command.data, &context).unwrap();
            let at = format!("{name}, position {}", commit.position);
            let Decided::Accepted { events: now, .. } = again else { panic!("{at}: {again:?}") };
            assert_eq!(then.len(), now.len(), "{at}");
            for (then, now) in then.iter().zip(&now) {
                let today = service.upcast(&aggregate.kind, then).unwrap().unwrap();
                upcast += u32::from(today.schema != then.schema);
                assert_eq!((&today.kind, today.schema), (&now.kind, now.schema), "{at}");
                let value = |json: &str| serde_json::from_str::<Value>(json).unwrap();
                assert_eq!(value(today.data.get()), value(now.data.get()), "{at}");
            }
            folded.apply(&commit).unwrap();
        }
    }
    assert_eq!(upcast, 2, "each golden from before schema 2 has one cancelled order");
    assert_eq!(names().len(), 5, "whoever adds a golden looks at the number above");
}
