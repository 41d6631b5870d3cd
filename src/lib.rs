pub mod model;
pub mod store;
pub mod index;
pub use model::*;
