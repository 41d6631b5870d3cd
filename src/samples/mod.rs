//! The sample domain that the command line serves out of the box: an [`Account`] that money goes into and out of, and
//! an [`Order`] that goes from placed to shipped or cancelled. They are written as any author would write theirs, with
//! nothing but serde and thiserror derives; read [`account`] first. [`Balances`] is a read model of all accounts.
//!
//! ```
//! use hapax::Service;
//! use hapax::samples::{Account, Order};
//! let service = Service::new().with::<Account>().with::<Order>();
//! # assert_eq!(service.types().count(), 2);
//! ```

pub mod account;
pub mod order;
pub mod balances;

pub use account::{Account, AccountCommand, AccountEvent, AccountRejection};
pub use balances::{Balance, Balances};
pub use order::{Line, Order, OrderCommand, OrderEvent, OrderRejection, OrderStatus};

#[cfg(test)]
mod tests;
