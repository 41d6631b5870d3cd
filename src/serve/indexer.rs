//! Writes what is durable into the index, on a thread of its own, and checkpoints it now and then. Never on the way of a
//! reply.

use std::sync::Arc;
use std::sync::mpsc as queue;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::fatal::Fatal;
use crate::index::{Index, IndexError, SledIndex};
use crate::model::error::with_sources;
use crate::model::limits::{UNINDEXED_BYTES_MAX, UNINDEXED_COMMITS_MAX};
use crate::model::{Entry, Position};
use crate::store::CommitReader;

/// Entries that are noted at once. Sorted by key, so that sled works on one page after the other, and an aggregate that
/// changes often is written once: half the work that it is at a few hundred. More would hold back the word that memory
/// may let go.
const CHUNK_ENTRIES_MAX: usize = UNINDEXED_COMMITS_MAX / 4;

/// Bytes of commits that memory may hold for the sake of a full chunk.
const CHUNK_COMMIT_BYTES_MAX: usize = UNINDEXED_BYTES_MAX / 16;

/// How long entries may wait for a chunk to fill.
const GATHER_MAX: Duration = Duration::from_secs(1);

/// Meanwhile the queue is looked at so often, instead of being woken by each group: that would be on the way of its reply.
const GATHER_PAUSE: Duration = Duration::from_millis(20);

/// How long the index goes without a checkpoint while it has something to checkpoint. A start notes again what came
/// after it, at some 200,000 commits a second.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// How long nothing may come before it is checkpointed, if something is not yet.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(2);

/// The thread's two ends. When they are dropped it notes what is queued, checkpoints and ends.
pub(super) struct Indexer {
    entries: Option<queue::Sender<Vec<Entry>>>,
    indexed: mpsc::UnboundedReceiver<Result<Position, Fatal>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Indexer {
    /// Starts the thread.
    pub(super) fn start(index: Arc<SledIndex>, reader: impl CommitReader) -> std::io::Result<Indexer> {
        let (entries, queued) = queue::channel();
        let (said, indexed) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("indexer".into()).spawn(move || {
            let result = run(&index, &reader, &queued, &said);
            if let Err(error) = result {
                let _ = said.send(Err(Fatal::Index(error))); // Nobody listens only if the process is ending anyhow.
            }
        })?;
        Ok(Indexer { entries: Some(entries), indexed, thread: Some(thread) })
    }

    /// Queues entries, in the order of their positions. How many may be queued is the processor's rule.
    pub(super) fn note(&self, entries: Vec<Entry>) {
        if let Some(queue) = &self.entries {
            let _ = queue.send(entries); // It fails only if the thread has ended, and then `indexed` says why.
        }
    }

    /// Waits until the index answers for more. Cancel-safe.
    pub(super) async fn indexed(&mut self) -> Result<Position, Fatal> {
        self.indexed.recv().await.unwrap_or(Err(Fatal::ThreadPanicked("indexer")))
    }

    /// Notes everything queued, checkpoints, and ends the thread.
    pub(super) fn finish(mut self) -> Result<(), Fatal> {
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| Fatal::ThreadPanicked("indexer"))?;
        }
        while let Ok(said) = self.indexed.try_recv() {
            said?;
        }
        Ok(())
    }
}

fn run(
    index: &SledIndex,
    reader: &impl CommitReader,
    queued: &queue::Receiver<Vec<Entry>>,
    said: &mpsc::UnboundedSender<Result<Position, Fatal>>,
) -> Result<(), IndexError> {
    let mut last = None;
    let mut checkpointed_at = Instant::now();
    let mut chunk = Vec::with_capacity(CHUNK_ENTRIES_MAX); // Megabytes, so not anew for each.
    loop {
        chunk.clear();
        // What is not checkpointed is known to the journal's own statement alone: when nothing comes, it is time.
        let first = match last {
            Some(_) => match queued.recv_timeout(CHECKPOINT_IDLE) {
                Ok(entries) => entries,
                Err(queue::RecvTimeoutError::Timeout) => {
                    checkpoint(index, reader, &mut last)?;
                    checkpointed_at = Instant::now();
                    continue;
                }
                Err(queue::RecvTimeoutError::Disconnected) => break,
            },
            None => match queued.recv() {
                Ok(entries) => entries,
                Err(queue::RecvError) => break,
            },
        };
        let gathering_since = Instant::now();
        let mut commit_bytes = bytes_of(&first);
        chunk.extend(first);
        while chunk.len() < CHUNK_ENTRIES_MAX && commit_bytes < CHUNK_COMMIT_BYTES_MAX {
            match queued.try_recv() {
                Ok(more) => {
                    commit_bytes += bytes_of(&more);
                    chunk.extend(more);
                }
                Err(queue::TryRecvError::Empty) if gathering_since.elapsed() < GATHER_MAX => {
                    thread::sleep(GATHER_PAUSE)
                }
                Err(_) => break,
            }
        }
        index.note(&chunk)?;
        last = chunk.last().map(|entry| entry.position);
        if let Some(position) = last {
            let _ = said.send(Ok(position)); // As above.
        }
        if checkpointed_at.elapsed() > CHECKPOINT_EVERY {
            checkpoint(index, reader, &mut last)?;
            checkpointed_at = Instant::now();
        }
    }
    checkpoint(index, reader, &mut last)
}

fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.commit_bytes).sum()
}

fn checkpoint(index: &SledIndex, reader: &impl CommitReader, last: &mut Option<Position>) -> Result<(), IndexError> {
    let Some(position) = last.take() else { return Ok(()) };
    let commit = reader.get(position).map_err(|error| {
        IndexError::Disagrees(format!("position {position} is noted and cannot be read: {}", with_sources(&error)))
    })?;
    index.checkpoint(position, commit.hash)
}
