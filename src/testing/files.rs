//! A story on files: the shipped journal and index in a folder of its own, opened as a processor opens them.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::home::Trouble;
use super::machine::{Ground, Machine};
use crate::aggregate::Service;
use crate::index::SledIndex;
use crate::model::error::with_sources;
use crate::serve::DataDir;
use crate::serve::open::open;
use crate::store::file::{FileReader, FileStore};
use crate::store::{CommitReader, EventStore, Tip};

pub(super) struct Files {
    /// `None` only while it crashes.
    opened: Option<Opened>,
    /// Removed with the story.
    folder: TempDir,
}

struct Opened {
    store: FileStore,
    index: Arc<SledIndex>,
}

impl Files {
    /// A processor in an empty folder.
    pub(super) fn home(service: Arc<Service>) -> Result<Machine<Files>, Trouble> {
        let folder = TempDir::new().map_err(|error| with_sources(&error))?;
        let (opened, tip) = Opened::open(folder.path())?;
        Ok(Machine::new(service, Files { opened: Some(opened), folder }, tip))
    }

    fn opened(&self) -> &Opened {
        self.opened.as_ref().expect("it is taken only by a crash")
    }
}

impl Opened {
    fn open(folder: &Path) -> Result<(Opened, Tip), Trouble> {
        let data = DataDir::open_or_create(folder, None).map_err(|error| with_sources(&error))?;
        let opened = open(&data, 0, None, |_| ()).map_err(|error| with_sources(&error))?;
        let (store, tip, index) = (opened.store, opened.tip, opened.index);
        data.begin(false).map_err(|error| with_sources(&error))?;
        Ok((Opened { store, index: Arc::new(index) }, tip))
    }

    /// What a running processor does now and then. Without it an index is built anew after a crash, and has no snapshots: no
    /// state would ever be read from one.
    fn checkpoint(&self) -> Result<(), Trouble> {
        let reader = self.store.reader();
        let Some(last) = reader.last() else { return Ok(()) };
        let commit = reader.get(last).map_err(|error| with_sources(&error))?;
        self.index.checkpoint(last, commit.hash).map_err(|error| with_sources(&error))
    }
}

impl Ground for Files {
    type Store = FileStore;
    type Index = SledIndex;

    fn store(&mut self) -> &mut FileStore {
        &mut self.opened.as_mut().expect("it is taken only by a crash").store
    }

    fn reader(&self) -> FileReader {
        self.opened().store.reader()
    }

    fn index(&self) -> Arc<SledIndex> {
        self.opened().index.clone()
    }

    fn crash(&mut self) -> Result<(), Trouble> {
        self.opened().checkpoint()?;
        let left = left_by_a_kill(self.folder.path())?;
        self.opened = None;
        self.opened = Some(Opened::open(left.path())?.0);
        self.folder = left;
        Ok(())
    }
}

/// What a `kill -9` leaves of a folder that is in use: what its files hold at this moment. Whoever has it open may then
/// close it as properly as he likes, that goes into the old one.
pub(super) fn left_by_a_kill(folder: &Path) -> Result<TempDir, Trouble> {
    let left = TempDir::new().map_err(|error| with_sources(&error))?;
    copy(folder, left.path()).map_err(|error| format!("the data directory cannot be copied: {error}"))?;
    Ok(left)
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let target = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            match fs::copy(entry.path(), target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Renamed meanwhile: the other name is there.
                copied => drop(copied?),
            }
        }
    }
    Ok(())
}
