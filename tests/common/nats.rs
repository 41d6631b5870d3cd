//! A nats-server of one's own: on a free port, with its own store, ended with the test. A missing server is a failure and
//! never a skipped test.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long a server may take to start.
const START_MAX: Duration = Duration::from_secs(20);

/// A running server.
pub struct NatsServer {
    folder: TempDir,
    line: Line,
    process: Child,
    port: u16,
}

/// How a server is started.
struct Line {
    /// What runs it, and that program's arguments; empty: nothing does.
    under: Vec<OsString>,
    store: PathBuf,
    arguments: &'static [&'static str],
}

impl NatsServer {
    /// Starts a server on a free port of the loopback, with JetStream.
    pub fn start() -> NatsServer {
        NatsServer::start_with(&[])
    }

    /// The same, with further arguments.
    pub fn start_with(arguments: &'static [&'static str]) -> NatsServer {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        NatsServer::start_line(folder, Line { under: Vec::new(), store, arguments })
    }

    /// Starts a server under another program, with its store somewhere else.
    pub fn start_under(under: Vec<OsString>, store: &Path) -> NatsServer {
        NatsServer::start_line(tempfile::tempdir().unwrap(), Line { under, store: store.to_owned(), arguments: &[] })
    }

    fn start_line(folder: TempDir, line: Line) -> NatsServer {
        let process = line.spawn(&folder, "-1");
        let mut server = NatsServer { folder, line, process, port: 0 };
        server.port = server.wait_for_port();
        server
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its streams are.
    pub fn streams(&self) -> PathBuf {
        self.line.store.join("jetstream/$G/streams")
    }

    /// A plain client.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends the server as its service manager would.
    pub fn stop(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.process.wait().unwrap();
    }

    /// Starts it again after [`NatsServer::kill`], with the same store and port.
    pub fn start_again(&mut self) {
        for file in self.port_files() {
            fs::remove_file(file).unwrap();
        }
        self.process = self.line.spawn(&self.folder, &self.port.to_string());
        assert_eq!(self.wait_for_port(), self.port);
    }

    /// Ends it as a crash would, and starts it again with the same store and port.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    fn port_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "ports")).collect()
    }

    /// The server writes its ports to a file when it listens. It does not say so in another way.
    fn wait_for_port(&mut self) -> u16 {
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            let text = self.port_files().first().map(|file| fs::read_to_string(file).unwrap_or_default());
            // Half of a file is not JSON yet.
            if let Some(ports) = text.and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
                let url = ports["nats"][0].as_str().unwrap();
                return url.rsplit(':').next().unwrap().parse().unwrap();
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("nats-server ended at once ({status}): {}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("nats-server has not started after {START_MAX:?}: {}", self.log());
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Line {
    fn spawn(&self, folder: &TempDir, port: &str) -> Child {
        let path = folder.path();
        let program = program().into_os_string();
        let line: Vec<&OsStr> = self.under.iter().chain([&program]).map(OsString::as_os_str).collect();
        Command::new(line[0])
            .args(&line[1..])
            .args(["-a", "127.0.0.1", "-p", port, "-m", "-1", "-js"])
            .arg("-sd")
            .arg(&self.store)
            .arg("--ports_file_dir")
            .arg(path)
            .arg("-l")
            .arg(path.join("log"))
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot run nats-server; scripts/nats-server prints the path of one for NATS_SERVER")
    }
}

/// `$NATS_SERVER`, which `scripts/test` sets; else what `scripts/nats-server` finds or fetches.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("NATS_SERVER").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/nats-server");
    let output = Command::new(script).output().expect("cannot run scripts/nats-server");
    assert!(output.status.success(), "scripts/nats-server: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}
