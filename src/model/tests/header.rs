//! The names that everybody who speaks the contract must write the same way.

use crate::model::header::{OURS, REPLAYED};

#[test]
fn names_are_the_contracts() {
    let names =
        ["Nats-Msg-Id", "Hapax-Reply-To", "Hapax-Expected-Version", "Hapax-Not-After", "Hapax-Void", "traceparent"];
    assert_eq!(OURS, names);
    assert_eq!(REPLAYED, "Hapax-Replayed");
}
