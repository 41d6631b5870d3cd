//! What the accounts of one owner hold together: a read model, folded from the events of [`Account`].

use serde::{Deserialize, Serialize};

use super::{Account, AccountEvent};
use crate::projection::{ApplyError, Happened, Model, Projection, Table};

/// Balances by owner.
#[derive(Debug, Clone, Copy)]
pub struct Balances;

/// What the accounts of one owner hold together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// How many are open.
    pub accounts: u64,
    /// In minor units. More than one account can hold: many together do.
    pub balance: i128,
}

/// Whose an account is: only the event that opens it says so.
const OWNERS: Table<String> = Table::named("owners");

impl Projection for Balances {
    const NAME: &'static str = "balances";
    const VERSION: u32 = 1;
    type Row = Balance;
    const ROWS: Table<Balance> = Table::named("balances");

    fn apply(happened: &Happened<'_>, model: &mut Model<'_>) -> Result<(), ApplyError> {
        for event in happened.events::<Account>()? {
            if let AccountEvent::Opened { owner } = &event {
                model.put(OWNERS, happened.key(), owner)?;
            }
            let owner = model.get(OWNERS, happened.key())?.expect("nothing happens to an account before it is opened");
            let mut row = model.get(Self::ROWS, &owner)?.unwrap_or_default();
            match event {
                AccountEvent::Opened { .. } => row.accounts += 1,
                AccountEvent::Deposited { amount } => row.balance += i128::from(amount),
                AccountEvent::Withdrawn { amount } => row.balance -= i128::from(amount),
                AccountEvent::Closed => row.accounts -= 1,
            }
            model.put(Self::ROWS, &owner, &row)?;
        }
        Ok(())
    }
}
