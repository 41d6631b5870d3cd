//! The headers of the wire contract. NATS compares header names by case, and so do we.

/// The command's id. The stream absorbs by it what comes twice within its duplicate window, whoever sent it.
pub const ID: &str = "Nats-Msg-Id";
/// Where the outcome goes: an inbox of the principal. The message's own reply subject is for the PubAck.
pub const REPLY_TO: &str = "Hapax-Reply-To";
/// Decide only if the aggregate has had so many events; 0: it must not exist.
pub const EXPECTED_VERSION: &str = "Hapax-Expected-Version";
/// Until when the command may be decided, as an RFC 3339 time.
pub const NOT_AFTER: &str = "Hapax-Not-After";
/// The id that a `_void` settles.
pub const VOID: &str = "Hapax-Void";
/// W3C Trace Context, handed on.
pub const TRACEPARENT: &str = "traceparent";

/// The headers of a command.
const OURS: [&str; 6] = [ID, REPLY_TO, EXPECTED_VERSION, NOT_AFTER, VOID, TRACEPARENT];
/// Stands for a header that begins like ours and is none; the value is then its name. It was meant for us, and a guard
/// that is misspelt must not be left out without a word.
pub const UNKNOWN: &str = "Hapax-*";

/// What a header of a command is to us, and the value that goes with it; `None`: it stays behind at the edge.
pub fn read(name: &str, value: &str) -> Option<(&'static str, String)> {
    if let Some(ours) = OURS.into_iter().find(|our| *our == name) {
        return Some((ours, value.to_owned()));
    }
    let begins_like_ours = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("hapax-"));
    begins_like_ours.then(|| (UNKNOWN, name.to_owned()))
}

/// On a reply, with the value [`TRUE`]: an earlier delivery had been decided, and this is its outcome.
pub const REPLAYED: &str = "Hapax-Replayed";
/// The value of [`REPLAYED`].
pub const TRUE: &str = "true";

/// On a message of the feed: the chain hash up to and with its commit, in hexadecimal digits.
pub const CHAIN_HASH: &str = "Hapax-Chain-Hash";
