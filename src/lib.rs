pub mod model;
pub mod store;
pub mod index;
pub mod nats;
pub use model::*;
