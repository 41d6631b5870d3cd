//! The program as a user runs it, apart from the user's own settings.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// A command line that knows nothing of the user who runs the tests.
pub(crate) fn hapax(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hapax"));
    command.args(arguments).stdin(Stdio::null()).env("XDG_CONFIG_HOME", "/nonexistent");
    let variables = ["URL", "CONTEXT", "CREDS", "NKEY", "USER", "PASSWORD", "CA", "CERT", "KEY", "TIMEOUT"];
    for variable in variables {
        command.env_remove(format!("NATS_{variable}"));
    }
    for variable in ["HAPAX_PRINCIPAL", "RUST_LOG", "COLUMNS", "NO_COLOR"] {
        command.env_remove(variable);
    }
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    hapax(arguments).output().unwrap()
}

/// How it ended.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Command lines and what they print, one after the other, as one text.
pub(crate) struct Transcript {
    text: String,
    server: String,
}

impl Transcript {
    pub(crate) fn new(server: &str) -> Transcript {
        Transcript { text: String::new(), server: server.into() }
    }

    /// Runs a command line against the server, in the name of alice.
    pub(crate) fn ask(&mut self, arguments: &[&str]) -> Output {
        let mut command = hapax(arguments);
        let output = command.env("NATS_URL", &self.server).env("HAPAX_PRINCIPAL", "alice").output().unwrap();
        self.write(arguments, &output);
        output
    }

    fn write(&mut self, arguments: &[&str], output: &Output) {
        let quoted: Vec<String> = arguments.iter().map(|argument| quote(argument)).collect();
        let (stdout, stderr) = (stdout(output), stderr(output));
        writeln!(self.text, "$ hapax {}", quoted.join(" ")).unwrap();
        write!(self.text, "{stdout}").unwrap();
        for line in stderr.lines() {
            writeln!(self.text, "! {line}").unwrap();
        }
        writeln!(self.text, "=> {}\n", code(output)).unwrap();
    }

    pub(crate) fn text(self) -> String {
        self.text
    }
}

fn quote(argument: &str) -> String {
    if argument.contains(['{', ' ']) { format!("'{argument}'") } else { argument.into() }
}

/// A program that goes on until it is told to stop.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) lines: Vec<String>,
}

impl Running {
    /// The processor, ready.
    pub(crate) fn serve(server: &str, data: &Path) -> Running {
        Running::serve_with(server, data, &[])
    }

    pub(crate) fn serve_with(server: &str, data: &Path, more: &[&str]) -> Running {
        let mut command = hapax(&["serve", "--server", server, "--data"]);
        let mut running = Running::start(command.arg(data).args(more));
        running.until("ready");
        running
    }

    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child, stdout, lines: Vec::new() }
    }

    /// Waits for a line that begins so, and gives it.
    pub(crate) fn until(&mut self, beginning: &str) -> String {
        loop {
            let mut line = String::new();
            let bytes = self.stdout.read_line(&mut line).unwrap();
            assert!(bytes > 0, "it ended without a line {beginning:?}; it said {:?}", self.lines);
            self.lines.push(line.clone());
            if line.starts_with(beginning) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        send_signal(self.child.id(), signal);
    }

    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// SIGTERM, which must end it well.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}");
    }
}

/// A test that fails leaves no process behind: SIGTERM, so that `dev` ends its children too.
impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            send_signal(self.child.id(), "TERM");
            let _ = self.child.wait();
        }
    }
}

pub(crate) fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "kill -{signal} {pid}");
}

/// Waits for the end of a process that is no child of ours. One that nobody has waited for yet has ended too.
pub(crate) fn until_ended(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let runs = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z"))
    };
    while runs() {
        assert!(Instant::now() < deadline, "process {pid} does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}
