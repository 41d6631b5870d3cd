//! What an author's own tests say of an aggregate, as texts that a snapshot test compares and a reader reads.
//!
//! * [`wire`]: how commands, events and rejections look on the wire, in every form that they ever had
//! * [`transitions`](transitions()): what comes of each command in each state

mod wire;
mod transitions;

pub use transitions::{States, transitions};
pub use wire::{Samples, wire};
