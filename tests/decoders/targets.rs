//! What must hold whatever the bytes are. Each target is called with mutated good input by `tests/decoders.rs`, and by
//! `tests/fuzz` with what a fuzzer makes up.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hapax::Service;
use hapax::index::{Checkpoint, SledIndex};
use hapax::model::batch::{Batch, Group, Item};
use hapax::model::limits::BATCH_ITEMS_MAX;
use hapax::model::outcome::Reply;
use hapax::model::{ChainHash, Commit, Position, header, json};
use hapax::replay::mask::{Mask, Masker};
use hapax::replay::redecide::Redecider;
use hapax::replay::timeline::Timeline;
use hapax::samples::{Account, service};
use hapax::store::file::disk::Disk;
use hapax::store::file::journal::Journal;
use hapax::store::file::{FORMAT, OpenError};
use hapax::store::{CommitReader, StoreId, Tip};
use uuid::Uuid;

use crate::common::cut_disk::CutDisk;
use crate::common::pure::Pure;

/// The store that the journal and the checkpoint belong to.
pub const STORE: StoreId = StoreId { store: Uuid::from_u128(7), partition: 0, partitions: 1 };

/// Where the envelope's sender waits.
pub const INBOX: &str = "_INBOX.alice.1";

/// A command as it comes in: the subject behind `cmd.`, headers line by line, an empty line, the body. It is settled,
/// whatever it is: decided, refused, in quarantine, or not decided because its inbox is somebody else's. Sent again, it
/// meets the same end, and an outcome is the same bytes.
pub fn envelope(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.split('\n');
    let subject = format!("cmd.{}", lines.next().unwrap_or_default());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut pure = Pure::new(service());
    let ends: Vec<_> = (0..2)
        .map(|_| {
            pure.publish(0, &subject, &headers, Bytes::copy_from_slice(body.as_bytes()), false);
            pure.settle();
            let inbox = headers.iter().find(|(name, _)| name == header::REPLY_TO).map_or(INBOX, |(_, inbox)| inbox);
            let reply = pure.take_reply(inbox).map(|answer| answer.body);
            if let Some(reply) = reply.as_ref().filter(|reply| items(reply).is_none()) {
                Reply::from_json(reply).unwrap_or_else(|error| panic!("{error:?}: {reply:?}"));
            }
            (reply, pure.commits().len())
        })
        .collect();
    assert_eq!(pure.broker.outstanding(), 0, "something was left to be delivered for ever");
    assert!(ends[1].1 <= 1 || subject.contains("._batch."), "decided twice");
    assert_eq!(ends[0], ends[1]);
}

/// The entries of a reply to a batch.
fn items(reply: &Bytes) -> Option<Vec<serde_json::Value>> {
    let reply: serde_json::Value = serde_json::from_slice(reply).ok()?;
    Some(reply.get("items")?.as_array().expect("the items are a list").clone())
}

/// The body of a batch, or what the store says of an atomic one. What is read is within the limits, and is answered item by
/// item, twice the same.
pub fn batch(bytes: &[u8]) {
    if let Ok(group) = Group::from_json(bytes) {
        assert_eq!(Group::from_json(&group.to_json()).unwrap(), group);
    }
    let Ok(batch) = Batch::from_json(bytes) else { return };
    let id = |item: &Item| match item {
        Item::Command(command) => Some(command.id.clone()),
        Item::Check(_) => None,
    };
    let ids: HashSet<_> = batch.items.iter().filter_map(id).collect();
    assert_eq!(ids.len(), batch.command_count(), "an id twice");
    assert!((1..=BATCH_ITEMS_MAX).contains(&batch.items.len()) && !ids.is_empty());
    assert!(batch.atomic || ids.len() == batch.items.len(), "a check that guards nothing");
    let mut pure = Pure::new(service());
    let headers = [(header::ID, "the-id-of-the-batch"), (header::REPLY_TO, INBOX)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let ends = [0; 2].map(|_| {
        pure.publish(0, "cmd.alice._batch.1.run", &headers, Bytes::copy_from_slice(bytes), false);
        pure.settle();
        let reply = pure.take_reply(INBOX).expect("its inbox is its own").body;
        let entries = items(&reply);
        assert!(entries.is_none_or(|entries| entries.len() == batch.items.len()), "{reply:?}");
        (reply, pure.commits().len())
    });
    assert_eq!(pure.broker.outstanding(), 0, "something was left to be delivered for ever");
    assert_eq!(ends[0], ends[1]);
    let commits = ends[0].1;
    assert!(!batch.atomic || commits == 0 || commits == 1 + ids.len(), "{commits} commits of {} commands", ids.len());
}

/// A command's body: what is accepted becomes one line, means the same, and stays as it is from then on.
pub fn body(bytes: &[u8]) {
    let Ok(compact) = json::compact_object(&Bytes::copy_from_slice(bytes)) else { return };
    let is_empty = bytes.iter().all(u8::is_ascii_whitespace);
    assert!(is_empty || json::same_value(bytes, &compact), "{compact:?}");
    assert_eq!(json::compact_object(&compact).unwrap(), compact);
    assert!(!compact.contains(&b'\n'));
    // Not as a `Value`, which refuses the number 1e999 and loses digits.
    let _raw: &serde_json::value::RawValue =
        serde_json::from_slice(&compact).expect("what we take for JSON is JSON to others");
}

/// A commit as it lies in the store: what is read is what is there.
pub fn commit(bytes: &[u8]) {
    let json = Bytes::copy_from_slice(bytes);
    let hash = ChainHash::of_store(STORE.store);
    let Ok(commit) = Commit::from_json(json.clone(), hash) else { return };
    assert_eq!((commit.json(), commit.hash), (&json, hash));
    let outcome = commit.outcome().expect("a commit whose outcome cannot be read is none");
    assert_eq!((outcome.position, outcome.version), (commit.position, commit.version));
    assert_eq!(outcome.event_count(), commit.event_count);
    assert!(commit.version_before() <= commit.version);
    read_back(&commit);
}

/// Whatever is recorded can be decided again, masked and shown.
fn read_back(commit: &Commit) {
    let service = Arc::new(Service::new().with::<Account>());
    let mut redecider = Redecider::new(service.clone(), STORE);
    let count = redecider.decide(commit.clone()).expect("it is the first").len();
    assert_eq!(count, usize::from(commit.followers == 0));
    let mask =
        r#"{"salt":"a salt of a test","ids":true,"principals":true,"keys":["account"],"fields":["owner","amount"]}"#;
    let mask: Mask = serde_json::from_str(mask).unwrap();
    if let Ok(masked) = Masker::new(&mask, &mut mask.unmatched(), service, STORE).mask(commit) {
        assert!(masked.iter().all(|masked| masked.version == commit.version && masked.followers == commit.followers));
    }
    Timeline { partition: 0, one_of_many: false, last: commit.position }.text(commit).expect("its outcome was read");
}

/// A reply, as a client reads it. Whatever it is, it is read or refused.
pub fn reply(bytes: &[u8]) {
    if let Ok(Reply::Outcome(outcome)) = Reply::from_json(bytes) {
        assert!(outcome.event_count() <= bytes.len() as u64);
    }
}

/// A segment: it is opened, or the error says what is wrong. What is opened is whole, and is opened again as it is. If
/// `written` is what it once held, and all of that was stated to be durable, nothing of it may be missing or different.
pub fn segment(bytes: &[u8], written: Option<&[Commit]>) {
    let (disk, dir) = (CutDisk::default(), Path::new("journal"));
    disk.create(&dir.join(format!("{:020}.log", 1))).unwrap().write_at(bytes, 0).unwrap();
    let open = || Journal::open(Arc::new(disk.clone()), dir, STORE, None, u64::MAX);
    let journal = match open() {
        Ok(journal) => journal,
        Err(OpenError::Io { source, .. }) => panic!("the disk is fine: {source}"),
        Err(_) => return,
    };
    let tip = journal.tip();
    let commits: Vec<Commit> = match journal.reader().read(Position::FIRST).collect() {
        Ok(commits) => commits,
        Err(error) => panic!("it was opened, and cannot be read: {error}"),
    };
    let mut followed = Tip::empty(STORE);
    for commit in &commits {
        assert_eq!(commit.hash, followed.hash.link(commit.json()), "the chain");
        followed = Tip::of(commit);
    }
    assert_eq!(followed, tip);
    if let Some(written) = written {
        let same = commits.len() == written.len()
            && commits.iter().zip(written).all(|(one, other)| one.json() == other.json());
        assert!(same, "{} commits were durable, {} are left (format {FORMAT})", written.len(), commits.len());
    }
    drop(journal);
    assert_eq!(open().expect("what was opened is opened again").tip(), tip);
}

/// A checkpoint. If `written` is what it once was, nothing else is believed.
pub fn checkpoint(bytes: &[u8], written: Option<&Checkpoint>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sled")).unwrap();
    fs::write(dir.path().join("checkpoint.json"), bytes).unwrap();
    if let Ok(Some((_, believed))) = SledIndex::open_as_it_is(dir.path(), STORE) {
        assert!(written.is_none_or(|written| *written == believed), "nobody wrote {believed:?}");
    }
}
