//! What several tests against the real world need.

// Each test binary compiles this for itself and uses its part of it.
#![allow(dead_code, unreachable_pub)]

pub mod shown;
pub mod folder;
pub mod cut_disk;
pub mod history;
pub mod checker;
pub mod broker;
pub mod breakable_index;
pub mod nats;
pub mod raw;
pub mod ended;
pub mod pure;
pub mod proxy;
pub mod row;
pub mod feed;
pub mod health;
pub mod feed_world;
