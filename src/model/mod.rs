//! The vocabulary as values: what a command, an outcome, a commit and a subject are. Names nothing else in the crate
//! and does no I/O; every limit of the wire contract is in [`limits`].

#![deny(clippy::disallowed_methods)]

pub mod limits;
pub(crate) mod error;
pub mod time;
pub mod subject;
pub mod header;
pub mod partition;
pub mod json;
pub mod command;
pub mod batch;
pub(crate) mod item;
pub mod outcome;
pub mod batch_reply;
pub mod commit;
pub mod groups;
pub mod entry;
pub mod newest;
pub mod wording;
pub mod difference;
pub mod at;
#[cfg(test)]
mod tests;

pub use at::At;
pub use batch_reply::{BatchReply, CheckReply, ItemReply};
pub use command::{AggregateId, Command, CommandId, Content, Identity};
pub use commit::{ChainHash, Change, Commit, CommitError, CommitRecord, EventRef, Position, RecordedEvent, Version};
pub use entry::{Entry, Head, Snapshot};
pub use newest::Newest;
pub use outcome::{Decision, Outcome, Refusal, Rejection, Retry, RetryWith};
pub use subject::{AggregateType, CommandName, Key, Principal};
pub use time::Timestamp;

/// The version of the wire contract: subjects, headers, replies.
pub const WIRE_FORMAT: u32 = 1;
