//! Folders as they are on disk.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// Copies a folder and what is below it; into one that may be there already.
pub fn copy_folder(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), target.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// A copy of a folder, in a folder of its own: a store as a backup has it, or as another host does.
pub fn copy_of(source: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(source, copy.path());
    copy
}
