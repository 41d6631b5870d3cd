//! A process that we started, and that ends when we say so.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use crate::cli::exit::Failure;

/// How long a child may take to end once it is told to. A processor drains for 20 s at most.
const STOP_MAX: Duration = Duration::from_secs(30);

/// A child that is killed if it is dropped while it runs.
pub(in crate::cli) struct Child {
    name: &'static str,
    pub(in crate::cli) process: tokio::process::Child,
}

impl Child {
    pub(in crate::cli) fn start(name: &'static str, command: &mut Command) -> Result<Child, Failure> {
        // A group of its own: ctrl-c on the terminal is for us, and we say who stops first.
        let process = command.process_group(0).kill_on_drop(true).spawn();
        Ok(Child { name, process: process.map_err(Failure::io(format_args!("cannot start {name}")))? })
    }

    /// Its process id; 0 once it has ended.
    pub(in crate::cli) fn pid(&self) -> u32 {
        self.process.id().unwrap_or(0)
    }

    /// Waits until it has ended. May be dropped and called again.
    pub(in crate::cli) async fn wait(&mut self) -> Option<ExitStatus> {
        self.process.wait().await.ok()
    }

    /// Tells it to stop, and waits until it has. It is killed if it does not.
    pub(in crate::cli) async fn stop(&mut self) {
        // While it is not waited for, its id belongs to nobody else.
        let pid = self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(pid) = pid else { return };
        // It fails only for a child that has ended already.
        let _ = kill_process(pid, Signal::TERM);
        if tokio::time::timeout(STOP_MAX, self.wait()).await.is_err() {
            eprintln!("{} does not stop, killing it", self.name);
            let _ = self.process.kill().await;
        }
    }
}

/// How a process has ended, in words.
pub(in crate::cli) fn how(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        None => "nobody knows how".into(),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => status.to_string(),
        },
    }
}
