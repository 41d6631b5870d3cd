//! A version, a position, a time: each is taken wherever one of them is, and means the same.

use crate::hapax::{code, run, stderr, stdout};
use crate::reading::{SHOP, imported};

/// What made `order/ann` its third version, three times.
const POINTS: [&str; 3] = ["v3", "@10", "2026-11-27T22:46:06.711455Z"];

/// What all of these command lines print, which must be one and the same.
fn same(data: &str, lines: impl IntoIterator<Item = Vec<&'static str>>) -> String {
    let mut first: Option<(Vec<&str>, String)> = None;
    for line in lines {
        let output = run(&[&line[..], &["--data", data]].concat());
        assert_eq!(code(&output), 0, "{line:?}: {}", stderr(&output));
        match &first {
            Some((other, said)) => assert_eq!(said, stdout(&output), "{other:?} and {line:?}"),
            None => first = Some((line, stdout(&output).to_owned())),
        }
    }
    first.unwrap().1
}

#[test]
fn replay_takes_each_on_both_sides() {
    let (_folder, data) = imported(SHOP);
    let both = |from: &'static str, to: &'static str| vec!["replay", "order/ann", "--from", from, "--to", to];
    let bare = [both("10", "10"), both("v3", "10"), both("10", "2026-11-27T22:46:06.711455Z")];
    let mixed = POINTS.into_iter().flat_map(|from| POINTS.map(|to| both(from, to)));
    let said = same(&data, mixed.chain(bare));
    assert!(said.lines().count() == 1 && said.starts_with("10  "), "{said}");
    let behind = same(
        &data,
        ["v4", "@14", "2026-11-27T22:46:06.730645Z"].map(|from| vec!["replay", "order/ann", "--from", from]),
    );
    assert_eq!(behind.lines().count(), 2, "{behind}");
}

#[test]
fn state_takes_each_behind_every_flag() {
    let (_folder, data) = imported(SHOP);
    let at = |flag: &'static str, point: &'static str| vec!["state", "order/ann", "--json", flag, point];
    let flags = ["--at-version", "--at-position", "--at-time"];
    let mixed = flags.into_iter().flat_map(|flag| POINTS.map(|point| at(flag, point)));
    let said = same(&data, mixed.chain([at("--at-version", "3"), at("--at-position", "10")]));
    assert!(said.contains(r#""version":3,"position":10,"#), "{said}");
    let diff = |point: &'static str| vec!["state", "order/ann", "--at-version", "1", "--diff", point];
    let said = same(&data, POINTS.map(diff).into_iter().chain([diff("3")]));
    assert!(said.contains("version    1 -> 3\n"), "{said}");
}

#[test]
fn why_takes_each() {
    let (_folder, data) = imported(SHOP);
    let of = |point: &'static str| vec!["why", point, "--of", "order/ann"];
    let alone = |point: &'static str| vec!["why", point];
    // Of a store as a whole, a position says most; at that time it was the last one too. A version has an aggregate.
    let said = same(&data, POINTS.map(of).into_iter().chain([of("10")]).chain(["@10", "10", POINTS[2]].map(alone)));
    assert!(said.starts_with("position   10\n"), "{said}");
    let last = same(&data, ["now", "@18", "18", "2026-11-28"].map(alone));
    assert!(last.starts_with("position   18\n"), "{last}");
    let none = run(&["why", "2026-11-27", "--data", &data]);
    assert_eq!((code(&none), stderr(&none)), (1, "error: 2026-11-27 is not in this data directory\n"));
    let version = run(&["why", "v3", "--data", &data]);
    assert_eq!(
        (code(&version), stderr(&version)),
        (2, "error: a version of which aggregate? Say so with --of type/key\n")
    );
}
