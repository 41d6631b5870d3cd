//! What was written once is read for ever: golden files of every format, wire forms of the sample domain, and events of
//! other versions than today's.

mod common;
// Each test binary uses its part of what drives a processor.
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;
#[path = "schema/golden.rs"]
mod golden;
#[path = "schema/copies.rs"]
mod copies;
#[path = "schema/unknown.rs"]
mod unknown;
#[path = "schema/wire.rs"]
mod wire;
#[path = "schema/transitions.rs"]
mod transitions;
