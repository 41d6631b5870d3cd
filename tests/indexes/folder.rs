//! The folder of an index in sled: made, opened again, and opened behind its back.

use std::fs;
use std::path::{Path, PathBuf};

use hapax::index::{CatchUpError, Checkpoint, SledIndex, catch_up};
use hapax::store::CommitReader;

use crate::commits::{Commits, ID};

/// An index in a folder, with these commits and a checkpoint at the last.
pub(crate) fn with_checkpoint(dir: &Path, commits: &Commits) -> SledIndex {
    let opened = SledIndex::open(dir, ID).unwrap();
    catch_up(&opened.index, commits, opened.from.as_ref(), commits.last(), &mut |_| {}).unwrap();
    let last = commits.0.last().unwrap();
    opened.index.checkpoint(last.position, last.hash).unwrap();
    opened.index
}

/// Opens and catches up as a start does, and says whether the index was believed.
pub(crate) fn start(dir: &Path, commits: &Commits) -> (SledIndex, bool) {
    let opened = SledIndex::open(dir, ID).unwrap();
    let mut index = opened.index;
    let mut believed = opened.from.is_some();
    match catch_up(&index, commits, opened.from.as_ref(), commits.last(), &mut |_| {}) {
        Ok(_) => {}
        Err(CatchUpError::Index(_)) => {
            believed = false;
            index.start_over().unwrap();
            catch_up(&index, commits, None, commits.last(), &mut |_| {}).unwrap();
        }
        Err(error) => panic!("{error}"),
    }
    (index, believed)
}

pub(crate) struct Opened {
    pub(crate) index: SledIndex,
    pub(crate) from: Checkpoint,
}

pub(crate) fn reopen(dir: &Path) -> Opened {
    let opened = SledIndex::open(dir, ID).unwrap();
    assert_eq!(opened.doubt, None);
    Opened { index: opened.index, from: opened.from.unwrap() }
}

/// sled itself. It holds its lock for a moment after it was closed.
pub(crate) fn sled_in(dir: &Path) -> ::sled::Db {
    fs::File::open(dir.join("sled/db")).unwrap().lock().unwrap();
    ::sled::open(dir.join("sled")).unwrap()
}

pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}
