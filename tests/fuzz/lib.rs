//! The targets, as `tests/decoders.rs` has them.

pub mod common {
    #[path = "../../common/pure.rs"]
    pub mod pure;
}

#[path = "../decoders/targets.rs"]
pub mod targets;
