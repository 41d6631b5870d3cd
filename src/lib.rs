pub mod model;
pub mod aggregate;
pub mod store;
pub mod processor;
pub mod index;
pub mod nats;
pub mod serve;
pub mod client;
pub mod replay;
#[cfg(feature = "cli")]
pub mod cli;
pub mod samples;
pub use aggregate::{Address, Aggregate, Context, Service};
pub use model::*;
