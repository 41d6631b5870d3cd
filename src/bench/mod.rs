//! How fast is it, against what the broker lets anyone be? The same client, broker, stream and message size once with the
//! processor and once with the echo floor, in one run on one machine: only their ratio means something.

mod echo;
mod entry;
mod load;

pub use echo::{EchoError, echo};
pub use entry::Entries;
pub use load::{Load, LoadError, Measured, load};
