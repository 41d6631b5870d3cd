//! Commits in, one write out: rows and how far they have come, together.

use uuid::Uuid;

use super::Definition;
use super::happened::Happened;
use super::home::{Home, HomeError, Mark, Place, RowSum};
use super::model::{ApplyError, Changes, Model, Table};
use crate::model::error::caught;
use crate::model::{AggregateId, ChainHash, Commit, Position};
use crate::nats::ConnectError;
use crate::nats::feed::FeedError;

/// Why a projection does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The broker cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The feed cannot be read, or is not what a processor has written.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Rows cannot be kept.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// What is kept was folded from another feed.
    #[error(
        "this projection was folded from the feed of store {kept}, and this is the feed of store {feed}: keep it in another \
         folder, or fold it from this feed with --rebuild"
    )]
    OtherStore {
        /// The store that it was folded from.
        kept: Uuid,
        /// The store whose feed is there.
        feed: Uuid,
    },
    /// The feed has another commit where this one was folded, although it names the same store.
    #[error(
        "the feed of partition {partition} is not the one that this projection was folded from: its commit at position \
         {position} does not continue the chain; if the feed is right, fold it again with --rebuild"
    )]
    OtherFeed {
        /// The partition.
        partition: u32,
        /// The commit.
        position: Position,
    },
    /// The feed ends before what was folded: its broker has lost the end, or the stream was made anew.
    #[error(
        "the feed of partition {partition} ends at position {}, and this projection has folded {position} of it: start it \
         again when the processor has fed that much (`unfed` of `hapax health`), or fold it again with --rebuild",
        .last.map_or(0, Position::get)
    )]
    AheadOfFeed {
        /// The partition.
        partition: u32,
        /// How far it has been folded.
        position: Position,
        /// Where the feed ends.
        last: Option<Position>,
    },
    /// Commits are missing between what was folded and what came.
    #[error(
        "partition {partition} is folded up to before position {expected}, and {position} came: commits are missing"
    )]
    Gap {
        /// The partition.
        partition: u32,
        /// The commit that is to come.
        expected: Position,
        /// The one that came.
        position: Position,
    },
    /// A commit cannot be applied. Everything before its group is.
    #[error("{aggregate}: the commit at position {position} of partition {partition} cannot be projected")]
    Apply {
        /// Its aggregate.
        aggregate: AggregateId,
        /// The partition.
        partition: u32,
        /// The commit.
        position: Position,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// The projection's code panicked. Everything before this commit's group is applied.
    #[error("{aggregate}: projecting the commit at position {position} of partition {partition} panicked: {panic}")]
    Panicked {
        /// Its aggregate.
        aggregate: AggregateId,
        /// The partition.
        partition: u32,
        /// The commit.
        position: Position,
        /// The panic's message.
        panic: String,
    },
}

/// A projection, folded as far as its mark says.
pub struct Fold {
    projection: Definition,
    home: Box<dyn Home>,
    mark: Mark,
    /// Of each partition, the beginning of an atomic batch whose end has not come.
    waiting: Vec<Vec<Commit>>,
}

impl Fold {
    /// Goes on with what is kept, or begins. The second value says why what was kept is not used, if it is not.
    ///
    /// # Errors
    /// [`ProjectionError::OtherStore`], [`ProjectionError::Home`].
    pub fn open(
        projection: Definition,
        mut home: Box<dyn Home>,
        store: Uuid,
        partitions: u32,
    ) -> Result<(Fold, Option<String>), ProjectionError> {
        let version = projection.version;
        let kept = home.mark()?;
        let (mark, why) = match kept {
            Some(mark) if mark.version != version => {
                home.clear()?;
                (None, Some(format!("version {} folded it, and this is version {version}", mark.version)))
            }
            Some(mark) if mark.store != store => {
                return Err(ProjectionError::OtherStore { kept: mark.store, feed: store });
            }
            kept => (kept, None),
        };
        let count = partitions as usize;
        let begin = || Mark { version, store, partitions: vec![None; count], rows: RowSum::default() };
        let mark = mark.unwrap_or_else(begin);
        assert_eq!(mark.partitions.len(), count, "a store's number of partitions is fixed for ever");
        Ok((Fold { projection, home, mark, waiting: vec![Vec::new(); count] }, why))
    }

    /// How far it has come.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Its definition.
    pub fn projection(&self) -> &Definition {
        &self.projection
    }

    /// A row; `None`: there is none.
    ///
    /// # Errors
    /// [`ApplyError::Row`]: it is of another type; [`ApplyError::Home`].
    pub fn get<T: serde::de::DeserializeOwned>(&self, table: Table<T>, key: &str) -> Result<Option<T>, ApplyError> {
        Model::new(&*self.home).get(table, key)
    }

    /// The row that is asked for under a key, as JSON; `None`: there is none.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn row(&self, key: &str) -> Result<Option<Vec<u8>>, HomeError> {
        self.home.row(&self.projection.rows.place(key))
    }

    /// Takes commits of a partition, in their order. What was folded before is passed over, so that whatever is delivered
    /// again takes effect once. What is not the end of an atomic batch waits for it, and no row shows it until then.
    ///
    /// # Errors
    /// [`ProjectionError`]. What is kept is then as it was before the first group that could not be folded.
    ///
    /// # Panics
    /// If the store has no such partition.
    pub fn take(&mut self, partition: u32, commits: Vec<Commit>) -> Result<(), ProjectionError> {
        let mut last = self.last_taken(partition);
        let mut waiting = std::mem::take(&mut self.waiting[partition as usize]);
        for commit in commits {
            let (position, expected) = (commit.position, Position::after(last.position));
            if position < expected {
                continue;
            }
            if expected < position {
                return Err(ProjectionError::Gap { partition, expected, position });
            }
            if last.hash.link(commit.json()) != commit.hash {
                return Err(ProjectionError::OtherFeed { partition, position });
            }
            last = Last { position: Some(position), hash: commit.hash };
            waiting.push(commit);
        }
        let whole = whole_groups(&waiting);
        let rest = waiting.split_off(whole.iter().sum());
        self.fold_groups(partition, &waiting, &whole)?;
        self.waiting[partition as usize] = rest;
        Ok(())
    }

    /// Hands what is kept to the operating system: when nothing more has come, and at the end.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn flush(&mut self) -> Result<(), HomeError> {
        self.home.flush()
    }

    fn last_taken(&self, partition: u32) -> Last {
        let partition = partition as usize;
        let waiting =
            self.waiting[partition].last().map(|commit| Last { position: Some(commit.position), hash: commit.hash });
        let folded =
            || self.mark.partitions[partition].map(|place| Last { position: Some(place.position), hash: place.hash });
        waiting.or_else(folded).unwrap_or_else(|| Last { position: None, hash: ChainHash::of_store(self.mark.store) })
    }

    /// All groups in one write; if one of them cannot be folded, those before it, one by one.
    fn fold_groups(&mut self, partition: u32, commits: &[Commit], groups: &[usize]) -> Result<(), ProjectionError> {
        if commits.is_empty() {
            return Ok(());
        }
        match self.fold(partition, commits) {
            Err(ProjectionError::Apply { .. } | ProjectionError::Panicked { .. }) if groups.len() > 1 => {
                let mut rest = commits;
                groups.iter().try_for_each(|length| {
                    let (group, behind) = rest.split_at(*length);
                    rest = behind;
                    self.fold(partition, group)
                })
            }
            done => done,
        }
    }

    /// One write.
    fn fold(&mut self, partition: u32, commits: &[Commit]) -> Result<(), ProjectionError> {
        let mut model = Model::new(&*self.home);
        for commit in commits.iter().filter(|commit| commit.event_count > 0) {
            let (aggregate, position) = (|| commit.command.aggregate.clone(), commit.position);
            caught(|| (self.projection.apply)(&Happened { partition, commit }, &mut model))
                .map_err(|panic| ProjectionError::Panicked { aggregate: aggregate(), partition, position, panic })?
                .map_err(|source| ProjectionError::Apply { aggregate: aggregate(), partition, position, source })?;
        }
        let changes = model.into_changes();
        let mut mark = self.mark.clone();
        mark.rows = self.sum_after(&changes)?;
        mark.partitions[partition as usize] =
            commits.last().map(|last| Place { position: last.position, hash: last.hash });
        self.home.write(changes, &mark)?;
        self.mark = mark;
        Ok(())
    }

    fn sum_after(&self, changes: &Changes) -> Result<RowSum, HomeError> {
        let mut sum = self.mark.rows;
        for (place, change) in changes {
            if let Some(before) = self.home.row(place)? {
                sum.take_away(place, &before);
            }
            if let Some(row) = change {
                sum.add(place, row);
            }
        }
        Ok(sum)
    }
}

/// The last commit that came.
struct Last {
    position: Option<Position>,
    hash: ChainHash,
}

/// How many commits each group has that is whole: a commit alone, or all of an atomic batch.
fn whole_groups(commits: &[Commit]) -> Vec<usize> {
    let mut groups = Vec::new();
    let mut rest = commits;
    while let Some(first) = rest.first() {
        let length = 1 + first.followers as usize;
        if rest.len() < length {
            break;
        }
        groups.push(length);
        rest = &rest[length..];
    }
    groups
}
