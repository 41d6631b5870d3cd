//! Which point of a history is meant: a version, a position or a time.

use std::fmt;

use super::commit::{Commit, Position, Version};
use super::time::Timestamp;

/// A point of an aggregate's history, or of a store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The last one.
    Now,
    /// After so many events, or the last commit that ends below.
    Version(Version),
    /// After this commit of the partition.
    Position(Position),
    /// After everything that was decided up to then.
    Time(Timestamp),
}

impl At {
    /// Whether a commit had happened by then.
    pub fn includes(self, commit: &Commit) -> bool {
        match self {
            At::Now => true,
            At::Version(version) => commit.version <= version,
            At::Position(position) => commit.position <= position,
            At::Time(time) => commit.decided_at <= time,
        }
    }

    /// Whether a commit happened then or later. Whoever asks from now on has read what was before.
    pub fn begins_with(self, commit: &Commit) -> bool {
        match self {
            At::Now => true,
            At::Version(version) => version <= commit.version,
            At::Position(position) => position <= commit.position,
            At::Time(time) => time <= commit.decided_at,
        }
    }
}

/// `v3`, `@1207` or a time: as the command line takes it.
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Now => f.write_str("now"),
            At::Version(version) => write!(f, "v{version}"),
            At::Position(position) => write!(f, "@{position}"),
            At::Time(time) => time.fmt(f),
        }
    }
}
