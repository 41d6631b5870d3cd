//! Poison: what a client on a plain socket can put into the stream that no NATS library can read, that no aggregate can
//! decide, or that kills the process. The processor survives, the neighbours get their outcomes, the poison is in
//! quarantine with its reason, and it never stands in the way again.

mod common;
// Each test binary uses its part of what drives a processor.
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;
#[path = "way/plain.rs"]
#[allow(dead_code)]
mod plain;
#[path = "way/vessel.rs"]
#[allow(dead_code)]
mod vessel;
#[path = "poison/trial.rs"]
mod trial;
#[path = "poison/forms.rs"]
mod forms;
#[path = "poison/headers.rs"]
mod headers;
#[path = "poison/bodies.rs"]
mod bodies;
#[path = "poison/crashes.rs"]
mod crashes;
