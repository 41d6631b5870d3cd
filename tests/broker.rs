//! Broker and network: what they do to a running processor, and that it is well again within 30 s. Several clients send
//! all the while, and send again until they have an outcome; the checker judges what they saw and the store that is left.

mod common;
// Each test binary uses its part of what drives a processor.
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;
#[path = "broker/load.rs"]
mod load;
#[path = "broker/world.rs"]
mod world;
#[path = "broker/faults.rs"]
mod faults;
#[path = "broker/kept.rs"]
mod kept;
#[path = "broker/refused.rs"]
mod refused;
