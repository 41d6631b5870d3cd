//! The processor as a child: this program itself, as `serve`.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use clap::ValueEnum;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::child::Child;
use crate::cli::connection::VARIABLES;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::serve::FeedChoice;

const SIGKILL: i32 = 9;

/// A running processor.
pub(super) struct Processor {
    pub(super) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Open for as long as we live. Its end tells the processor that we are gone.
    _stdin: Option<ChildStdin>,
}

/// How a processor has ended.
pub(super) struct End {
    pub(super) status: Option<ExitStatus>,
    was_ready: bool,
}

impl Processor {
    pub(super) fn start(url: &str, data: &Path, feed: FeedChoice) -> Result<Processor, Failure> {
        let program = std::env::current_exe().map_err(Failure::io("cannot find this program"))?;
        let mut command = Command::new(program);
        command.args(["serve", "--until-stdin-ends", "--no-context", "--server", url, "--data"]).arg(data);
        command.arg("--feed").args(feed.to_possible_value().map(|feed| feed.get_name().to_owned()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        for variable in VARIABLES {
            command.env_remove(variable); // They are about the user's own servers, not about ours.
        }
        let mut child = Child::start("processor", &mut command)?;
        let stdout = child.process.stdout.take().expect("its stdout is a pipe");
        let stdin = child.process.stdin.take();
        Ok(Processor { child, lines: BufReader::new(stdout).lines(), _stdin: stdin })
    }

    /// Hands on what it says, and `hints` once it is ready, until it ends.
    pub(super) async fn run(&mut self, hints: &mut Option<String>) -> Result<End, Failure> {
        let mut was_ready = false;
        while let Ok(Some(text)) = self.lines.next_line().await {
            output::line(&text)?;
            if text.starts_with("ready") {
                was_ready = true;
                if let Some(hints) = hints.take() {
                    output::line(hints)?;
                }
            }
        }
        Ok(End { status: self.child.wait().await, was_ready })
    }
}

impl End {
    /// Somebody killed it: it goes on where it was. Ended by itself before it was ready: it would do so again.
    pub(super) fn worth_another_start(&self) -> bool {
        let killed = self.status.is_some_and(|status| status.signal() == Some(SIGKILL));
        killed || (self.was_ready && self.exit() != Exit::Damaged)
    }

    /// With what we end, if it is not started again.
    pub(super) fn exit(&self) -> Exit {
        let code = self.status.and_then(|status| status.code());
        if code == Some(Exit::Damaged as i32) { Exit::Damaged } else { Exit::Failed }
    }
}
