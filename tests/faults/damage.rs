//! Every kind of file in a data directory is damaged in every way that disks and people do it. Either the program refuses
//! to start or to go on, and names what is wrong, or the damage is harmless: every old outcome is the same, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::clients::{Clients, Told};
use crate::common::nats::NatsServer;
use crate::common::row::{Row, Verdict};
use crate::judge::judge;
use crate::program::{Serve, Started, verify};
use crate::stores::{Store, id};

/// Runs at a time.
const AT_A_TIME: usize = 6;

/// What `serve` and `verify` exit with when the store is damaged.
const DAMAGED: i32 = 8;

/// The old commands must be answered by then, or the program has ended.
const ANSWERED_MAX: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Damage {
    BitFlipped(usize),
    BlockZeroed,
    TailCut(usize),
    Missing,
    Swapped(PathBuf),
    FromOlderBackup,
}

/// What a file is for, and so what must come of its damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Segment,
    Offsets,
    Sled,
    Checkpoint,
    Directory,
    Lock,
}

impl Kind {
    fn of(file: &Path) -> Kind {
        let name = file.file_name().and_then(|name| name.to_str()).expect("our names are text");
        match name {
            "hapax.json" => Kind::Directory,
            "checkpoint.json" => Kind::Checkpoint,
            "lock" | "index.lock" => Kind::Lock,
            _ if name.ends_with(".log") => Kind::Segment,
            _ if name.ends_with(".idx") => Kind::Offsets,
            _ => Kind::Sled,
        }
    }
}

impl Damage {
    /// All that is done to one file.
    fn all(file: &Path, length: usize, others: &[PathBuf], older: &Path) -> Vec<Damage> {
        let mut all = vec![Damage::Missing];
        if length > 0 {
            let parts = 8;
            let mut offsets: Vec<usize> = (0..parts).map(|part| part * length / parts).collect();
            offsets.extend([length - 1, length.saturating_sub(2)]);
            offsets.dedup();
            all.extend(offsets.into_iter().map(Damage::BitFlipped));
            all.extend([Damage::BlockZeroed, Damage::TailCut(1), Damage::TailCut(length.div_ceil(2))]);
        }
        let same_kind = others.iter().filter(|other| *other != file && Kind::of(other) == Kind::of(file));
        let any = others.iter().filter(|other| *other != file && Kind::of(other) != Kind::of(file));
        all.extend(same_kind.chain(any).next().cloned().map(Damage::Swapped));
        if older.join(file).exists() {
            all.push(Damage::FromOlderBackup);
        }
        all
    }

    fn inflict(&self, data: &Path, file: &Path, older: &Path) {
        let path = data.join(file);
        let mut bytes = fs::read(&path).unwrap();
        match self {
            Damage::BitFlipped(offset) => bytes[*offset] ^= 1,
            Damage::BlockZeroed => {
                let start = bytes.len() / 3;
                let end = bytes.len().min(start + 512);
                bytes[start..end].fill(0);
            }
            Damage::TailCut(length) => bytes.truncate(bytes.len() - length),
            Damage::Missing => return fs::remove_file(path).unwrap(),
            Damage::Swapped(other) => {
                let other = data.join(other);
                let theirs = fs::read(&other).unwrap();
                fs::write(other, &bytes).unwrap();
                bytes = theirs;
            }
            Damage::FromOlderBackup => bytes = fs::read(older.join(file)).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// A store of several segments, and its backup from before the second half.
async fn stores() -> (Store, Store) {
    let told = |number: usize| {
        let (name, body) = match number {
            0..4 => ("open", r#"{"owner":"ann"}"#),
            _ if number.is_multiple_of(5) => ("withdraw", r#"{"amount":50}"#),
            _ => ("deposit", r#"{"amount":9}"#),
        };
        let principal = ["alice", "bob"][number % 2];
        Told::new(&format!("{principal}.account.{}.{name}", number % 4), &id(number), body)
    };
    let (first, second): (Vec<_>, Vec<_>) = ((0..12).map(told).collect(), (12..24).map(told).collect());
    let older = Store::none().after(&first).await.in_segments(1_200);
    (older.after(&second).await, older)
}

/// One damage to a copy of the store, and what does not hold afterwards.
async fn run(store: &Store, older: &Store, file: &Path, damage: &Damage) -> Verdict {
    let nats = tokio::task::spawn_blocking(NatsServer::start).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    store.copy_to(&data);
    damage.inflict(&data, file, &older.data());
    let damaged = fs::read(data.join(file)).ok();
    let verified = verify(&data);
    let found = format!("{}{}", String::from_utf8_lossy(&verified.stderr), String::from_utf8_lossy(&verified.stdout));
    let serve = Serve { under: Vec::new(), url: nats.url(), data: data.clone(), log: folder.path().join("log") };
    let clients = Clients::connect(&nats.url(), store.history.clone()).await;
    let mut verdict = match serve.start().await {
        Started::Ended(status, _) => refused(&serve, file, status.code()),
        Started::Ready(mut program) => {
            let again = tokio::time::timeout(ANSWERED_MAX, clients.settle_all(&store.told));
            tokio::select! {
                status = program.ended() => refused(&serve, file, status.code()),
                again = again => {
                    program.stop().await;
                    match again {
                        Ok(_) => return judge(&clients.history(), &data), // Harmless.
                        Err(_) => Verdict::of(format!("neither refused nor answered: {}", serve.said())),
                    }
                }
            }
        }
    };
    // It was refused, so it is damage, and nobody may have touched it.
    if verified.status.success() {
        verdict.complaints.push(format!("verify has found nothing: {found}"));
    }
    if Kind::of(file) == Kind::Segment {
        if verified.status.code() != Some(DAMAGED) || !names(&found) {
            verdict.complaints.push(format!("verify does not name the damage: {:?} {found}", verified.status));
        }
        if fs::read(data.join(file)).ok() != damaged {
            verdict.complaints.push("the damaged segment was changed".into());
        }
    }
    verdict
}

/// The program would not go on.
fn refused(serve: &Serve, file: &Path, code: Option<i32>) -> Verdict {
    let said = serve.said();
    let is_told = match Kind::of(file) {
        Kind::Segment => code == Some(DAMAGED) && names(&said),
        Kind::Directory => said.contains("hapax.json") || said.contains("belongs to"),
        // All others can be made again.
        _ => false,
    };
    if is_told {
        Verdict::default()
    } else {
        Verdict::of(format!("it ended ({code:?}) and does not name the damage: {said}"))
    }
}

/// Whether damage to the journal is named: file, offset and position.
fn names(said: &str) -> bool {
    said.contains(".log") && said.contains("byte") && said.contains("position")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_or_harmless() {
    let (store, older) = stores().await;
    let data = store.data();
    let files: Vec<PathBuf> =
        files_below(&data).iter().map(|file| file.strip_prefix(&data).unwrap().to_owned()).collect();
    let segments = files.iter().filter(|file| Kind::of(file) == Kind::Segment).count();
    assert!(segments > 2, "{files:?}");
    let mut cases = Vec::new();
    for file in &files {
        let length = usize::try_from(fs::metadata(data.join(file)).unwrap().len()).unwrap();
        cases.extend(Damage::all(file, length, &files, &older.data()).into_iter().map(|damage| (file, damage)));
    }
    let verdicts = stream::iter(&cases).map(|(file, damage)| run(&store, &older, file, damage));
    let verdicts: Vec<Verdict> = verdicts.buffered(AT_A_TIME).collect().await;
    let kinds = [
        (Kind::Segment, "damage: journal segment"),
        (Kind::Offsets, "damage: offsets"),
        (Kind::Sled, "damage: sled"),
        (Kind::Checkpoint, "damage: checkpoint.json"),
        (Kind::Directory, "damage: hapax.json"),
        (Kind::Lock, "damage: lock files"),
    ];
    let rows = kinds.map(|(kind, name)| {
        let mut row = Row::of(name);
        for ((file, damage), verdict) in cases.iter().zip(&verdicts).filter(|((file, _), _)| Kind::of(file) == kind) {
            row.add(1, &format!("{} {damage:?}", file.display()), verdict);
        }
        row
    });
    Row::end_all(rows);
}
