//! Every kind of file in a data directory is damaged in every way that disks and people do it. Either the program refuses
//! to start or to go on, and names what is wrong, or the damage is harmless: every old outcome is the same, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, stream};

use crate::clients::{Clients, Told};
use crate::common::folder::copy_folder;
use crate::common::nats::NatsServer;
use crate::common::row::{Row, Verdict};
use crate::judge::judge;
use crate::program::{Feeds, Serve, Started, export, verify};
use crate::stores::{Store, id, written};

/// Runs at a time.
const AT_A_TIME: usize = 6;

/// What `serve` and `verify` exit with when the store is damaged.
const DAMAGED: i32 = 8;

/// What `verify` exits with when the index is.
const WRONG: i32 = 1;

/// The old commands must be answered by then, or the program has ended.
const ANSWERED_MAX: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Damage {
    BitFlipped(usize),
    /// In the first so many bytes.
    BlockZeroed(usize),
    /// To so many bytes.
    CutTo(usize),
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
    Proof,
    Lock,
    /// A folder with the whole journal in it.
    Journal,
}

impl Kind {
    fn of(file: &Path) -> Kind {
        let name = file.file_name().and_then(|name| name.to_str()).expect("our names are text");
        match name {
            "hapax.json" => Kind::Directory,
            "checkpoint.json" => Kind::Checkpoint,
            "proof" => Kind::Proof,
            "lock" | "index.lock" => Kind::Lock,
            "p0" | "journal" => Kind::Journal,
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
            all.extend([Damage::BlockZeroed(length), Damage::CutTo(length - 1), Damage::CutTo(length / 2)]);
        }
        let same_kind = others.iter().filter(|other| *other != file && Kind::of(other) == Kind::of(file));
        let any = others.iter().filter(|other| *other != file && Kind::of(other) != Kind::of(file));
        all.extend(same_kind.chain(any).next().cloned().map(Damage::Swapped));
        if older.join(file).exists() {
            all.push(Damage::FromOlderBackup);
        }
        all
    }

    /// What is done to one file where it is not the first time.
    fn few(length: usize) -> Vec<Damage> {
        let mut few = vec![Damage::Missing];
        if length > 0 {
            few.extend([0, length / 2, length - 1].map(Damage::BitFlipped));
            few.extend([Damage::BlockZeroed(length), Damage::CutTo(length - 1), Damage::CutTo(length / 2)]);
        }
        few
    }

    /// To a file, or to a folder what can be done to one.
    fn inflict(&self, data: &Path, place: &Path, older: &Path) {
        let path = data.join(place);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
            return match self {
                Damage::Missing => (),
                Damage::FromOlderBackup => copy_folder(&older.join(place), &path),
                _ => panic!("{self:?} is for files"),
            };
        }
        let mut bytes = fs::read(&path).unwrap();
        match self {
            Damage::BitFlipped(offset) => bytes[*offset] ^= 1,
            Damage::BlockZeroed(length) => {
                let start = length / 3;
                let end = (*length).min(start + 512);
                bytes[start..end].fill(0);
            }
            Damage::CutTo(length) => bytes.truncate(*length),
            Damage::Missing => return fs::remove_file(path).unwrap(),
            Damage::Swapped(other) => {
                let other = data.join(other);
                let theirs = fs::read(&other).unwrap();
                fs::write(other, &bytes).unwrap();
                bytes = theirs;
            }
            Damage::FromOlderBackup => bytes = fs::read(older.join(place)).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// The stores that are damaged.
struct Stores {
    /// Of several segments, after a clean stop.
    stopped: Store,
    /// The same commands; the processor was killed while it had nothing to do.
    killed: Store,
    /// The same, and killed before its checkpoint had them.
    killed_at_once: Store,
    /// The same as an export of it, imported, which nobody has started on.
    imported: Store,
    /// The backup from before the second half.
    older: Store,
}

async fn stores() -> Stores {
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
    let (stopped, killed) = (older.after(&second).await, older.killed_when_idle(&second).await);
    let killed_at_once = older.killed_at_once(&second).await;
    Stores { imported: stopped.imported(), stopped, killed, killed_at_once, older }
}

/// One damage, and the row that it belongs to.
struct Case<'a> {
    row: &'static str,
    store: &'a Store,
    older: &'a Store,
    place: PathBuf,
    damage: Damage,
}

impl Case<'_> {
    /// Damages a copy of the store; what does not hold afterwards. `None`: nothing was damaged, every byte is as it was.
    async fn run(&self) -> Option<Verdict> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        self.store.copy_to(&data);
        let place = data.join(&self.place);
        let intact = contents(&place);
        self.damage.inflict(&data, &self.place, &self.older.data());
        let damaged = contents(&place);
        if damaged == intact {
            return None;
        }
        let (verified, exported) = (verify(&data), export(&data));
        let nats = tokio::task::spawn_blocking(NatsServer::start).await.unwrap();
        let serve = Serve {
            under: Vec::new(),
            url: nats.url(),
            data: data.clone(),
            feed: Feeds::Off,
            log: folder.path().join("log"),
        };
        let clients = Clients::connect(&nats.url(), self.store.history.clone()).await;
        let mut verdict = match serve.start().await {
            Started::Ended(status, _) => self.refused(&serve, status.code()),
            Started::Ready(mut program) => {
                let again = tokio::time::timeout(ANSWERED_MAX, clients.settle_all(&self.store.told));
                tokio::select! {
                    status = program.ended() => self.refused(&serve, status.code()),
                    again = again => {
                        program.stop().await;
                        let mut verdict =
                            self.accepted(again.is_ok(), &clients, &serve, verified.status.success()).await;
                        if exported.stdout != export(&self.store.data()).stdout {
                            verdict.complaints.push("the export lacks something".into());
                        }
                        return Some(verdict);
                    }
                }
            }
        };
        // It was refused, so it is damage, and nobody may have touched it.
        let found =
            format!("{}{}", String::from_utf8_lossy(&verified.stderr), String::from_utf8_lossy(&verified.stdout));
        if verified.status.success() {
            verdict.complaints.push(format!("verify has found nothing: {found}"));
        }
        if self.is_of_journal() {
            if verified.status.code() != Some(DAMAGED) || !names(&found) {
                verdict.complaints.push(format!("verify does not name the damage: {:?} {found}", verified.status));
            }
            if exported.status.code() != Some(DAMAGED) {
                verdict.complaints.push("it is exported as if it were the whole".into());
            }
            if segments(contents(&place)) != segments(damaged) {
                verdict.complaints.push("the damaged journal was changed".into());
            }
        }
        Some(verdict)
    }

    fn is_of_journal(&self) -> bool {
        matches!(Kind::of(&self.place), Kind::Segment | Kind::Journal)
    }

    /// The program has gone on until it was stopped. `is_well`: `verify` had found nothing wrong.
    async fn accepted(&self, all_answered: bool, clients: &Clients, serve: &Serve, is_well: bool) -> Verdict {
        let history = clients.history();
        if !all_answered {
            let answered = history.answered(self.store.history.events.len()).len();
            let complaint = format!("neither refused nor answered: {}", serve.said());
            return Verdict { lost: self.store.told.len() - answered, ..Verdict::of(complaint) };
        }
        let is_doubted = serve.data.join("p0/sled.doubtful-1").exists();
        // 1. sled had more than its checkpoint says, and has lost some of that.
        // 2. What is behind the checkpoint is noted again, and everything adds up.
        // 3. Its file is still damaged, so whoever opens it next misses some of it. That is a start, which adds up again.
        let mut unnoticed = Vec::new();
        let is_of_killed = self.row == KILLED_ROW && Kind::of(&self.place) == Kind::Sled;
        if is_of_killed && verify(&serve.data).status.code() == Some(WRONG) {
            serve.start_well().await.stop().await;
            if !serve.data.join("p0/sled.doubtful-1").exists() {
                unnoticed.push("verify has found the index wrong, and a start has not".into());
            }
        }
        let mut verdict = judge(&history, &serve.data, None);
        verdict.complaints.extend(unnoticed);
        if Kind::of(&self.place) == Kind::Journal {
            verdict.complaints.push("a store that is not the one it was is not refused".into());
        }
        if is_well && is_doubted {
            verdict
                .complaints
                .push("verify has found nothing wrong with an index that a start does not believe".into());
        }
        verdict
    }

    /// The program would not go on.
    fn refused(&self, serve: &Serve, code: Option<i32>) -> Verdict {
        let said = serve.said();
        let is_told = match Kind::of(&self.place) {
            Kind::Segment | Kind::Journal => code == Some(DAMAGED) && names(&said),
            Kind::Directory => said.contains("hapax.json") || said.contains("belongs to"),
            // What came into its place is the other one's damage.
            _ if matches!(&self.damage, Damage::Swapped(other) if Kind::of(other) == Kind::Directory) => {
                said.contains("hapax.json is damaged")
            }
            // All others can be made again.
            _ => false,
        };
        if is_told {
            Verdict::default()
        } else {
            Verdict::of(format!("it ended ({code:?}) and does not name the damage: {said}"))
        }
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

/// The files at a place, a file or a folder, which may be missing.
fn contents(place: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = if place.is_dir() { files_below(place) } else { vec![place.to_owned()] };
    let read = |file: PathBuf| fs::read(&file).ok().map(|bytes| (file, bytes));
    files.into_iter().filter_map(read).collect()
}

fn segments(mut contents: Vec<(PathBuf, Vec<u8>)>) -> Vec<(PathBuf, Vec<u8>)> {
    contents.retain(|(file, _)| Kind::of(file) == Kind::Segment);
    contents
}

/// The files of a store, each with its length.
fn files_of(store: &Store) -> Vec<(PathBuf, usize)> {
    let data = store.data();
    let named = |file: PathBuf| {
        // Damage to zeros that were written beforehand would harm nothing.
        let length = written(&file);
        (file.strip_prefix(&data).unwrap().to_owned(), length)
    };
    files_below(&data).into_iter().map(named).collect()
}

const FILE_ROWS: [(Kind, &str); 7] = [
    (Kind::Segment, "damage: journal segment"),
    (Kind::Offsets, "damage: offsets"),
    (Kind::Sled, "damage: sled"),
    (Kind::Checkpoint, "damage: checkpoint.json"),
    (Kind::Directory, "damage: hapax.json"),
    (Kind::Proof, "damage: proof of what is durable"),
    (Kind::Lock, "damage: lock files"),
];
const FOLDERS_ROW: &str = "damage: whole folders";
const KILLED_ROW: &str = "damage: after a kill";
const IMPORTED_ROW: &str = "damage: imported, not started";

fn cases(Stores { stopped, killed, killed_at_once, imported, older }: &Stores) -> Vec<Case<'_>> {
    for store in [stopped, killed, killed_at_once] {
        let segments = files_of(store).iter().filter(|(file, _)| Kind::of(file) == Kind::Segment).count();
        assert!(segments > 2, "{segments}");
    }
    let mut cases = Vec::new();
    let files: Vec<PathBuf> = files_of(stopped).into_iter().map(|(file, _)| file).collect();
    for (place, length) in files_of(stopped) {
        let (_, row) = FILE_ROWS.into_iter().find(|(kind, _)| *kind == Kind::of(&place)).expect("no file is a folder");
        let all = Damage::all(&place, length, &files, &older.data()).into_iter();
        cases.extend(all.map(|damage| Case { row, store: stopped, older, place: place.clone(), damage }));
    }
    let folders = [
        ("p0", Damage::Missing),
        ("p0/journal", Damage::Missing),
        ("p0/sled", Damage::Missing),
        ("p0/journal", Damage::FromOlderBackup),
        ("p0/sled", Damage::FromOlderBackup),
    ];
    let of_folder =
        |(place, damage)| Case { row: FOLDERS_ROW, store: stopped, older, place: PathBuf::from(place), damage };
    cases.extend(folders.clone().map(of_folder));
    let of_imported =
        |(place, damage)| Case { row: IMPORTED_ROW, store: imported, older, place: PathBuf::from(place), damage };
    cases.extend(folders.map(of_imported));
    for (row, store) in [(KILLED_ROW, killed), (KILLED_ROW, killed_at_once), (IMPORTED_ROW, imported)] {
        for (place, length) in files_of(store) {
            if matches!(Kind::of(&place), Kind::Segment | Kind::Proof | Kind::Checkpoint | Kind::Sled) {
                let few = Damage::few(length).into_iter();
                cases.extend(few.map(|damage| Case { row, store, older, place: place.clone(), damage }));
            }
        }
    }
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_or_harmless() {
    let stores = stores().await;
    let cases = cases(&stores);
    let verdicts: Vec<_> = stream::iter(&cases).map(Case::run).buffered(AT_A_TIME).collect().await;
    let [a, b, c, d, e, f, g] = FILE_ROWS.map(|(_, row)| row);
    Row::end_all([a, b, c, d, e, f, g, FOLDERS_ROW, KILLED_ROW, IMPORTED_ROW].map(|name| {
        let mut row = Row::of(name);
        for (case, verdict) in cases.iter().zip(&verdicts).filter(|(case, _)| case.row == name) {
            if let Some(verdict) = verdict {
                row.add(1, &format!("{} {:?}", case.place.display(), case.damage), verdict);
            }
        }
        row
    }));
}
