//! The names are the wire contract. One that changes breaks every client that is out there.

use crate::model::header::{REPLAYED, UNKNOWN, read};

#[test]
fn header_names_are_the_contracts() {
    let names =
        ["Nats-Msg-Id", "Hapax-Reply-To", "Hapax-Expected-Version", "Hapax-Not-After", "Hapax-Void", "traceparent"];
    for name in names {
        assert_eq!(read(name, "value"), Some((name, "value".to_owned())));
    }
    assert_eq!(REPLAYED, "Hapax-Replayed");
}

/// A guard that was misspelt was left out without a word, and the command was decided.
#[test]
fn what_begins_like_ours_is_not_left_out() {
    for name in ["Hapax-Expcted-Version", "hapax-expected-version", "HAPAX-", "Hapax-Replayed"] {
        assert_eq!(read(name, "7"), Some((UNKNOWN, name.to_owned())));
    }
    for name in ["nats-msg-id", "X-Hapax-Void", "Hapax", "Häpax-Void", ""] {
        assert_eq!(read(name, "7"), None, "{name}");
    }
}
