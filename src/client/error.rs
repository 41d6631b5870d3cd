//! What may go wrong on a client's side. Of all errors only [`SendError::Unknown`] means "I do not know"; the others say
//! for certain what did or did not happen.

use crate::model::subject::GrammarError;
use crate::model::{CommandId, Outcome, Refusal};

/// No client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No server let us in.
    #[error("cannot connect to NATS")]
    Connect(#[source] async_nats::ConnectError),
    /// The settings lead to no server that lets us in and is recent enough.
    #[error(transparent)]
    Settings(#[from] crate::nats::ConnectError),
    /// The inbox cannot be subscribed to.
    #[error("cannot subscribe to the inbox")]
    Subscribe(#[source] async_nats::SubscribeError),
    /// The server never confirmed it.
    #[error("the server has not confirmed the subscription to the inbox")]
    Flush(#[source] async_nats::client::FlushError),
}

/// The command cannot be published as it is. Mend it.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A token of its subject is not grammatical: the aggregate's type, its key, or the command's name.
    #[error("{what} {text:?} cannot be in a subject")]
    Subject {
        /// Which one.
        what: &'static str,
        /// As it was given.
        text: String,
        /// What is allowed.
        #[source]
        source: GrammarError,
    },
    /// The command does not become JSON of an externally tagged enum.
    #[error("the command does not become JSON")]
    Json(#[source] serde_json::Error),
    /// The body is larger than the contract allows.
    #[error("the body has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bytes that are allowed.
        bytes_max: usize,
    },
    /// What was put together is no batch.
    #[error("it is no batch: {0}")]
    Batch(String),
}

/// There is no outcome to give back.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing was published. Mend the command.
    #[error("the command was not sent")]
    Encode(#[from] EncodeError),
    /// Nothing was published, since there was no connection up to the deadline. The same command may be sent again.
    #[error("the command was not sent: {0}")]
    NotSent(NotSent),
    /// The processor would not decide this copy, and waiting does not help; `refusal.retry` says how to go on. Nothing
    /// is recorded for it, but before a new id is taken the old one is to be voided: another copy may still be decided.
    #[error("command {id} was refused: {}", .refusal.message)]
    Refused {
        /// The command's id.
        id: CommandId,
        /// Why, and how to go on.
        refusal: Refusal,
    },
    /// It may have been decided, it may be decided yet, or never. Send it again with the same id, ask for its outcome,
    /// or void it.
    #[error("the outcome of command {id} is not known")]
    Unknown {
        /// The command's id.
        id: CommandId,
        /// What was in the way, as far as it can be seen from here.
        #[source]
        cause: Cause,
    },
    /// It was decided, but this program does not know an event or a rejection in it: it is older than the processor.
    #[error("the outcome of command {} cannot be read by this program", .outcome.id)]
    Unreadable {
        /// The outcome.
        outcome: Box<Outcome>,
        /// What cannot be read.
        #[source]
        source: serde_json::Error,
    },
}

impl SendError {
    /// Whether it is certain that nothing was published.
    pub fn nothing_was_published(&self) -> bool {
        matches!(self, SendError::Encode(_) | SendError::NotSent(_))
    }
}

/// Why nothing was published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// There was no connection up to the deadline, or the client has no room for one more command.
    #[error("no connection to NATS")]
    Disconnected,
    /// The connection has ended for good. Make a new client.
    #[error("the connection to NATS is closed")]
    Closed,
    /// The broker does not let this user publish it.
    #[error("not permitted: {0}")]
    NotPermitted(String),
}

/// Why an outcome is not known, as far as it can be seen from here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// Nothing came back, and nothing is known to be wrong.
    #[error("no reply up to the deadline")]
    Silence,
    /// The connection was lost.
    #[error("the connection to NATS is lost")]
    Disconnected,
    /// The connection has ended for good. Make a new client.
    #[error("the connection to NATS is closed")]
    Closed,
    /// No stream takes commands.
    #[error("no stream takes this command: is there a COMMANDS stream on this server?")]
    NoStream,
    /// The stream does not take it now.
    #[error("the stream did not take the command: {0}")]
    NotStored(String),
    /// Nobody answers outcome queries.
    #[error("no processor answers")]
    NoProcessor,
    /// The processor would not decide yet, up to the deadline.
    #[error("refused up to the deadline: {}", .0.message)]
    Refused(Refusal),
    /// The broker complained; mostly about permissions.
    #[error("the server says: {0}")]
    Server(String),
    /// Something came back that is no reply.
    #[error("what came back cannot be read: {0}")]
    UnreadableReply(String),
}

/// A query was not answered. It changes nothing, so it can always be asked again.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A token of its subject is not grammatical.
    #[error("the query was not sent")]
    Encode(#[from] EncodeError),
    /// Nobody listens for queries.
    #[error("no processor answers")]
    NoProcessor,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The broker does not let this user ask, or be answered.
    #[error("not permitted: {0}")]
    NotPermitted(String),
    /// The connection has ended for good. Make a new client.
    #[error("the connection to NATS is closed")]
    Closed,
    /// The processor would not answer.
    #[error("refused: {}", .0.message)]
    Refused(Refusal),
    /// What came back is no answer to it, or this program cannot read the state.
    #[error("the answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// What came back is no reply.
    #[error("the answer is no reply")]
    NoReply(#[source] crate::model::outcome::ReplyError),
}
