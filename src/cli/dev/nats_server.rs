//! Which nats-server, and how it is started.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::cli::exit::{Exit, Failure};
use crate::nats::program;

/// The program.
pub(in crate::cli) fn find() -> Result<PathBuf, Failure> {
    program::find().map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// It listens on the loopback only, and keeps its streams in `folder`.
pub(in crate::cli) fn command(program: &Path, port: u16, folder: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder);
    command.arg("-l").arg(folder.join("log"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
