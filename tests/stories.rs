//! Stories of the sample domain, everywhere; and stories of aggregates that have each one fault, which fail.

#[path = "stories/account.rs"]
mod account;
#[path = "stories/order.rs"]
mod order;
#[path = "stories/planted.rs"]
mod planted;
#[path = "stories/drawn.rs"]
mod drawn;

use hapax::Service;
use hapax::samples::{Account, Order};
use hapax::testing::Story;

/// What `main` serves.
fn service() -> Service {
    Service::new().with::<Account>().with::<Order>()
}

/// Compares a story with its snapshot.
fn assert_story(name: &str, story: &Story) {
    assert_text(name, &story.to_string());
}

fn assert_text(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Whether the README shows this text.
fn assert_in_readme(text: &str) {
    let block = format!("```text\n{}\n```", text.trim_end());
    assert!(include_str!("../README.md").contains(&block), "the README does not show:\n{block}");
}
