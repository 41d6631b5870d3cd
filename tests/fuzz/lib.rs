//! The targets, as `tests/decoders.rs` has them.

pub mod common;
#[path = "../decoders/targets.rs"]
pub mod targets;
