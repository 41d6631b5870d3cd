//! Where does a group end? An atomic batch is recorded as several commits, one behind the other: its own, which says how
//! many follow, and those of its commands. Whoever writes commits, copies or decides them again does so with all of a group
//! or with none. A commit that belongs to no batch is a group of its own; and so is, to whoever begins to read in the
//! middle of a group, each of the rest.

use super::commit::{Commit, Position};

/// Commits that are no whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Another atomic batch begins in the middle of one. No processor writes that: ask `verify` about the store.
    #[error("the atomic batch at position {head} is torn: another one begins at position {at}, before its end")]
    Torn {
        /// The batch's own commit.
        head: Position,
        /// Where the other one begins.
        at: Position,
    },
    /// Nothing more comes, and the batch has not ended. What is there of it is half of a decision, and must not be used.
    #[error("the atomic batch at position {head} does not end: {missing} of its commits are missing")]
    Open {
        /// The batch's own commit.
        head: Position,
        /// How many commits should still come.
        missing: u32,
    },
}

/// Where a sequence of commits stands in its groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupPlace {
    /// The batch that has not ended, and how many commits are still to come.
    open: Option<(Position, u32)>,
}

impl GroupPlace {
    /// Goes on to the next commit. Whether its group ends with it.
    ///
    /// # Errors
    /// [`GroupError::Torn`].
    pub fn go_on(&mut self, commit: &Commit) -> Result<bool, GroupError> {
        let (head, owed) = match self.open {
            Some((head, _)) if commit.followers > 0 => return Err(GroupError::Torn { head, at: commit.position }),
            Some((head, owed)) => (head, owed - 1),
            None => (commit.position, commit.followers),
        };
        self.open = (owed > 0).then_some((head, owed));
        Ok(owed == 0)
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// [`GroupError::Open`].
    pub fn end(&self) -> Result<(), GroupError> {
        self.open.map_or(Ok(()), |(head, missing)| Err(GroupError::Open { head, missing }))
    }
}

/// Gathers commits into whole groups.
///
/// ```
/// # fn copy(commits: impl Iterator<Item = hapax::Commit>) -> Result<(), hapax::model::groups::GroupError> {
/// # fn write(group: Vec<hapax::Commit>) {}
/// let mut groups = hapax::model::groups::Groups::default();
/// for commit in commits {
///     if let Some(group) = groups.take(commit)? {
///         write(group);
///     }
/// }
/// groups.end()
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Groups {
    place: GroupPlace,
    waiting: Vec<Commit>,
}

impl Groups {
    /// Takes the next commit. The whole group, if it ends with it.
    ///
    /// # Errors
    /// [`GroupError::Torn`].
    pub fn take(&mut self, commit: Commit) -> Result<Option<Vec<Commit>>, GroupError> {
        let ends = self.place.go_on(&commit)?;
        self.waiting.push(commit);
        Ok(ends.then(|| std::mem::take(&mut self.waiting)))
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// [`GroupError::Open`].
    pub fn end(&self) -> Result<(), GroupError> {
        self.place.end()
    }
}
