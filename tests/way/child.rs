//! A processor in a process of its own, which can be killed: this test binary, run again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hapax::serve::{Notice, serve};
use tokio_util::sync::CancellationToken;

use crate::processor::{samples, settings};

const URL: &str = "HAPAX_TEST_CHILD_URL";
const DATA: &str = "HAPAX_TEST_CHILD_DATA";
const READY: &str = "the child is ready";

/// The child's `main`. Run as a test, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child_processor() {
    let (Ok(url), Some(data)) = (std::env::var(URL), std::env::var_os(DATA)) else { return };
    let notify = |notice| {
        if let Notice::Ready = notice {
            println!("{READY}");
        }
    };
    serve(samples(), settings(url, Path::new(&data)), CancellationToken::new(), notify).await.unwrap();
}

pub(crate) struct ChildProcessor {
    process: Child,
}

impl ChildProcessor {
    /// Returns when commands are decided.
    pub(crate) fn start(url: &str, data: &Path) -> ChildProcessor {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["child::child_processor", "--exact", "--nocapture"])
            .env(URL, url)
            .env(DATA, data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = ChildProcessor { process };
        let lines = BufReader::new(child.process.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).any(|line| line.contains(READY));
        assert!(ready, "the child ended before it was ready");
        child
    }

    /// SIGKILL: nothing in the process gets another word.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for ChildProcessor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
