//! Which system calls touch the data directory, and how one of them is made to fail or to be the last.
//!
//! strace counts `when=N` for each thread by itself. So a point is named by thread, call and file, and by how many of these
//! the same thread has made before; and only that thread is followed. Where two of one name make the same call on one file,
//! the one that comes to N first is hit.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::program::PATIENCE;

/// Everything that changes files or makes them safe.
const CHANGING: [&str; 17] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
];

/// Those that are made to fail: a disk that does not take what is written, or does not say that it is safe.
const FAILING: [&str; 7] = ["write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "sync_file_range"];

/// The folder of a pool of threads. Every other file has one writer at a time.
pub(crate) const SLED: &str = "p0/sled";

/// The threads that change files whenever the program runs, as it calls them.
const WRITING: [&str; 3] = ["journal", "indexer", "partition 0"];

/// One call on one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    /// The thread's name; empty: whichever comes to it, of a pool, or one that was not there yet when the process was
    /// looked at.
    thread: String,
    call: String,
    /// Below the data directory.
    file: PathBuf,
    /// The how manyth of its thread.
    number: u32,
}

/// The threads of a processor, and what each is called, once those that write have their names. All are there before it is
/// ready, but each names itself when it first runs, in any order: of 4,500 starts on two cores ten had a loop whose indexer
/// had no name yet.
pub(crate) async fn threads(process: u32) -> BTreeMap<u32, String> {
    let named = async {
        loop {
            let threads = threads_now(process);
            if WRITING.iter().all(|writing| threads.values().any(|name| name == writing)) {
                return threads;
            }
            tokio::time::sleep(Duration::from_millis(1)).await; // A pause between two looks.
        }
    };
    tokio::time::timeout(PATIENCE, named)
        .await
        .unwrap_or_else(|_| panic!("it has ended, or not each of {WRITING:?} has a thread: {:?}", threads_now(process)))
}

fn threads_now(process: u32) -> BTreeMap<u32, String> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let named = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = fs::read_to_string(path.join("comm")).ok()?; // It may have ended.
        Some((path.file_name()?.to_str()?.parse().ok()?, name.trim_end().to_owned()))
    });
    named.collect()
}

/// What is done at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Kill,
    InputOutputError,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thread = if self.thread.is_empty() { "a thread" } else { &self.thread };
        write!(f, "{thread}: {} {} #{}", self.call, self.file.display(), self.number)
    }
}

impl Point {
    /// One of whichever thread comes to it first.
    pub(crate) fn new(call: &str, file: &str, number: u32) -> Point {
        Point { thread: String::new(), call: call.to_owned(), file: file.into(), number }
    }

    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.file.starts_with(folder)
    }

    pub(crate) fn can_fail(&self) -> bool {
        FAILING.contains(&self.call.as_str())
    }

    /// strace's arguments that strike here. `trace` is where it writes.
    pub(crate) fn strike(&self, blow: Blow, data: &Path, trace: &Path) -> Vec<OsString> {
        let how = match blow {
            Blow::Kill => "signal=SIGKILL",
            Blow::InputOutputError => "error=EIO",
        };
        let Point { call, file, number, .. } = self;
        let mut arguments = follow(call, trace);
        arguments.extend(["-e".into(), format!("inject={call}:{how}:when={number}").into(), "-P".into()]);
        // The file of the data directory itself has no name below it.
        arguments.push(if file.as_os_str().is_empty() { data.into() } else { data.join(file).into() });
        arguments
    }
}

/// strace's arguments that write down every call.
pub(crate) fn everything(trace: &Path) -> Vec<OsString> {
    follow(&CHANGING.join(","), trace)
}

/// strace's arguments that let a call on one file take long.
pub(crate) fn slow(call: &str, delay: Duration, file: &Path, trace: &Path) -> Vec<OsString> {
    let mut arguments = follow(call, trace);
    let inject = format!("inject={call}:delay_exit={}", delay.as_micros());
    arguments.extend(["-e".into(), inject.into(), "-P".into(), file.into()]);
    arguments
}

fn follow(calls: &str, trace: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["-f", "-y", "-q", "-s", "8", "-e"].map(OsString::from).into();
    arguments.extend([format!("trace={calls}").into(), "-o".into(), trace.into()]);
    arguments
}

/// The command line that runs a program under strace, as a process with the program's own id.
pub(crate) fn run(arguments: Vec<OsString>) -> Vec<OsString> {
    // Without --seccomp-bpf: with it, a signal is injected only now and then.
    ["strace", "-D"].map(OsString::from).into_iter().chain(arguments).collect()
}

/// strace, attached to a process that runs.
pub(crate) struct Attached {
    strace: Child,
}

impl Attached {
    /// Returns when every thread is traced. `under`: what runs strace, so that it sees the files of the process.
    pub(crate) async fn to(under: Vec<OsString>, process: u32, arguments: Vec<OsString>) -> Attached {
        Attached::to_each(under, &[process], arguments).await
    }

    /// The same, for the thread alone whose point it is.
    pub(crate) async fn to_strike(point: &Point, blow: Blow, process: u32, data: &Path, trace: &Path) -> Attached {
        let mut arguments = point.strike(blow, data, trace);
        if point.thread.is_empty() {
            return Attached::to(Vec::new(), process, arguments).await;
        }
        let threads = threads(process).await.into_iter().filter(|(_, name)| *name == point.thread);
        let threads: Vec<u32> = threads.map(|(thread, _)| thread).collect();
        assert!(!threads.is_empty(), "there is no thread for {point}");
        arguments.retain(|argument| argument != "-f");
        Attached::to_each(Vec::new(), &threads, arguments).await
    }

    async fn to_each(under: Vec<OsString>, tasks: &[u32], mut arguments: Vec<OsString>) -> Attached {
        arguments.retain(|argument| argument != "-q"); // It would not say that it is attached.
        let line: Vec<OsString> = under.into_iter().chain(["strace".into()]).collect();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        for task in tasks {
            command.arg("-p").arg(task.to_string());
        }
        let mut strace = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(strace.stderr.take().expect("it is piped")).lines();
        for _ in tasks {
            let said = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it attaches").unwrap();
            assert!(said.as_ref().is_some_and(|said| said.contains("attached")), "{said:?}");
        }
        // What else it says nobody reads; it must be able to say it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Attached { strace }
    }

    /// Lets the process go on alone.
    pub(crate) async fn detach(self) {
        let id = self.strace.id().expect("it has not ended").to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.ended().await;
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(mut self) {
        tokio::time::timeout(PATIENCE, self.strace.wait()).await.expect("it ends with its process").unwrap();
    }
}

/// What strace has written once the process that it traced has ended.
pub(crate) async fn written(trace: &Path, process: u32) -> String {
    let process = process.to_string();
    // The end of the first thread, which has the process' number, is told last. It may be all there is to tell.
    let is_end = |line: &str| line.split_once(' ').is_some_and(|(of, rest)| of == process && rest.contains("+++ "));
    let complete = async {
        loop {
            let text = fs::read_to_string(trace).unwrap_or_default();
            if text.lines().any(is_end) {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.expect("strace writes down the end")
}

/// Whether the blow has fallen. Before anybody else has killed the process.
pub(crate) fn is_struck(trace: &str, blow: Blow) -> bool {
    trace.contains(match blow {
        Blow::Kill => "killed by SIGKILL",
        Blow::InputOutputError => "(INJECTED)",
    })
}

/// The points of a trace, and those that no injection reaches, since another thread comes to the same number first.
pub(crate) fn points(trace: &str, data: &Path, names: &BTreeMap<u32, String>) -> (BTreeSet<Point>, Vec<Point>) {
    let mut counts: BTreeMap<(&str, &str, &Path), u32> = BTreeMap::new();
    let (mut points, mut shadowed) = (BTreeSet::new(), Vec::new());
    for line in trace.lines() {
        let Some((thread, call, path)) = call(line) else { continue };
        let Ok(file) = path.strip_prefix(data) else { continue };
        let number = counts.entry((thread, call, file)).or_default();
        *number += 1;
        // sled has a pool of threads, of which another one may come to it the next time.
        let name =
            if file.starts_with(SLED) { None } else { thread.parse().ok().and_then(|thread| names.get(&thread)) };
        let name = name.cloned().unwrap_or_default();
        let point = Point { thread: name, call: call.to_owned(), file: file.to_owned(), number: *number };
        if points.contains(&point) {
            shadowed.push(point);
        } else {
            points.insert(point);
        }
    }
    // For one that has no name all threads are followed.
    let anybodys = |point: &&Point| {
        let mut others = points.iter().filter(|other| other.thread != point.thread);
        let same = |other: &Point| (&other.call, &other.file, other.number) == (&point.call, &point.file, point.number);
        point.thread.is_empty() && others.any(same)
    };
    shadowed.extend(points.iter().filter(anybodys).cloned());
    (points, shadowed)
}

/// Thread, call and file of a line like `17 fsync(9</data/file>) = 0` or `17 rename("/data/new", "/data/file") = 0`.
fn call(line: &str) -> Option<(&str, &str, &Path)> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, arguments) = rest.trim_start().split_once('(')?;
    if !CHANGING.contains(&call) {
        return None; // The second half of a call that was interrupted, or an end.
    }
    let path = match arguments.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => {
            let (number, rest) = arguments.split_once('<')?;
            let path = rest.split('>').next()?;
            // Relative to the current folder, named in full.
            if number == "AT_FDCWD" { arguments.split('"').nth(1)? } else { path }
        }
    };
    Some((thread, call, Path::new(path)))
}

#[test]
fn lines_are_understood() {
    let trace = "7 fsync(9</d/a b>) = 0\n7 rename(\"/d/new\", \"/d/a\") = 0\n8 fsync(9</d/a b> <unfinished ...>\n\
                 8 <... fsync resumed>) = 0\n8 unlinkat(3</d/sled>, \"db\", 0) = 0\n8 write(1<pipe:[3]>, \"x\", 1) = 1\n\
                 8 unlinkat(AT_FDCWD</>, \"/d/x\", AT_REMOVEDIR) = 0\n7 fsync(4</d>) = 0\n7 +++ exited with 0 +++\n";
    let found = |names: &[(u32, &str)]| {
        let names = names.iter().map(|(thread, name)| (*thread, (*name).to_owned())).collect();
        let (points, shadowed) = points(trace, Path::new("/d"), &names);
        let shown = |point: &Point| point.to_string();
        (points.iter().map(shown).collect::<Vec<_>>(), shadowed.iter().map(shown).collect::<Vec<_>>())
    };
    let (points, shadowed) = found(&[]);
    let files = ["fsync  #1", "fsync a b #1", "rename new #1", "unlinkat sled #1", "unlinkat x #1"];
    assert_eq!(points, files.map(|file| format!("a thread: {file}")));
    assert_eq!(shadowed, ["a thread: fsync a b #1"]);
    let (points, shadowed) = found(&[(7, "one"), (8, "two")]);
    assert!(points.contains(&"one: fsync a b #1".to_owned()) && points.contains(&"two: fsync a b #1".to_owned()));
    assert!(shadowed.is_empty(), "{shadowed:?}");
    assert_eq!(found(&[(7, "one")]).1, ["a thread: fsync a b #1"], "one of a name that is not known");
}
