//! Read models that are folded from the feed: what somebody wants to ask, kept ready to be asked.
//!
//! A [`Projection`] says what an event changes in rows of its own. The rest is the same for all of them: a [`Fold`] takes
//! the commits of the feed in whole groups, so that no half of an atomic batch is ever seen, and writes the rows together
//! with how far it has come ([`Mark`]) in one atomic write. So each event takes effect exactly once, wherever the process
//! dies and whatever is delivered again. A result is never the truth: any doubt about it, and its author's raised version,
//! have one answer, which is to fold again from the first commit.
//!
//! * [`Projection`]: what an author writes; [`crate::samples::balances`] is one
//! * [`happened`]: a commit as it is shown to him, its events typed and in today's form
//! * [`model`]: tables of rows, as a fold sees and changes them
//! * [`home`], [`sled_home`]: where rows and mark are kept: in memory, or in sled
//! * [`fold`]: commits in, one write out
//! * [`mod@follow`]: the feed of a NATS server, followed, and questions answered

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::subject::ProjectionName;

pub mod happened;
pub mod model;
pub mod home;
pub mod sled_home;
pub mod fold;
mod answer;
pub mod follow;

pub use fold::{Fold, ProjectionError};
pub use follow::{Notice, Settings, follow};
pub use happened::Happened;
pub use home::{Home, HomeError, Mark, MemoryHome, PROJECTION_FORMAT, Place};
pub use model::{ApplyError, Model, Table};
pub use sled_home::SledHome;

/// A read model: rows that are asked for by key, and how events change them.
///
/// The commits of a partition come in their order. How those of different partitions are mixed differs from one run to the
/// next, so where keys of several partitions change one row, the changes must come to the same in any order, as sums do.
///
/// ```
/// use hapax::projection::{ApplyError, Happened, Model, Projection, Table};
/// use hapax::samples::{Account, AccountEvent};
///
/// /// How often money was put into each account.
/// struct Deposits;
///
/// impl Projection for Deposits {
///     const NAME: &'static str = "deposits"; // `hapax project deposits`
///     const VERSION: u32 = 1;
///     type Row = u64;
///     const ROWS: Table<u64> = Table::named("deposits");
///
///     fn apply(happened: &Happened<'_>, model: &mut Model<'_>) -> Result<(), ApplyError> {
///         for event in happened.events::<Account>()? {
///             if let AccountEvent::Deposited { .. } = event {
///                 let before = model.get(Self::ROWS, happened.key())?.unwrap_or(0);
///                 model.put(Self::ROWS, happened.key(), &(before + 1))?;
///             }
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Projection {
    /// What it is asked for under: the token in `prj.alice.balances.row.ann`.
    const NAME: &'static str;

    /// Raised when `apply` or a row's form changes: a result of another version is folded again from the first commit.
    const VERSION: u32;

    /// What is asked for.
    type Row: Serialize + DeserializeOwned;

    /// The table that is asked. A projection may have others, to remember what it needs for this one.
    const ROWS: Table<Self::Row>;

    /// Lets the rows follow from what has happened. Pure: it sees the commit and the rows, and nothing else. After an
    /// error or a panic nothing of this commit's group is kept, and the fold has ended.
    ///
    /// # Errors
    /// [`ApplyError`], as events and rows give them.
    fn apply(happened: &Happened<'_>, model: &mut Model<'_>) -> Result<(), ApplyError>;
}

/// A projection as a value, its type erased.
#[derive(Debug, Clone)]
pub struct Definition {
    name: ProjectionName,
    version: u32,
    rows: Table<()>,
    apply: fn(&Happened<'_>, &mut Model<'_>) -> Result<(), ApplyError>,
}

impl Definition {
    /// Of a projection.
    ///
    /// # Panics
    /// If its name is no token of a subject, which its author must know before production does.
    pub fn of<P: Projection>() -> Definition {
        let name = ProjectionName::parse(P::NAME);
        let name = name.unwrap_or_else(|error| panic!("{:?} as Projection::NAME: {error}", P::NAME));
        Definition { name, version: P::VERSION, rows: P::ROWS.untyped(), apply: P::apply }
    }

    /// Its name.
    pub fn name(&self) -> &ProjectionName {
        &self.name
    }
}
