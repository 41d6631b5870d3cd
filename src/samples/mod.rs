//! The sample domain that the command line serves out of the box: an [`Account`] that money goes into and out of, and
//! an [`Order`] that goes from placed to shipped or cancelled. They are written as any author would write theirs, with
//! nothing but serde and thiserror derives; read [`account`] first. [`Balances`] is a read model of all accounts.
//!
//! What they decide is shown by their stories (`tests/stories`) and histories (`tests/histories`), by a table of every command in
//! every state (`snapshots/transitions__*.snap`), and by every form they ever had on the wire (`tests/golden/wire`).

pub mod account;
pub mod order;
pub mod balances;

pub use account::{Account, AccountCommand, AccountEvent, AccountRejection};
pub use balances::{Balance, Balances};
pub use order::{Line, Order, OrderCommand, OrderEvent, OrderRejection, OrderStatus};

use crate::aggregate::Service;

#[cfg(test)]
mod tests;

/// What the binary serves, and what stories and all other tests of the sample domain run on. An author's own package has a
/// function like this, so that production and its tests cannot differ in what they serve.
///
/// ```
/// let service = hapax::samples::service();
/// assert_eq!(service.types().collect::<Vec<_>>(), ["account", "order"]);
/// ```
pub fn service() -> Service {
    Service::new().with::<Account>().with::<Order>()
}
