//! Who writes the journal: a thread of its own, and for a lone commit whoever appends it.
//!
//! The thread takes all that has gathered, writes it with one write and one fsync, and says how far that went; meanwhile
//! the next group gathers (group commit). The fewer commits there are, the sooner each is durable; the more there are, the
//! less each costs. Nothing waits to fill a group.
//!
//! Where no commit is under way and none comes with it, there is nothing to decide meanwhile: handing it to the thread and
//! being woken by it would only be added to its fsync, and be a tenth of the time from a command to its reply. It waits for
//! the thread's own fsyncs, of a statement and of the proof, as it would in the queue.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::journal::Journal;
use super::reader::NOT_POISONED;
use crate::model::{Commit, Position};
use crate::store::{AppendError, Durable, Tip};

/// How long nothing must follow, at least, before the journal says in a frame of its own that the last group is durable.
/// A few times what a client needs from a reply to its next command, so that a steady flow pays nothing.
const STATEMENT_AFTER: Duration = Duration::from_millis(5);

/// How long a journal that is never idle leaves its proof to the page cache: about what a power cut may then take back of
/// it. One fsync more in this time is not felt.
const PROOF_SYNCED_AFTER: Duration = Duration::from_secs(1);

/// Bytes after which a group takes no more commits in: the first of them should not wait for the last.
const GROUP_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The writing end of a store. What is queued when it is dropped is made durable first.
pub(super) struct Writer {
    journal: Arc<Mutex<Journal>>,
    /// `None` only while it is dropped.
    queue: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
    report: Report,
    /// The last commit appended.
    tip: Tip,
}

/// What the thread is told.
enum Call {
    /// To write these.
    Write(Vec<Commit>),
    /// To look again at what is to be stated: somebody else has written.
    Look,
}

/// What has been achieved.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) durable: Option<Position>,
    pub(super) failed: Option<AppendError>,
}

/// Where it is told.
#[derive(Clone)]
struct Report(watch::Sender<Progress>);

impl Writer {
    /// Starts the thread.
    pub(super) fn start(journal: Journal) -> std::io::Result<(Writer, watch::Receiver<Progress>)> {
        let tip = journal.tip();
        let (report, progress) = watch::channel(Progress { durable: tip.position, failed: None });
        let (journal, report) = (Arc::new(Mutex::new(journal)), Report(report));
        let (queue, queued) = channel();
        let (writes, tells) = (journal.clone(), report.clone());
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || {
            let _stopped = Stopped(tells.clone());
            if let Err(error) = write_groups(&writes, &queued, &tells) {
                tells.failure(error);
            }
        })?;
        Ok((Writer { journal, queue: Some(queue), thread: Some(thread), report, tip }, progress))
    }

    /// Writes these behind the last ones, now or soon.
    pub(super) fn append(&mut self, commits: Vec<Commit>) {
        let is_lone = commits.len() == 1 && self.report.durable() == self.tip.position;
        for commit in &commits {
            self.tip.follow(commit);
        }
        if is_lone { self.write_now(&commits) } else { self.call(Call::Write(commits)) }
    }

    fn write_now(&self, commit: &[Commit]) {
        let Ok(mut journal) = self.journal.lock() else { return }; // The thread has panicked, and said that it stopped.
        let thread_waits = journal.unstated().is_none();
        let synced = journal.append(commit).and_then(|()| journal.sync());
        drop(journal);
        match synced {
            Ok(durable) => self.report.durable_upto(durable),
            Err(error) => return self.report.failure(error),
        }
        if thread_waits {
            self.call(Call::Look); // And states this when nothing follows.
        }
    }

    fn call(&self, call: Call) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(call); // It fails only if the thread has stopped, and it has said so.
        }
    }
}

/// Makes durable what is queued, and says so in the journal.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // If it has panicked, the panic hook has said so, and it is told that it stopped.
        }
    }
}

impl Report {
    fn durable(&self) -> Option<Position> {
        self.0.borrow().durable
    }

    fn durable_upto(&self, durable: Option<Durable<Position>>) {
        let durable = durable.map(|durable| durable.get());
        self.0.send_if_modified(|progress| std::mem::replace(&mut progress.durable, durable) != durable);
    }

    /// Both threads come to it: the journal fails whoever asks it next in the same way.
    fn failure(&self, error: AppendError) {
        self.0.send_if_modified(|progress| {
            let is_first = progress.failed.is_none();
            if is_first {
                tracing::error!(error = &error as &dyn std::error::Error, "the event store has stopped");
                progress.failed = Some(error);
            }
            is_first
        });
    }
}

/// Tells that the thread has ended, however it has.
struct Stopped(Report);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.0.send_modify(|progress| {
            progress.failed.get_or_insert(AppendError::Stopped);
        });
    }
}

/// Returns when the queue's other end is gone and everything queued is durable.
fn write_groups(journal: &Mutex<Journal>, queued: &Receiver<Call>, report: &Report) -> Result<(), AppendError> {
    let lock = || journal.lock().expect(NOT_POISONED);
    let carry_out = |journal: &mut Journal, call| match call {
        Call::Write(commits) => journal.append(&commits),
        Call::Look => Ok(()),
    };
    let mut proof_unsynced_since = None;
    loop {
        let unstated = lock().unstated();
        let received = match unstated {
            Some(_) => {
                proof_unsynced_since.get_or_insert_with(Instant::now);
                queued.recv_timeout(STATEMENT_AFTER)
            }
            None => queued.recv().map_err(RecvTimeoutError::from),
        };
        let mut journal = lock();
        match received {
            Ok(call) => carry_out(&mut journal, call)?,
            Err(RecvTimeoutError::Timeout) if journal.unstated() == unstated => {
                journal.state_synced()?;
                proof_unsynced_since = None;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {} // A lone commit has come meanwhile.
            Err(RecvTimeoutError::Disconnected) => return journal.state_synced(),
        }
        while journal.unsynced_bytes() < GROUP_BYTES_MAX
            && let Ok(call) = queued.try_recv()
        {
            carry_out(&mut journal, call)?;
        }
        report.durable_upto(journal.sync()?);
        if proof_unsynced_since.is_some_and(|since: Instant| PROOF_SYNCED_AFTER <= since.elapsed()) {
            journal.sync_proof()?;
            proof_unsynced_since = None;
        }
    }
}
