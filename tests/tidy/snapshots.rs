//! `scripts/snapshots`, which says of every snapshot that it is compared and accepted, and where it has to be.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

/// A project with such files, of which one snapshot is compared.
fn project(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["snapshots/compared.snap", "target/copy/snapshots/built.snap"].iter().chain(files) {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::create_dir(folder.path().join("scripts")).unwrap();
    // It looks where it lies.
    fs::copy(crate::root().join("scripts/snapshots"), folder.path().join("scripts/snapshots")).unwrap();
    folder
}

/// Whether the script is content with it, and what it says.
fn check(files: &[&str]) -> (bool, String) {
    let folder = project(files);
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    let compared = in_folder("snapshots/compared.snap");
    fs::write(in_folder("list"), format!("{compared}\n{compared}\n")).unwrap(); // As by two tests.
    let output = Command::new("bash").args([in_folder("scripts/snapshots"), in_folder("list")]).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_project_whose_snapshots_are_all_compared_and_accepted_passes() {
    assert_eq!(check(&[]), (true, String::new()));
}

#[test]
fn a_snapshot_that_nobody_compares_or_has_accepted_or_looks_for_fails() {
    const PENDING: &str = "snapshots that nobody has accepted";
    const STRAY: &str = "snapshots outside snapshots/";
    const UNUSED: &str = "snapshots that no test compares any more";
    for (file, what) in [
        ("snapshots/orphan.snap", UNUSED),
        ("snapshots/older/compared.snap", UNUSED),
        ("snapshots/compared.snap.new", PENDING),
        ("tests/cli/.verify.rs.pending-snap", PENDING),
        ("src/snapshots/stray.snap", STRAY),
        ("tests/compared.snap", STRAY),
    ] {
        assert_eq!(check(&[file]), (false, format!("{what}:\n{file}\n")), "{file}");
    }
    let (_, said) = check(&["snapshots/orphan.snap", "snapshots/other.snap.new", "stray.snap"]);
    assert!([PENDING, STRAY, UNUSED].iter().all(|what| said.contains(what)), "each is said: {said}");
}
