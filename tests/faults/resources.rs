//! What runs out or stands still: the disk is full, read-only or slow, there are no more files or too little memory, the
//! process is stopped. Nothing is lost, and when the cause is gone work goes on: by the program itself, or by whoever
//! starts it again where it ends by design.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::{StreamExt, stream};
use hapax::model::limits::COMMAND_BYTES_MAX;
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::{Clients, Told};
use crate::common::feed::read_feed;
use crate::common::folder::copy_folder;
use crate::common::history::History;
use crate::common::nats::NatsServer;
use crate::common::row::{Need, Row, Verdict, can_run};
use crate::disk::Disk;
use crate::judge::{given_up, judge};
use crate::program::{self, Feeds, PATIENCE, Program, Serve, Started, supervise};
use crate::stores::{id, last_segment};
use crate::strace::{self, Attached};

/// Commands under way at a time.
const AT_A_TIME: usize = 8;

/// Seconds that a process is stopped for, if it is told. Longer than the consumer's `ack_wait`, 5 s.
const STOPPED: (&str, u64) = ("HAPAX_SIGSTOP_SECONDS", 7);

/// Seconds that one fsync takes on a slow disk, if it is told.
const SLOW: (&str, u64) = ("HAPAX_SLOW_FSYNC_SECONDS", 3);

/// Bytes of memory that a processor may have.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// A broker, a data directory and its clients.
struct Site {
    nats: NatsServer,
    folder: TempDir,
    clients: Clients,
    serve: Serve,
}

impl Site {
    /// `under`: what runs the program. `data`: elsewhere than on the machine's own disk.
    async fn new(under: Vec<OsString>, data: Option<PathBuf>) -> Site {
        let (nats, folder) = (NatsServer::start(), tempfile::tempdir().unwrap());
        let clients = Clients::connect(&nats.url(), History::default()).await;
        let data = data.unwrap_or_else(|| folder.path().join("data"));
        let serve = Serve { under, url: nats.url(), data, feed: Feeds::Anew, log: folder.path().join("log") };
        Site { nats, folder, clients, serve }
    }

    async fn settle(&self, told: &[Told]) {
        let settled = stream::iter(told).for_each_concurrent(AT_A_TIME, async |told| {
            self.clients.settle(told).await;
        });
        settled.await;
    }

    /// Asked by its clients, it says so, and so does `hapax health`. Until it does.
    async fn until_degraded(&self, why: &str) {
        let told = async {
            loop {
                let health = self.clients.health().await;
                let is_why = |text: &Value| text.as_str().is_some_and(|text| text.contains(why));
                if health["state"] == "degraded" && health["why"].as_array().unwrap().iter().any(is_why) {
                    break;
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, told).await.is_ok(), "health does not tell: {why}");
        let shown = program::health(&self.nats.url()).await;
        let text = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.status.code() == Some(1) && text.contains("degraded") && text.contains(why), "{shown:?}");
    }

    /// Nobody is there who could say how he is; `hapax health` says that.
    async fn assert_unheard(&self) {
        let shown = program::health(&self.nats.url()).await;
        let text = String::from_utf8_lossy(&shown.stderr);
        assert!(shown.status.code() == Some(1) && text.contains("no processor"), "{shown:?}");
    }

    /// It is well, and says so.
    async fn until_ready(&self) -> Result<(), String> {
        self.clients.until_well().await?;
        let shown = program::health(&self.nats.url()).await;
        if shown.status.success() { Ok(()) } else { Err(format!("it was well: {shown:?}")) }
    }

    /// The cause is gone: everything is answered, and again the same.
    async fn end(self, program: Option<Program>, told: &[Told], seen_from_outside: Option<PathBuf>) -> Verdict {
        let work = async {
            self.settle(told).await;
            self.settle(told).await;
            self.until_ready().await
        };
        let (ready, program) = match supervise(&self.serve, program, work).await {
            Ok(done) => done,
            Err(complaint) => return given_up(&self.clients.history(), complaint),
        };
        let status = program.stop().await;
        let feed = read_feed(&self.nats.client().await, 0).await;
        let mut verdict = judge(&self.clients.history(), &seen_from_outside.unwrap_or(self.serve.data), Some(&feed));
        verdict.complaints.extend(ready.err());
        if !status.success() {
            verdict.complaints.push(format!("it has not stopped well: {status}"));
        }
        verdict
    }
}

/// Deposits into a few accounts, opened first.
fn deposits(from: usize, count: usize) -> Vec<Told> {
    let told = |number: usize| match number {
        0..4 => Told::new(&format!("alice.account.{number}.open"), &id(number), r#"{"owner":"ann"}"#),
        _ => Told::new(&format!("bob.account.{}.deposit", number % 4), &id(number), r#"{"amount":7}"#),
    };
    (from..from + count).map(told).collect()
}

/// Accounts of owners with very long names.
fn large(count: usize) -> Vec<Told> {
    let owner = "x".repeat(COMMAND_BYTES_MAX - 100);
    let open = format!(r#"{{"owner":"{owner}"}}"#);
    (0..count)
        .map(|number| Told::new(&format!("carol.account.large{number}.open"), &id(1_000 + number), open.clone()))
        .collect()
}

fn seconds((variable, otherwise): (&str, u64)) -> Duration {
    let told = env::var(variable).map(|number| number.parse().expect("a number of seconds"));
    Duration::from_secs(told.unwrap_or(otherwise))
}

/// Tells, and waits until the program has ended by itself, since it could not write.
async fn until_it_ends(site: &Site, mut program: Program, told: &[Told]) {
    let told = async {
        site.settle(told).await;
        // The index may be behind, and write only once nothing more comes.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = told => {}
        status = program.ended() => assert_eq!(status.code(), Some(1), "{}", site.serve.said()),
        () = tokio::time::sleep(PATIENCE) => panic!("it goes on without its disk: {}", site.serve.said()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_full() {
    const NAME: &str = "resources: no space on the disk";
    if !can_run(NAME, &[Need::Root]) {
        return;
    }
    let disk = Disk::of_memory(24 * 1024 * 1024);
    let site = Site::new(disk.within(), Some(disk.path().join("data"))).await;
    let program = site.serve.start_well().await;
    let told = large(60);
    until_it_ends(&site, program, &told).await;
    let said = site.serve.said();
    assert!(said.contains("No space left") && said.contains("then start it again"), "{said}");
    site.assert_unheard().await;
    // Neither does it start as long as there is none, or it ends again.
    if let Started::Ready(program) = site.serve.start().await {
        until_it_ends(&site, program, &told).await;
    }
    disk.grow(256 * 1024 * 1024);
    let outside = disk.seen_from_outside().join("data");
    Row::whole(NAME, 1, &site.end(None, &told, Some(outside)).await);
}

/// The journal has a disk of its own, so that only sled and its checkpoint stand before a full one.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_the_index_is_full() {
    const NAME: &str = "resources: no space for the index alone";
    if !can_run(NAME, &[Need::Root]) {
        return;
    }
    let disk = Disk::of_memory(16 * 1024 * 1024);
    let site = Site::new(disk.within(), Some(disk.path().join("data"))).await;
    let program = site.serve.start_well().await;
    site.settle(&deposits(0, 50)).await;
    assert!(program.stop().await.success());
    let outside = disk.seen_from_outside().join("data");
    let (within, elsewhere) = (outside.join("p0/journal"), site.folder.path().join("journal"));
    copy_folder(&within, &elsewhere);
    fs::remove_dir_all(&within).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &within).unwrap();
    let program = site.serve.start_well().await;
    let filler = disk.fill();
    // sled writes half a MiB at a time, and what is left at the checkpoint of an idle moment.
    let told = deposits(0, 8_000);
    until_it_ends(&site, program, &told).await;
    let said = site.serve.said();
    assert!(said.contains("No space left") && said.contains("then start it again"), "{said}");
    site.assert_unheard().await;
    let Started::Ended(status, _) = site.serve.start().await else { panic!("it starts on a full disk") };
    assert_eq!(status.code(), Some(1), "{}", site.serve.said());
    assert!(!site.serve.said().contains("is built anew"), "a full disk makes no index doubtful: {}", site.serve.said());
    fs::remove_file(filler).unwrap();
    Row::whole(NAME, 1, &site.end(None, &told, Some(outside)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_becomes_read_only() {
    const NAME: &str = "resources: the disk becomes read-only";
    if !can_run(NAME, &[Need::Root]) {
        return;
    }
    let disk = Disk::new();
    let site = Site::new(disk.within(), Some(disk.path().join("data"))).await;
    let program = site.serve.start_well().await;
    site.settle(&deposits(0, 50)).await;
    disk.become_read_only();
    until_it_ends(&site, program, &deposits(50, 50)).await;
    let said = site.serve.said();
    assert!(said.contains("Read-only file system") && said.contains("then start it again"), "{said}");
    site.assert_unheard().await;
    assert!(matches!(site.serve.start().await, Started::Ended(..)), "it starts on a read-only disk");
    disk.switch_on();
    let outside = disk.seen_from_outside().join("data");
    Row::whole(NAME, 1, &site.end(None, &deposits(0, 100), Some(outside)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_files() {
    const NAME: &str = "resources: no more open files";
    let mut site = Site::new(Vec::new(), None).await;
    let program = site.serve.start_well().await;
    site.settle(&deposits(0, 50)).await;
    // As many as it has. It loses one, its connection, and something else takes that place first.
    let limit = |number: &str| {
        let line = ["--nofile".to_owned() + "=" + number, "--pid".to_owned(), program.id.to_string()];
        assert!(Command::new("prlimit").args(line).status().unwrap().success());
    };
    limit("3:1024");
    site.settle(&deposits(50, 20)).await;
    site.until_degraded("Too many open files").await;
    site.nats.restart();
    let without = tokio::time::timeout(Duration::from_secs(2), site.settle(&deposits(70, 30))).await;
    assert!(without.is_err(), "it has connected without a file");
    site.assert_unheard().await;
    assert!(site.serve.said().contains("raise the limit of open files"), "{}", site.serve.said());
    limit("1024:1024");
    Row::whole(NAME, 1, &site.end(Some(program), &deposits(0, 100), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_fsync_takes_long() {
    let slow = seconds(SLOW);
    let name = format!("resources: an fsync takes {} s", slow.as_secs());
    if !can_run(&name, &[Need::Strace]) {
        return;
    }
    let site = Site::new(Vec::new(), None).await;
    let program = site.serve.start_well().await;
    site.settle(&deposits(0, 50)).await;
    let trace = site.folder.path().join("trace");
    let strace = Attached::to(
        Vec::new(),
        program.id,
        strace::slow("fdatasync", slow, &site.serve.data.join(last_segment()), &trace),
    )
    .await;
    let told = deposits(50, 8);
    let quick = tokio::time::timeout(slow / 2, site.settle(&told)).await;
    assert!(quick.is_err(), "an answer came before its fsync had ended");
    site.until_degraded("the disk has made nothing durable for").await;
    site.settle(&told).await;
    strace.detach().await;
    Row::whole(&name, 1, &site.end(Some(program), &deposits(0, 100), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_stopped_for_longer_than_ack_wait() {
    let stopped = seconds(STOPPED);
    let name = format!("resources: SIGSTOP for {} s", stopped.as_secs());
    let site = Site::new(Vec::new(), None).await;
    let program = site.serve.start_well().await;
    site.settle(&deposits(0, 50)).await;
    program.signal("STOP").await;
    let (told, url) = (deposits(50, 50), site.nats.url());
    let answered = tokio::time::timeout(stopped, site.settle(&told));
    let (answered, health) = tokio::join!(answered, program::health(&url));
    assert!(answered.is_err(), "a stopped process has answered");
    assert!(health.status.code() == Some(1) && !health.stderr.is_empty(), "{health:?}");
    program.signal("CONT").await;
    Row::whole(&name, 1, &site.end(Some(program), &deposits(0, 100), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_little_memory() {
    const NAME: &str = "resources: 256 MiB of memory, large commands";
    if !can_run(NAME, &[Need::Root]) {
        return;
    }
    let group = Group::new();
    let site = Site::new(group.within(), None).await;
    let program = site.serve.start_well().await;
    let told = large(400);
    let mut verdict = site.end(Some(program), &told, None).await;
    let killing = group.read("memory.oom_control");
    if !killing.contains("oom_kill 0") {
        verdict.complaints.push(format!("killed for want of memory: {killing}"));
    }
    Row::whole(NAME, 1, &verdict);
}

/// A control group (version 1) with little memory.
struct Group(PathBuf);

impl Group {
    fn new() -> Group {
        let path = Path::new("/sys/fs/cgroup/memory").join(format!("hapax-test-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("memory.limit_in_bytes"), MEMORY_BYTES.to_string()).unwrap();
        Group(path)
    }

    fn within(&self) -> Vec<OsString> {
        let enter = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        ["sh", "-c", enter].map(OsString::from).into_iter().chain([self.0.clone().into()]).collect()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
