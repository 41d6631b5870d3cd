//! Tables of rows, as a fold sees and changes them: what is kept, and over it what was changed and is not written yet.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::home::{Home, HomeError};
use crate::aggregate::EventError;
use crate::model::CommitError;

/// Rows of one type, each under a key, kept as JSON.
pub struct Table<T> {
    name: &'static str,
    row: PhantomData<fn() -> T>,
}

impl<T> Table<T> {
    /// A table of a projection. Two tables of one projection have different names.
    ///
    /// # Panics
    /// If the name is empty or has a zero byte in it: where it is a constant, it is then not compiled.
    pub const fn named(name: &'static str) -> Table<T> {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "a table has a name");
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index] != 0, "a zero byte ends a table's name where it is kept");
            index += 1;
        }
        Table { name, row: PhantomData }
    }

    /// The same, of rows that are not read.
    pub(super) const fn untyped(self) -> Table<()> {
        Table { name: self.name, row: PhantomData }
    }

    /// Where a row is kept. No two rows of a projection have the same place: a name has no zero byte.
    pub(super) fn place(self, key: &str) -> Vec<u8> {
        [self.name.as_bytes(), b"\0", key.as_bytes()].concat()
    }
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Table<T> {
        *self
    }
}

impl<T> Copy for Table<T> {}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

/// What was changed, by place; `None`: the row is taken away.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The rows of a projection while commits are applied to them.
pub struct Model<'a> {
    home: &'a dyn Home,
    changes: Changes,
}

/// Why a commit cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The aggregate's code does not know an event that was recorded.
    #[error("the event {kind:?} (schema {schema}) cannot be read")]
    Event {
        /// Its type.
        kind: String,
        /// Its schema version.
        schema: u32,
        /// Why, and what can be read.
        #[source]
        source: EventError,
    },
    /// The recorded outcome cannot be read.
    #[error("the commit cannot be read")]
    Commit(#[source] CommitError),
    /// A row is not what the table says: its author has changed the form, and not the version.
    #[error("the row {key:?} of the table {table:?} has another form: raise Projection::VERSION when a form changes")]
    Row {
        /// The table.
        table: &'static str,
        /// The row.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// What is kept cannot be read.
    #[error(transparent)]
    Home(#[from] HomeError),
}

impl<'a> Model<'a> {
    /// What is kept, unchanged.
    pub(super) fn new(home: &'a dyn Home) -> Model<'a> {
        Model { home, changes: Changes::new() }
    }

    /// A row; `None`: there is none.
    ///
    /// # Errors
    /// [`ApplyError::Row`], [`ApplyError::Home`].
    pub fn get<T: DeserializeOwned>(&self, table: Table<T>, key: &str) -> Result<Option<T>, ApplyError> {
        let place = table.place(key);
        let kept;
        let row = match self.changes.get(&place) {
            Some(changed) => changed.as_deref(),
            None => {
                kept = self.home.row(&place)?;
                kept.as_deref()
            }
        };
        row.map(|row| serde_json::from_slice(row)).transpose().map_err(|source| row_error(table, key, source))
    }

    /// Puts a row in the place of what was under its key.
    ///
    /// # Errors
    /// [`ApplyError::Row`]: it is not JSON.
    pub fn put<T: Serialize>(&mut self, table: Table<T>, key: &str, row: &T) -> Result<(), ApplyError> {
        let row = serde_json::to_vec(row).map_err(|source| row_error(table, key, source))?;
        self.changes.insert(table.place(key), Some(row));
        Ok(())
    }

    /// Takes a row away.
    pub fn remove<T>(&mut self, table: Table<T>, key: &str) {
        self.changes.insert(table.place(key), None);
    }

    /// What was changed.
    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }
}

fn row_error<T>(table: Table<T>, key: &str, source: serde_json::Error) -> ApplyError {
    ApplyError::Row { table: table.name, key: key.to_owned(), source }
}
