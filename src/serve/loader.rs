//! Looks up what the processor's memory lacks, on a thread of its own, so that sled and the disk never block the loop.

use std::sync::mpsc as queue;
use std::thread;

use tokio::sync::mpsc;

use super::fatal::Fatal;
use super::lookup::{LookUp, LookUpError};
use crate::index::Index;
use crate::processor::{Input, TurnNumber, Wanted};
use crate::store::CommitReader;

/// The thread's two ends. It ends when they are dropped.
pub(super) struct Loader {
    wanted: queue::Sender<(TurnNumber, Wanted)>,
    answers: mpsc::UnboundedReceiver<Result<Input, Fatal>>,
    thread: thread::JoinHandle<()>,
}

impl Loader {
    /// Starts the thread.
    pub(super) fn start(lookup: LookUp<impl Index, impl CommitReader>) -> std::io::Result<Loader> {
        let (wanted, questions) = queue::channel::<(TurnNumber, Wanted)>();
        let (answer, answers) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("loader".into()).spawn(move || {
            for (number, wanted) in questions {
                let found = match lookup.all(wanted) {
                    Ok(found) => Ok(Input::Loaded(number, found)),
                    Err(LookUpError::Unavailable(why)) => Ok(Input::LoadFailed(number, why)),
                    Err(LookUpError::Fatal(fatal)) => Err(fatal),
                };
                if answer.send(found).is_err() {
                    break;
                }
            }
        })?;
        Ok(Loader { wanted, answers, thread })
    }

    /// Queues a look-up. How many may be under way is the processor's rule.
    pub(super) fn load(&self, number: TurnNumber, wanted: Wanted) {
        // It fails only if the thread has panicked, and then `answer` says so.
        let _ = self.wanted.send((number, wanted));
    }

    /// Waits for the next answer. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Result<Input, Fatal> {
        self.answers.recv().await.unwrap_or_else(|| Err(Fatal::ThreadPanicked("loader")))
    }

    /// Ends the thread, so that nothing of the index and the store is in use any more.
    pub(super) fn finish(self) -> Result<(), Fatal> {
        drop(self.wanted);
        self.thread.join().map_err(|_| Fatal::ThreadPanicked("loader"))
    }
}
