//! Stories of the sample domain, everywhere; and those that fail: of aggregates that have each one fault, and with words that
//! are wrong.

mod common;
#[path = "stories/account.rs"]
mod account;
#[path = "stories/order.rs"]
mod order;
#[path = "stories/planted.rs"]
mod planted;
#[path = "stories/expectations.rs"]
mod expectations;
#[path = "stories/drawn.rs"]
mod drawn;

use common::shown::assert_shown;
use hapax::samples::service;
use hapax::testing::Story;

/// Compares a story with its snapshot.
fn assert_story(name: &str, story: &Story) {
    assert_shown(name, &story.to_string());
}

/// Whether the README shows this text.
fn assert_in_readme(text: &str) {
    let block = format!("```text\n{}\n```", text.trim_end());
    assert!(include_str!("../README.md").contains(&block), "the README does not show:\n{block}");
}
