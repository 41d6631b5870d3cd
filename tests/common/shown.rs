//! Texts that are compared with those in the top-level folder `snapshots/`.

/// Whoever compares does it under these.
pub fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// Compares with a snapshot. The name begins with its family: `cli__help`.
pub fn assert_shown(name: &str, text: &str) {
    settings().bind(|| insta::assert_snapshot!(name, text));
}
