//! What was written once is read for ever: golden files of every format, wire forms of the sample domain, and events of
//! other versions than today's.

mod common;
// Each test binary uses its part of what drives a processor.
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;
#[path = "schema/golden.rs"]
mod golden;
#[path = "schema/unknown.rs"]
mod unknown;
#[path = "schema/wire.rs"]
mod wire;
#[path = "schema/transitions.rs"]
mod transitions;

/// Compares with a snapshot in the top-level folder.
fn assert_shown(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
