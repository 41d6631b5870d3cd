//! How fast is it, against what the broker lets anyone be? The same client, broker, stream and message size once with the
//! processor, once with the echo floor, and once with the way that it is usually done, in one run on one machine: only
//! their ratios mean something. `hapax bench` joins these parts into a table.
//!
//! * `entry`: the aggregate that is measured
//! * `source`: what is sent · `pace`: when, and how long it took · `load`: the client that sends it
//! * `answering`, `echo`, `usual`: who answers, apart from the processor itself
//! * `replay`: a history, folded and parsed
//! * `resources`: what a process and a folder have taken

mod entry;
mod source;
mod pace;
mod load;
mod answering;
mod echo;
mod usual;
mod replay;
mod resources;

pub use answering::AnswerError;
pub use echo::echo;
pub use entry::Entries;
pub use load::{Expect, Flow, LoadError, Measured, load};
pub use replay::{Pass, ReplayError, fold_commits, fold_history, parse_changes, parse_history, record_history};
pub use resources::{bytes_on_disk, cpu_time, is_in_memory, resident_peak};
pub use source::{Ids, Message, Source};
pub use usual::{USUAL_EVENTS, usual};
