//! The program itself, as it is shipped, in a process that can be killed, traced and started again.

use std::ffi::OsString;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Far above what any step takes; a step that never ends fails here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const HAPAX: &str = env!("CARGO_BIN_EXE_hapax");

/// How the program is started.
#[derive(Debug, Clone)]
pub(crate) struct Serve {
    /// What runs it: strace and its arguments, or another program's. Empty: nothing does.
    pub(crate) under: Vec<OsString>,
    pub(crate) url: String,
    pub(crate) data: PathBuf,
    pub(crate) feed: Feeds,
    /// What it says on stderr is added to this file.
    pub(crate) log: PathBuf,
}

/// Whether there is a feed, and whether a stream of it that is lost is made again: brokers are new ones here, or lose their
/// streams with their power, and the store is never an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feeds {
    On,
    Anew,
    Off,
}

/// `hapax serve`, running.
pub(crate) struct Program {
    pub(crate) id: u32,
    process: Child,
}

/// What came of a start.
pub(crate) enum Started {
    Ready(Program),
    /// With the number that its process had.
    Ended(ExitStatus, u32),
}

impl Serve {
    /// Returns when commands are decided, or when it has ended before.
    pub(crate) async fn start(&self) -> Started {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut line: Vec<OsString> = self.under.clone();
        let feed = match self.feed {
            Feeds::On => "on",
            Feeds::Anew => "anew",
            Feeds::Off => "off",
        };
        line.extend([HAPAX, "serve", "--feed", feed, "--server", &self.url, "--data"].map(OsString::from));
        line.push(self.data.clone().into());
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut process = command.env_remove("RUST_LOG").spawn().expect("the program can be started");
        let id = process.id().expect("it has not been waited for");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with("ready") {
                    return true;
                }
            }
            false
        };
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(true) => Started::Ready(Program { id, process }),
            Ok(false) => Started::Ended(process.wait().await.unwrap(), id),
            Err(_) => panic!("it is neither ready nor at its end: {}", self.said()),
        }
    }

    /// The same; it must not end.
    pub(crate) async fn start_well(&self) -> Program {
        match self.start().await {
            Started::Ready(program) => program,
            Started::Ended(status, _) => panic!("it ended before it was ready ({status}): {}", self.said()),
        }
    }

    /// What it has said on stderr, in all its lives.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Program {
    /// Waits for an end that it comes to by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.process.wait().await.unwrap()
    }

    /// SIGTERM: it answers what it has taken in, and ends.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal("TERM").await;
        let status = tokio::time::timeout(PATIENCE, self.ended()).await.expect("it stops when it is told to");
        assert_ne!(status.code(), Some(PANICKED));
        status
    }

    /// SIGKILL: nothing in the process gets another word.
    pub(crate) async fn kill(mut self) {
        let _ = self.process.start_kill(); // It may have ended by itself.
        self.ended().await;
    }

    /// Any signal, by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let Some(id) = self.process.id() else { return };
        let _ = Command::new("kill").args([format!("-{name}"), id.to_string()]).stderr(Stdio::null()).status().await;
    }
}

/// `hapax health`, which gives up after a second.
pub(crate) async fn health(url: &str) -> Output {
    Command::new(HAPAX).args(["health", "--timeout", "1s", "--server", url]).output().await.unwrap()
}

/// Another of its commands, which must end well.
pub(crate) fn hapax(arguments: &[&str]) {
    let output = std::process::Command::new(HAPAX).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// `hapax verify`.
pub(crate) fn verify(data: &Path) -> Output {
    std::process::Command::new(HAPAX).args(["verify", "--data"]).arg(data).output().unwrap()
}

/// `hapax export`.
pub(crate) fn export(data: &Path) -> Output {
    std::process::Command::new(HAPAX).args(["export", "--data"]).arg(data).output().unwrap()
}

/// How often a program may end before it counts as one that does not come up again.
const LIVES_MAX: u32 = 10;

/// What a Rust program's `main` exits with when it panics.
const PANICKED: i32 = 101;

/// Does some work while the program runs, and starts the program again whenever it ends.
///
/// `program`: a first life that has begun already.
pub(crate) async fn supervise<T>(
    serve: &Serve,
    mut program: Option<Program>,
    work: impl Future<Output = T>,
) -> Result<(T, Program), String> {
    let supervised = async {
        let mut work = pin!(work);
        for _ in 0..LIVES_MAX {
            let mut running = match program.take() {
                Some(program) => program,
                None => match serve.start().await {
                    Started::Ready(program) => program,
                    Started::Ended(..) => continue,
                },
            };
            tokio::select! {
                done = &mut work => return Ok((done, running)),
                status = running.ended() => {
                    if status.code() == Some(PANICKED) {
                        return Err(format!("it has panicked: {}", serve.said()));
                    }
                }
            }
        }
        Err(format!("it has ended {LIVES_MAX} times: {}", serve.said()))
    };
    let in_time = tokio::time::timeout(PATIENCE, supervised).await;
    in_time.unwrap_or_else(|_| Err(format!("clients have no outcome after {PATIENCE:?}: {}", serve.said())))
}
