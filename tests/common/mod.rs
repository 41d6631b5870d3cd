//! What several tests against the real world need.

// Each test binary compiles this for itself and uses its part of it.
#![allow(dead_code, unreachable_pub)]

pub mod history;
pub mod checker;
pub mod nats;
pub mod raw;
pub mod pure;
pub mod proxy;
