//! Who may use whom, and a few more rules that no compiler checks. They are read from the source text of `src`, without
//! comments, texts and test code; what holds for tests too, also from that of `tests`.

#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/snapshots.rs"]
mod snapshots;

use std::path::{Path, PathBuf};

/// A module, and what it may name besides itself. Arrows point up in this list, so down in the house: `processor` takes
/// two words from `store`, since only a store can say what is durable; it never sees one.
const MAY_USE: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("aggregate", &["model"]),
    ("store", &["model"]),
    ("processor", &["model", "aggregate", "store::Durable", "store::Tip"]),
    ("index", &["model", "store"]),
    ("nats", &["model"]),
    // Deciding again is done by the processor that is shipped, and a state is answered as it answers.
    ("replay", &["model", "aggregate", "store", "processor"]),
    ("serve", &["model", "aggregate", "store", "processor", "index", "nats"]),
    ("client", &["model", "aggregate", "nats::connect", "nats::ConnectError", "nats::ConnectOptions"]),
    ("projection", &["model", "aggregate", "nats"]),
    ("samples", &["aggregate", "projection"]),
    ("bench", &["model", "aggregate", "store", "nats", "replay", "samples"]),
    ("cli", &["model", "aggregate", "store", "index", "nats", "replay", "serve", "client", "projection", "bench"]),
    // A story is told on everything that is shipped: in this process on the processor, elsewhere by server and client.
    ("testing", &["model", "aggregate", "store", "processor", "index", "nats", "serve", "client"]),
];

/// A file that is longer has a second subject.
const LINES_MAX: usize = 600;

/// What is wrong with one file; `path` is relative to `src`, with `/` between the names.
fn problems(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problems.push(format!("{path} has {lines} lines, at most {LINES_MAX} are readable"));
    }
    let code = source::code(text);
    for unfinished in ["todo!", "unimplemented!", "dbg!"] {
        if source::mentions(&code, unfinished) {
            problems.push(format!("{path} contains {unfinished}"));
        }
    }
    if is_test(path) {
        return problems;
    }
    let code = source::without_tests(&code);
    if code.contains(".unwrap()") {
        problems.push(format!("{path} contains unwrap(): say with expect(…) why it cannot fail, or return the error"));
    }
    let module = module_of(path);
    let Some(own) = module.first() else { return problems }; // lib.rs and main.rs join everything.
    let Some((_, allowed)) = MAY_USE.iter().find(|(of, _)| of == own) else {
        problems.push(format!("{path}: the module {own:?} is not in the table"));
        return problems;
    };
    for used in source::paths(&code, &module) {
        let is_within = |of: &str| used == of || used.strip_prefix(of).is_some_and(|rest| rest.starts_with("::"));
        if !is_within(own) && !allowed.iter().any(|of| is_within(of)) {
            problems.push(format!("{path} uses {used}, and the table has no arrow from {own} to it"));
        }
    }
    problems
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|name| name == "tests" || name == "tests.rs")
}

/// `store/file/mod.rs` is `[store, file]`.
fn module_of(path: &str) -> Vec<&str> {
    let path = path.strip_suffix(".rs").expect("only Rust files are read");
    let mut names: Vec<&str> = path.split('/').collect();
    if matches!(names.last(), Some(&("mod" | "lib" | "main"))) {
        names.pop();
    }
    names
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn src() -> PathBuf {
    root().join("src")
}

/// Path relative to `src`, and text, of every file.
fn sources() -> impl Iterator<Item = (String, String)> {
    files_below(&src()).into_iter().map(|file| {
        let path = file.strip_prefix(src()).unwrap().components();
        let path: Vec<_> = path.map(|name| name.as_os_str().to_str().unwrap()).collect();
        (path.join("/"), std::fs::read_to_string(&file).unwrap())
    })
}

#[test]
fn the_source_is_tidy() {
    let all: Vec<String> = sources().flat_map(|(path, text)| problems(&path, &text)).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// Tests may unwrap and name everything; else they are read like all other code.
#[test]
fn the_tests_are_tidy() {
    let files = files_below(&root().join("tests")).into_iter();
    let ours = files.filter(|file| !file.starts_with(root().join("tests/fuzz/target")));
    let all = ours.flat_map(|file| {
        let path = file.strip_prefix(root()).unwrap().display().to_string();
        problems(&path, &std::fs::read_to_string(&file).unwrap())
    });
    let all: Vec<String> = all.collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn every_arrow_is_used() {
    let mut unused: Vec<(&str, &str)> =
        MAY_USE.iter().flat_map(|(of, allowed)| allowed.iter().map(|used| (*of, *used))).collect();
    for (path, text) in sources().filter(|(path, _)| !is_test(path)) {
        let module = module_of(&path);
        let code = source::without_tests(&source::code(&text));
        for used in source::paths(&code, &module) {
            let is_within = |of: &str| used == of || used.strip_prefix(of).is_some_and(|rest| rest.starts_with("::"));
            unused.retain(|(of, allowed)| module.first() != Some(of) || !is_within(allowed));
        }
    }
    assert!(unused.is_empty(), "arrows that nothing needs: {unused:?}");
}

#[test]
fn the_table_is_true() {
    for (row, (module, allowed)) in MAY_USE.iter().enumerate() {
        assert!(src().join(module).join("mod.rs").exists(), "{module} is in the table, and not in src");
        for used in *allowed {
            let used = used.split("::").next().unwrap();
            let below = MAY_USE[..row].iter().any(|(below, _)| *below == used);
            assert!(below, "{module} may use {used}, which does not stand above it in the table");
        }
    }
    let allows = |module: &str, used: &str| {
        let (_, allowed) = MAY_USE.iter().find(|(of, _)| *of == module).unwrap();
        allowed.iter().any(|path| path.split("::").next() == Some(used))
    };
    assert!(!allows("processor", "nats") && !allows("nats", "processor"), "only serve knows both");
}

/// The arrows that are found in a file and not allowed.
fn arrows(path: &str, code: &str) -> Vec<String> {
    let problems = problems(path, code);
    let arrow = |problem: &String| Some(problem.split_once(" uses ")?.1.split_once(',')?.0.to_owned());
    problems.iter().map(|problem| arrow(problem).unwrap_or_else(|| problem.clone())).collect()
}

#[test]
fn a_planted_arrow_is_found() {
    assert_eq!(arrows("processor/guard.rs", "use crate::nats::deliver::Message;"), ["nats::deliver::Message"]);
    assert_eq!(arrows("nats/deliver.rs", "fn f(_: &crate::processor::Delivery) {}"), ["processor::Delivery"]);
    assert_eq!(arrows("model/time.rs", "use super::super::store::Tip;"), ["store::Tip"]);
    assert_eq!(arrows("model/mod.rs", "use super::store::Tip;"), ["store::Tip"]);
    assert_eq!(arrows("store/file/disk.rs", "use super::super::super::index;"), ["index"]);
    assert_eq!(arrows("client/mod.rs", "use crate::nats::{provision, connect};"), ["nats::provision"]);
    assert_eq!(arrows("model/mod.rs", "use crate::{model::json, store::{Tip, file::{self, disk}}};").len(), 3);
    assert_eq!(arrows("index/mod.rs", "macro_rules! m { () => { $crate::serve::Server } }"), ["serve::Server"]);
    assert_eq!(arrows("index/mod.rs", "use crate :: serve\n    ::Server;"), ["serve::Server"]);
    assert_eq!(arrows("aggregate/mod.rs", "use crate::*;"), ["*"]);
    assert_eq!(
        arrows("aggregate/mod.rs", "use crate::Timestamp;"),
        ["Timestamp"],
        "by its module, not by the front door"
    );
}

#[test]
fn processor_takes_two_words_from_the_store() {
    assert_eq!(arrows("processor/mod.rs", "use crate::store::{Durable, Tip};"), [] as [&str; 0]);
    assert_eq!(arrows("processor/mod.rs", "use crate::store::{Durable, EventStore};"), ["store::EventStore"]);
    assert_eq!(arrows("processor/mod.rs", "use crate::store;"), ["store"]);
    assert_eq!(arrows("processor/mod.rs", "use crate::store::DurableToo;"), ["store::DurableToo"]);
}

#[test]
fn what_is_allowed_is_not_found() {
    let allowed = [
        ("processor/guard.rs", "use crate::model::{Command, limits::X}; use super::intake::Intent; use super::*;"),
        ("processor/mod.rs", "//! Not [`crate::nats`].\n/* crate::nats */ const A: &str = \"crate::nats\";"),
        ("processor/mod.rs", "const A: &str = r#\"\"crate::nats\"\"#; const B: char = '\"'; fn f<'a>(_: &'a str) {}"),
        ("processor/mod.rs", "#[cfg(test)]\nmod tests { use crate::nats::x; fn f() { g().unwrap() } }\nfn after() {}"),
        ("processor/mod.rs", "#[cfg(test)]\nmod tests;\npub(super) use intake::Delivery;"),
        ("processor/tests/core.rs", "use crate::store::memory::MemoryStore; fn f() { g().unwrap(); }"),
        ("store/file/disk.rs", "use super::frame; use super::super::StoreId; use crate::store::Tip;"),
        ("lib.rs", "pub mod nats; pub use crate::processor::Input;"),
    ];
    for (path, code) in allowed {
        assert_eq!(problems(path, code), [] as [&str; 0], "{code}");
    }
}

#[test]
fn other_untidiness_is_found() {
    assert_eq!(problems("util.rs", "").len(), 1, "a module that is not in the table");
    assert_eq!(problems("util/mod.rs", "").len(), 1);
    assert_eq!(problems("model/mod.rs", &"\n".repeat(LINES_MAX + 1)).len(), 1);
    assert_eq!(problems("model/mod.rs", &"\n".repeat(LINES_MAX)).len(), 0);
    assert_eq!(problems("main.rs", "fn main() { f().unwrap(); }").len(), 1);
    assert_eq!(problems("model/mod.rs", "fn f() { g()\n.unwrap() }\n#[cfg(test)]\nmod tests {}").len(), 1);
    assert_eq!(problems("model/mod.rs", "#[cfg(test)]\nmod tests;\nfn f() { g().unwrap() }").len(), 1);
    assert_eq!(problems("model/mod.rs", "fn f() { g().unwrap_or_default() } // .unwrap()").len(), 0);
    assert_eq!(problems("model/mod.rs", "fn f() { todo!() }").len(), 1);
    assert_eq!(problems("model/tests/mod.rs", "fn f() { dbg!(1); }").len(), 1);
    assert_eq!(problems("model/mod.rs", "fn f() { my_todo!() }").len(), 0);
}
