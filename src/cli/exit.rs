//! How does a command line end? An exit code for scripts, and a sentence on stderr for people.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use super::program;
use crate::aggregate::FoldError;
use crate::client::{self, Cause, NotSent, QueryError, SendError};
use crate::index::{CatchUpError, IndexError};
use crate::model::error::with_sources;
use crate::model::groups::GroupError;
use crate::model::{Decision, Outcome, Refusal, RetryWith};
use crate::nats;
use crate::nats::context::ContextError;
use crate::nats::feed::FeedError;
use crate::replay::export::{ExportError, ImportError};
use crate::replay::past::PastError;
use crate::serve::restore::RestoreError;
use crate::serve::{DataDirError, Fatal, ServeError};
use crate::store::ReadError;
use crate::store::file::OpenError;

/// The exit codes. Scripts rely on them, so a number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Accepted, or done.
    Done = 0,
    /// Anything that has no code of its own.
    Failed = 1,
    /// The command line, or a line of a file, cannot be understood.
    Usage = 2,
    /// The aggregate said no, or the id was voided or expired; recorded.
    Rejected = 3,
    /// Another version was expected, or the id was used for another command.
    Conflict = 4,
    /// It is not known whether the command was decided.
    Unknown = 5,
    /// NATS or the processor does not let this user do it.
    NotPermitted = 6,
    /// There is no connection to NATS.
    Unreachable = 7,
    /// The files of the store, or the messages of its feed, are not what was written.
    Damaged = 8,
}

/// What `--help` says about them.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  accepted, or done
  1  another failure
  2  the command line, or a line of a file, cannot be understood
  3  rejected by the aggregate, expired or voided; recorded
  4  conflict: another version was expected, or the id was used for another command
  5  the outcome is not known: send again with the same id, or ask for it
  6  not permitted
  7  NATS cannot be reached
  8  the store, or its feed, is not what was written";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// Of a decision.
    pub(super) fn of(outcome: &Outcome) -> Exit {
        match &outcome.decision {
            Decision::Accepted(_) => Exit::Done,
            Decision::Rejected(rejection) if rejection.reason == "version_mismatch" => Exit::Conflict,
            Decision::Rejected(_) => Exit::Rejected,
        }
    }

    /// Of a refusal.
    pub(super) fn of_refusal(refusal: &Refusal) -> Exit {
        match refusal.reason.as_ref() {
            "id_reused" => Exit::Conflict,
            "forbidden" => Exit::NotPermitted,
            _ => Exit::Failed,
        }
    }

    /// Of a command that has no outcome.
    pub(super) fn of_error(error: &SendError) -> Exit {
        match error {
            SendError::Encode(_) => Exit::Usage,
            SendError::NotSent(NotSent::Disconnected | NotSent::Closed) => Exit::Unreachable,
            SendError::NotSent(NotSent::NotPermitted(_)) => Exit::NotPermitted,
            SendError::Refused { refusal, .. } => Exit::of_refusal(refusal),
            SendError::Unknown { .. } => Exit::Unknown,
            SendError::Unreadable { .. } => Exit::Failed,
        }
    }
}

/// What to do about damage to the files of a store, of which nobody knows here how it came about.
const FROM_A_COPY: &str = "move the data directory aside, keep it as it is, and make a new one: from the feed with `restore \
                           --from-feed`, or from an export with `import`";

/// Why a subcommand could not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// A sentence; empty if all has been said.
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// With all causes of an error.
    fn caused(exit: Exit, error: &dyn Error) -> Failure {
        Failure::new(exit, with_sources(error))
    }

    /// Of the files of a store.
    fn of_store(exit: Exit, error: &dyn Error) -> Failure {
        let failure = Failure::caused(exit, error);
        match exit {
            Exit::Damaged => Failure { message: format!("{}; {FROM_A_COPY}", failure.message), ..failure },
            _ => failure,
        }
    }

    /// What was tried with a file, and why it did not work.
    pub(super) fn io(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Failure {
        move |error| Failure::new(Exit::Failed, format!("{what}: {error}"))
    }

    /// With what it is about, where several things were asked for.
    pub(super) fn about(self, what: &str) -> Failure {
        Failure { message: format!("{what}: {}", self.message), ..self }
    }

    /// Of a command that was refused, with how to go on.
    pub(super) fn refused(refusal: &Refusal) -> Failure {
        Failure::of_refusal(
            refusal,
            match refusal.retry {
                Some(retry) if retry.with == RetryWith::SameId => {
                    "; nothing is recorded, send it again with the same id"
                }
                // What else is to be done, the message says.
                _ => "",
            },
        )
    }

    /// Of a question that was refused. It has no id, and nothing to be recorded.
    pub(super) fn not_answered(refusal: &Refusal) -> Failure {
        let later = refusal.retry.is_some_and(|retry| retry.after_ms.is_some());
        Failure::of_refusal(refusal, if later { "; ask again later" } else { "" })
    }

    fn of_refusal(refusal: &Refusal, again: &str) -> Failure {
        let Refusal { code, reason, message, .. } = refusal;
        Failure::new(Exit::of_refusal(refusal), format!("refused ({code} {reason}): {message}{again}"))
    }
}

/// Whoever reads our output has had enough of it, which is no failure where output is all that was wanted. Where something
/// is done besides, see [`said`].
pub(super) fn output_failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
        _ => Failure::io("cannot write the output")(error),
    }
}

/// Something was said about what is done, or still being done. That nobody reads it changes nothing about how it ends.
pub(super) fn said(written: Result<(), Failure>) -> Result<(), Failure> {
    match written {
        Err(Failure { exit: Exit::Done, .. }) => Ok(()),
        written => written,
    }
}

impl From<nats::ConnectError> for Failure {
    fn from(error: nats::ConnectError) -> Failure {
        let exit = match &error {
            nats::ConnectError::Server { .. } => Exit::Usage,
            nats::ConnectError::Refused { .. } => Exit::NotPermitted,
            nats::ConnectError::Unreachable { .. } => Exit::Unreachable,
            nats::ConnectError::File { .. } | nats::ConnectError::TooOld { .. } => Exit::Failed,
        };
        Failure::caused(exit, &error)
    }
}

impl From<client::ConnectError> for Failure {
    fn from(error: client::ConnectError) -> Failure {
        match error {
            client::ConnectError::Settings(error) => error.into(),
            error => Failure::caused(Exit::Unreachable, &error),
        }
    }
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Failure {
        Failure::caused(Exit::Usage, &error)
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Failure {
        let exit = match &error {
            QueryError::Refused(refusal) => return Failure::not_answered(refusal),
            QueryError::Encode(_) => Exit::Usage,
            QueryError::NotPermitted(_) => Exit::NotPermitted,
            QueryError::Closed => Exit::Unreachable,
            QueryError::NoProcessor => {
                let serve = format!("{} serve", program());
                return Failure::new(Exit::Failed, format!("{error}: is `{serve}` running on this server?"));
            }
            QueryError::Timeout | QueryError::Unreadable(_) | QueryError::NoReply(_) => Exit::Failed,
        };
        Failure::caused(exit, &error)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        match &error {
            SendError::Refused { refusal, .. } => Failure::refused(refusal),
            SendError::Unknown { cause: Cause::Refused(refusal), .. } => {
                Failure::new(Exit::Unknown, format!("{error}: {}", Failure::refused(refusal).message))
            }
            error => Failure::caused(Exit::of_error(error), error),
        }
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Failure {
        let is_damage = matches!(error, DataDirError::Damaged { .. } | DataDirError::Lost { .. });
        let exit = if is_damage { Exit::Damaged } else { Exit::Failed };
        Failure::caused(exit, &error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure::of_store(of_open_error(&error), &error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        Failure::of_store(of_read_error(&error), &error)
    }
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Failure {
        Failure::caused(of_feed_error(&error), &error)
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Failure {
        let exit = match error {
            RestoreError::DataDir(error) => return error.into(),
            RestoreError::Feed(ref error) => of_feed_error(error),
            RestoreError::HalfOfABatch { .. } | RestoreError::OtherStore { .. } => Exit::Damaged,
            RestoreError::Open(ref error) => of_open_error(error),
            RestoreError::Append(_) | RestoreError::Index(_) | RestoreError::CatchUp(_) => Exit::Failed,
        };
        Failure::caused(exit, &error)
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Failure {
        Failure::caused(Exit::Damaged, &error)
    }
}

impl From<PastError> for Failure {
    fn from(error: PastError) -> Failure {
        let exit = match &error {
            PastError::Read(error) => return Failure::of_store(of_read_error(error), error),
            PastError::Link { .. } | PastError::Fold(FoldError::Gap { .. } | FoldError::Commit { .. }) => Exit::Damaged,
            _ => Exit::Failed,
        };
        Failure::caused(exit, &error)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Failure {
        Failure::caused(Exit::Failed, &error)
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Failure {
        match error {
            ExportError::Read(error) => error.into(),
            ExportError::Write(error) => output_failed(error),
            ExportError::Mask { .. } => Failure::caused(Exit::Damaged, &error),
            ExportError::Unmatched(_) => Failure::caused(Exit::Usage, &error),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        let exit = match error {
            ServeError::Connect(error) | ServeError::Fatal(Fatal::Connect(error)) => return error.into(),
            ServeError::DataDir(error) => return error.into(),
            ServeError::Fatal(ref fatal) => match fatal {
                Fatal::Read(error) | Fatal::CatchUp(CatchUpError::Store(error)) => {
                    return Failure::of_store(of_read_error(error), fatal);
                }
                Fatal::Open(error) => return Failure::of_store(of_open_error(error), fatal),
                Fatal::CatchUp(CatchUpError::Ahead { .. }) => Exit::Damaged,
                Fatal::BehindFeed { .. } | Fatal::Estranged { .. } => Exit::Damaged,
                // The index was built anew from this store and still disagrees: the store contradicts itself.
                Fatal::CatchUp(CatchUpError::Index(IndexError::Disagrees(_))) => Exit::Damaged,
                Fatal::ConnectionEnded => Exit::Unreachable,
                _ => Exit::Failed,
            },
        };
        Failure::caused(exit, &error)
    }
}

fn of_feed_error(error: &FeedError) -> Exit {
    if matches!(error, FeedError::NotACommit { .. }) { Exit::Damaged } else { Exit::Failed }
}

fn of_open_error(error: &OpenError) -> Exit {
    match error {
        OpenError::Damage(_)
        | OpenError::OtherStore { .. }
        | OpenError::OtherPartition { .. }
        | OpenError::OtherPartitions { .. } => Exit::Damaged,
        _ => Exit::Failed,
    }
}

fn of_read_error(error: &ReadError) -> Exit {
    // A position that was durable and is absent is as bad as one that cannot be read.
    if matches!(error, ReadError::Io { .. }) { Exit::Failed } else { Exit::Damaged }
}
