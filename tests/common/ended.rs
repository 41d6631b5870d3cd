//! Why the process in [`Pure`](super::pure::Pure) has ended by itself.

use hapax::serve::Fatal;
use hapax::store::ReadError;

/// The process has ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The disk said no. The next start goes on from what is there.
    Disk(String),
    /// The store holds what nobody wrote. Somebody must restore it.
    Damage(String),
    /// The index is wrong. The next start builds it anew.
    Index(String),
}

/// Whether there was something to do, or that this was the end.
pub type Step = Result<bool, Ended>;

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Ended {
        match error {
            ReadError::Io { .. } => Ended::Disk(error.to_string()),
            ReadError::Absent(_) | ReadError::Damage(_) => Ended::Damage(error.to_string()),
        }
    }
}

impl From<Fatal> for Ended {
    fn from(fatal: Fatal) -> Ended {
        match fatal {
            Fatal::Read(error) => error.into(),
            Fatal::Index(error) => Ended::Index(error.to_string()),
            other => Ended::Damage(other.to_string()),
        }
    }
}
