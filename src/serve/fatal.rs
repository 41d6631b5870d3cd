//! What ends the process. It starts again from disk; nothing here is tried again.

use crate::index::{CatchUpError, IndexError};
use crate::model::Position;
use crate::nats::ConnectError;
use crate::nats::feed::Estranged;
use crate::nats::provision::ProvisionError;
use crate::store::file::OpenError;
use crate::store::{AppendError, Damage, ReadError};

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
    /// There is no connection for the replies of a partition.
    #[error("replies cannot be sent")]
    Connect(#[from] ConnectError),
    /// The streams are not what they must be.
    #[error("the streams cannot be used")]
    Provision(#[from] ProvisionError),
    /// The store does not have what its feed has: it is an older copy of itself, or damaged. Deciding on it would decide old
    /// ids again.
    #[error(
        "partition {partition}: the feed goes up to position {feed}, and the store does not have all of that: it is an older \
         copy of itself, or damaged. Nothing is decided. Move the data directory aside, and restore it from the feed into a \
         new one: restore --from-feed --data DIR"
    )]
    BehindFeed {
        /// The partition.
        partition: u32,
        /// Its feed's last position.
        feed: Position,
        /// What the store lacks.
        #[source]
        source: Damage,
    },
    /// The stream of the feed is not the store's.
    #[error(
        "partition {partition}: the feed is not this store's; find out which of them is right, or start with --feed off"
    )]
    Estranged {
        /// The partition.
        partition: u32,
        /// In what they differ.
        #[source]
        source: Estranged,
    },
    /// The broker does not tell where the feed stands.
    #[error("partition {partition}: the broker does not tell where the feed stands")]
    FeedUnknown {
        /// The partition.
        partition: u32,
        /// Why not.
        #[source]
        source: async_nats::Error,
    },
    /// The task of the connection that nobody outside writes to is gone.
    #[error("the connection to the broker has ended for good")]
    ConnectionEnded,
    /// Not everything that was taken in could be answered in time. It will be delivered again.
    #[error("stopped before everything taken in was answered; it will be delivered again")]
    NotDrained,
}

fn remedy(error: &IndexError) -> &'static str {
    match error {
        IndexError::InUse { .. } => {
            "a verify looks at it, or it is still being closed: start it again when that has ended"
        }
        error if error.is_doubt() => "start it again, and it is built anew from the store",
        _ => "make room or mend its disk, then start it again: nothing is lost",
    }
}
