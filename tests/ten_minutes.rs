//! The aggregate of the README, its first snapshot test and the program that serves it: the files that they are are compiled
//! and run here, and the README shows them. Their `Cargo.toml` is resolved by cargo.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "ten_minutes/src/main.rs"]
#[rustfmt::skip] // As short as the README wants it.
#[expect(dead_code, reason = "nobody calls its `main`")]
mod program;

const PROGRAM: &str = include_str!("ten_minutes/src/main.rs");

const README: &str = include_str!("../README.md");

/// The aggregate, and its test.
fn parts() -> (String, String) {
    let (aggregate, test) = include_str!("ten_minutes/src/stock.rs").split_once("\n#[cfg(test)]").unwrap();
    (aggregate.to_owned(), format!("#[cfg(test)]{test}"))
}

#[test]
fn the_readme_shows_what_is_run_here() {
    let (aggregate, test) = parts();
    for part in [aggregate, test] {
        assert!(README.contains(&format!("```rust\n{part}```\n")), "not in the README as it is run:\n{part}");
    }
    // Not `rust`: as a documentation test it would look for `stock.rs`.
    assert!(README.contains(&format!("```rs\n{PROGRAM}```\n")), "not in the README:\n{PROGRAM}");
}

/// Without a network: with the versions in this crate's own lock file, which are there when this test is.
#[test]
fn cargo_takes_the_manifest_of_the_readme_and_it_has_what_the_code_names() {
    let (_, behind) = README.split_once("`cargo new stock`, and in its `Cargo.toml`:\n\n```toml\n").unwrap();
    let (dependencies, _) = behind.split_once("```").unwrap();
    let here = env!("CARGO_MANIFEST_DIR");
    let project = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| project.path().join(name);
    // As `cargo new` writes it, and a workspace of its own, wherever the target folder lies.
    let package = "[package]\nname = \"stock\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";
    let dependencies = dependencies.replace("\"../hapax\"", &format!("{here:?}"));
    fs::write(path("Cargo.toml"), format!("{package}\n{dependencies}")).unwrap();
    fs::copy(Path::new(here).join("Cargo.lock"), path("Cargo.lock")).unwrap();
    fs::create_dir(path("src")).unwrap();
    fs::write(path("src/main.rs"), PROGRAM).unwrap();

    let (aggregate, test) = parts();
    assert_eq!(names(&tree(project.path(), "normal")), crates_in(&aggregate));
    assert_eq!(names(&tree(project.path(), "dev")), crates_in(&test));
    let has_stories = |edges| tree(project.path(), edges).contains("hapax feature \"testing\"");
    assert!(has_stories("dev,features"), "no `hapax::testing` for the test");
    assert!(!has_stories("normal,features"), "`hapax::testing` in what is served");
}

/// What the package itself depends on, a line for each, the package first.
fn tree(project: &Path, edges: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--depth", "1", "--prefix", "none", "--edges", edges]).current_dir(project);
    let told = cargo.output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap()
}

fn names(tree: &str) -> BTreeSet<&str> {
    tree.lines().skip(1).filter_map(|line| line.split(' ').next()).collect()
}

/// What paths begin with, unless it is a type or a method.
fn crates_in(code: &str) -> BTreeSet<&str> {
    let code = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words = code.flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric() && !"_:.".contains(letter)));
    let firsts = words.filter_map(|word| Some(word.split_once("::")?.0));
    firsts.filter(|first| first.starts_with(|letter: char| letter.is_lowercase()) && *first != "super").collect()
}
