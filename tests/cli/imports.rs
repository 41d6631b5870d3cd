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
    if data.join("unfinished").exists() {
        let remedy = format!("remove {}/unfinished and every p<N> beside it", data.display());
        for refused in [import_all(&data), run(&["verify", "--data", &data.display().to_string()])] {
            assert!(code(&refused) == 1 && stderr(&refused).contains(&remedy), "{}", stderr(&refused));
        }
    }
    let _ = fs::remove_dir_all(data.join("unfinished"));
    let _ = fs::remove_dir_all(data.join("p0"));
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

/// One of them was there first; the others neither add to what it makes nor take it away.
#[test]
fn imports_into_one_directory_at_the_same_time_make_one_store() {
    let text = fs::read_to_string(SHOP).unwrap();
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut importing: Vec<_> = (0..3).map(|_| import(&data)).collect();
        for each in &mut importing {
            let _ = each.stdin.take().unwrap().write_all(text.as_bytes()); // One that is refused does not read it.
        }
        let codes: Vec<_> = importing.iter_mut().map(|each| each.wait().unwrap().code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| **code == Some(1)).count(), 2, "{codes:?}");
        is_whole(&data);
    }
}

/// A volume has its `lost+found`; anything else is somebody's.
#[test]
fn only_what_a_volume_has_by_itself_may_be_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("photo"), "a").unwrap();
    let refused = import_all(folder.path());
    assert!(code(&refused) == 1 && stderr(&refused).contains("is not empty"), "{}", stderr(&refused));
    fs::remove_file(folder.path().join("photo")).unwrap();
    assert_eq!(code(&import_all(folder.path())), 0);
    is_whole(folder.path());
}

/// It was finished as an empty store of the same name.
#[test]
fn an_import_whose_folder_is_removed_meanwhile_fails() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let text = fs::read_to_string(SHOP).unwrap();
    let mut importing = import(&data);
    importing.stdin.as_mut().unwrap().write_all(&text.as_bytes()[..text.len() / 2]).unwrap();
    while !data.join("unfinished/p0/journal/00000000000000000001.log").exists() {
        thread::sleep(Duration::from_millis(1)); // Between two looks.
    }
    fs::remove_dir_all(data.join("unfinished")).unwrap();
    // Damage; unless a write into the folder has failed before, and then it does not read the rest.
    let _ = importing.stdin.take().unwrap().write_all(&text.as_bytes()[text.len() / 2..]);
    let code = importing.wait().unwrap().code();
    assert!(matches!(code, Some(1 | 8)), "{code:?}");
    assert!(!data.exists(), "nothing is left");
}

/// What a copy of the `hapax.json` of the same store would make a store of: half of one, in which old ids are new.
#[test]
fn nothing_makes_a_store_of_half_an_import() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, data) = (folder.path().join("whole"), folder.path().join("data"));
    assert_eq!(code(&import_all(&whole)), 0);
    let text = fs::read_to_string(SHOP).unwrap();
    let mut importing = import(&data);
    let half: Vec<&str> = text.split_inclusive('\n').take(9).collect();
    importing.stdin.as_mut().unwrap().write_all(half.concat().as_bytes()).unwrap();
    while !data.join("unfinished/p0/journal/00000000000000000001.log").exists() {
        thread::sleep(Duration::from_millis(1)); // Between two looks.
    }
    let served = hapax(&["serve", "--server", "nats://127.0.0.1:1", "--data"]).arg(&data).output().unwrap();
    assert!(code(&served) == 1 && stderr(&served).contains("an import or a restore works in"), "{}", stderr(&served));
    importing.kill().unwrap();
    importing.wait().unwrap();
    fs::copy(whole.join("hapax.json"), data.join("hapax.json")).unwrap();
    assert_eq!(code(&run(&["verify", "--data", &data.display().to_string()])), 8);
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
