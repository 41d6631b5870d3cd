pub mod model;
pub mod aggregate;
pub mod store;
pub mod index;
pub mod samples;
pub mod client;
pub use aggregate::{Address, Aggregate, Context, Service};
pub use model::*;
