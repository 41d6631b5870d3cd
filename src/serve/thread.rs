//! A thread of its own for a future, with a runtime of its own: what it waits for wakes it there, and its connections are
//! driven there. A hop to another thread costs a command more than its decision.

use std::io;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Runs a future on a thread with this name. What comes back is what it returns; an error if it has panicked. Whoever drops
/// the receiver ends the future where it waits next.
pub(super) fn on_a_thread<T: Send + 'static>(
    name: String,
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut said, heard) = oneshot::channel();
    let run = async move {
        tokio::select! {
            ended = future => {
                let _ = said.send(ended); // Nobody may be there to hear it.
            }
            () = said.closed() => {}
        }
    };
    std::thread::Builder::new().name(name).spawn(move || runtime.block_on(run))?;
    Ok(heard)
}
