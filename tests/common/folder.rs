//! Folders as they are on disk.

use std::fs;
use std::path::Path;

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
