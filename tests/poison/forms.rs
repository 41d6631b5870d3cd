//! Making poison.

use crate::plain::id;
use crate::trial::Poison;

/// A block of headers with a good id and these bytes behind it, as they are.
pub(crate) fn block(rest: &[u8]) -> Vec<u8> {
    [b"NATS/1.0\r\nNats-Msg-Id: ", id(0).as_bytes(), b"\r\n", rest].concat()
}

/// A deposit with a whole block of headers.
pub(crate) fn with_headers(name: &'static str, headers: &[u8], reason: &'static str) -> Poison {
    Poison {
        name,
        subject: b"cmd.alice.account.9.deposit".to_vec(),
        headers: headers.to_vec(),
        body: br#"{"amount":1}"#.to_vec(),
        reason,
    }
}

/// A deposit with a body.
pub(crate) fn with_body(name: &'static str, body: impl Into<Vec<u8>>, reason: &'static str) -> Poison {
    Poison { body: body.into(), ..with_headers(name, &block(b"\r\n"), reason) }
}
