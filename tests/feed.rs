//! The feed on a real nats-server: what is in the store is in the stream, number by number (I18).

mod common;
#[path = "way/child.rs"]
mod child;
// Each test binary uses its part of what drives a processor.
#[path = "way/plain.rs"]
#[allow(dead_code)]
mod plain;
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;
#[path = "feed/stream.rs"]
mod stream;
#[path = "feed/start.rs"]
mod start;
#[path = "feed/fence.rs"]
mod fence;
#[path = "feed/load.rs"]
mod load;
#[path = "feed/restore.rs"]
mod restore;
#[cfg(feature = "cli")]
#[path = "cli/hapax.rs"]
#[allow(dead_code)]
mod program;
#[cfg(feature = "cli")]
#[path = "feed/served.rs"]
mod served;
#[cfg(feature = "cli")]
#[path = "feed/replay.rs"]
mod replay;
#[cfg(feature = "cli")]
#[path = "feed/verify.rs"]
mod verify;
