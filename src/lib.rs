pub mod model;
pub mod aggregate;
pub mod store;
pub mod processor;
pub mod index;
pub mod nats;
pub mod serve;
pub use aggregate::{Address, Aggregate, Context, Service};
pub use model::*;
