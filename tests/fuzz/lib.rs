//! The targets, as `tests/decoders.rs` has them.

#[allow(dead_code, reason = "each program uses its part of it")]
pub mod common {
    #[path = "../../common/breakable_index.rs"]
    pub mod breakable_index;
    #[path = "../../common/broker.rs"]
    pub mod broker;
    #[path = "../../common/cut_disk.rs"]
    pub mod cut_disk;
    #[path = "../../common/ended.rs"]
    pub mod ended;
    #[path = "../../common/history.rs"]
    pub mod history;
    #[path = "../../common/pure.rs"]
    pub mod pure;
}

#[path = "../decoders/targets.rs"]
pub mod targets;
