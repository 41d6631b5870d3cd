//! What ends the process. It starts again from disk; nothing here is tried again.

use crate::index::{CatchUpError, IndexError};
use crate::nats::provision::ProvisionError;
use crate::store::file::OpenError;
use crate::store::{AppendError, ReadError};

/// Why a processor cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// A write or an fsync failed. No reply left after it.
    #[error("nothing more can be recorded; make room or mend the disk, then start it again: what was replied is kept")]
    Append(#[from] AppendError),
    /// The store holds something that nobody wrote, or lacks something that was durable.
    #[error("the event store is damaged")]
    Read(#[from] ReadError),
    /// The store cannot be opened.
    #[error("the event store cannot be opened")]
    Open(#[from] OpenError),
    /// The index is wrong or cannot be written. If it was wrong, the next start builds it anew.
    #[error("the index cannot be used; {}", remedy(.0))]
    Index(#[from] IndexError),
    /// The index cannot be brought to where the store is.
    #[error("the index cannot be brought to where the store is")]
    CatchUp(#[from] CatchUpError),
    /// The index has not moved while it had work.
    #[error("the index has stood still for {} s; its disk may hang", crate::model::limits::INDEX_STALL_MAX.as_secs())]
    IndexStalled,
    /// One of our threads is gone.
    #[error("the thread {0:?} has panicked")]
    ThreadPanicked(&'static str),
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The streams are not what they must be.
    #[error("the streams cannot be used")]
    Provision(#[from] ProvisionError),
    /// The task of the connection that nobody outside writes to is gone.
    #[error("the connection to the broker has ended for good")]
    ConnectionEnded,
    /// Not everything that was taken in could be answered in time. It will be delivered again.
    #[error("stopped before everything taken in was answered; it will be delivered again")]
    NotDrained,
}

fn remedy(error: &IndexError) -> &'static str {
    match error {
        IndexError::InUse { .. } => "two processors must not share it",
        error if error.is_doubt() => "start it again, and it is built anew from the store",
        _ => "make room or mend its disk, then start it again: nothing is lost",
    }
}
