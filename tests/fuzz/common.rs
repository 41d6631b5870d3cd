//! What the targets need of `tests/common`.

#![allow(dead_code, reason = "each program uses its part of it")]

#[path = "../common/breakable_index.rs"]
pub mod breakable_index;
#[path = "../common/broker.rs"]
pub mod broker;
#[path = "../common/cut_disk.rs"]
pub mod cut_disk;
#[path = "../common/ended.rs"]
pub mod ended;
#[path = "../common/feed.rs"]
pub mod feed;
#[path = "../common/feed_world.rs"]
pub mod feed_world;
#[path = "../common/history.rs"]
pub mod history;
#[path = "../common/pure.rs"]
pub mod pure;
