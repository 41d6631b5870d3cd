//! An import that is killed, at any moment, and started again: what it leaves is a whole store, or nothing that anybody
//! takes for one and a word about what to do.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::hapax::{code, hapax, run, stderr, stdout};
use crate::reading::{SHOP, rewritten};

/// An import that is being read from a pipe.
fn import(data: &Path) -> Child {
    let mut command = hapax(&["import", "-", "--data"]);
    command.arg(data).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn import_all(data: &Path) -> Output {
    run(&["import", SHOP, "--data", &data.display().to_string()])
}

fn is_whole(data: &Path) {
    let verified = run(&["verify", "--json", "--data", &data.display().to_string()]);
    assert_eq!(code(&verified), 0, "{}", stderr(&verified));
    assert!(stdout(&verified).contains(r#""commits":18,"#), "{}", stdout(&verified));
}

/// What a killed import has left. Whether the store was whole already.
fn judge(folder: &Path) -> bool {
    let data = folder.join("data");
    if data.join("hapax.json").exists() {
        is_whole(&data);
        let again = import_all(&data);
        assert!(code(&again) == 1 && stderr(&again).contains("is not empty"), "{}", stderr(&again));
        return true;
    }
    if data.exists() && fs::read_dir(&data).unwrap().next().is_some() {
        for (refused, remedy) in [
            (import_all(&data), "without one it is what an import or a restore has left that did not end"),
            (run(&["verify", "--data", &data.display().to_string()]), "or, if an import or a restore did not end here"),
        ] {
            assert!(code(&refused) != 0 && stderr(&refused).contains(remedy), "{}", stderr(&refused));
        }
        fs::remove_dir_all(&data).unwrap();
    }
    let again = import_all(&data);
    assert_eq!(code(&again), 0, "{}", stderr(&again));
    is_whole(&data);
    false
}

#[test]
fn a_killed_import_leaves_a_whole_store_or_none() {
    let text = fs::read_to_string(SHOP).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    // Behind each line that came, and before it is known to be the last.
    for count in 0..=lines.len() {
        let folder = tempfile::tempdir().unwrap();
        let mut importing = import(&folder.path().join("data"));
        importing.stdin.as_mut().unwrap().write_all(lines[..count].concat().as_bytes()).unwrap();
        importing.kill().unwrap();
        importing.wait().unwrap();
        judge(folder.path());
    }
    // And at any moment of its work.
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let (mut random, mut whole) = (StdRng::seed_from_u64(seed), 0);
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let mut importing = import(&folder.path().join("data"));
        importing.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        thread::sleep(Duration::from_micros(random.gen_range(0..40_000))); // The point of the kill.
        importing.kill().unwrap();
        importing.wait().unwrap();
        whole += usize::from(judge(folder.path()));
    }
    println!("{whole} of 40 had ended");
}

/// It was appended to the journal, which does not take it: a panic.
#[test]
fn a_line_that_is_too_long_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let owner = format!(r#"{{"owner":"{}"}}"#, "a".repeat(4 * 1024 * 1024));
    let is_first = |commit: &str| commit.contains("2026-open-ann-0001");
    let (_file_folder, file) = rewritten(|commit| match is_first(commit) {
        true => commit.replacen(r#"{"owner":"ann"}"#, &owner, 1),
        false => commit.to_owned(),
    });
    let output = run(&["import", &file, "--data", &data.display().to_string()]);
    let said = stderr(&output);
    assert_eq!(code(&output), 1, "{said}");
    assert!(said.starts_with("error: line 2 has a commit of ") && said.contains("export again"), "{said}");
    assert!(!data.exists() && fs::read_dir(folder.path()).unwrap().count() == 0, "nothing is left");
}
