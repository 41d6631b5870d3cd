//! An account: opened once, then money goes in and out of it, and closed for ever when it is empty.
//!
//! Money is an integer of minor units (cents). A balance is never negative and never overflows, because `decide` refuses
//! what would make it so; `evolve` can rely on that.

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, Context};

/// The state of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// For whom it was opened; `None` before that.
    pub owner: Option<String>,
    /// What is in it, in minor units.
    pub balance: i64,
    /// Whether it has been closed. It stays so.
    pub closed: bool,
}

/// What may be asked of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AccountCommand {
    /// Open it.
    Open {
        /// For whom.
        owner: String,
    },
    /// Put money in.
    Deposit {
        /// In minor units, more than 0.
        amount: i64,
    },
    /// Take money out.
    Withdraw {
        /// In minor units, more than 0 and at most the balance.
        amount: i64,
    },
    /// Close it for ever; it must be empty.
    Close,
}

/// What may happen to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountEvent {
    /// It was opened.
    Opened {
        /// For whom.
        owner: String,
    },
    /// Money came in.
    Deposited {
        /// In minor units.
        amount: i64,
    },
    /// Money went out.
    Withdrawn {
        /// In minor units.
        amount: i64,
    },
    /// It was closed.
    Closed,
}

/// Why an account says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountRejection {
    /// An account is opened once, even if it has been closed since.
    #[error("the account has been opened before")]
    AlreadyOpen,
    /// It was never opened, or has been closed.
    #[error("the account is not open")]
    NotOpen,
    /// More is to be taken out than is in it.
    #[error("balance {balance} is less than {amount}")]
    InsufficientFunds {
        /// What is in it.
        balance: i64,
        /// What was to be taken out.
        amount: i64,
    },
    /// An account with money in it is not closed.
    #[error("balance {balance} is not 0")]
    NotEmpty {
        /// What is in it.
        balance: i64,
    },
    /// Amounts are more than 0.
    #[error("amount {amount} is not more than 0")]
    InvalidAmount {
        /// What was asked for.
        amount: i64,
    },
    /// The balance would become larger than 2^63 - 1.
    #[error("balance {balance} and {amount} are more than an account holds")]
    AmountOverflow {
        /// What is in it.
        balance: i64,
        /// What was to be put in.
        amount: i64,
    },
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Rejection = AccountRejection;

    fn decide(&self, command: AccountCommand, _: &Context<'_>) -> Result<Vec<AccountEvent>, AccountRejection> {
        let event = match command {
            AccountCommand::Open { owner } => {
                if self.owner.is_some() {
                    return Err(AccountRejection::AlreadyOpen);
                }
                AccountEvent::Opened { owner }
            }
            AccountCommand::Deposit { amount } => {
                self.movable(amount)?;
                let balance = self.balance;
                if balance.checked_add(amount).is_none() {
                    return Err(AccountRejection::AmountOverflow { balance, amount });
                }
                AccountEvent::Deposited { amount }
            }
            AccountCommand::Withdraw { amount } => {
                self.movable(amount)?;
                let balance = self.balance;
                if balance < amount {
                    return Err(AccountRejection::InsufficientFunds { balance, amount });
                }
                AccountEvent::Withdrawn { amount }
            }
            AccountCommand::Close => {
                self.open()?;
                if self.balance != 0 {
                    return Err(AccountRejection::NotEmpty { balance: self.balance });
                }
                AccountEvent::Closed
            }
        };
        Ok(vec![event])
    }

    fn evolve(mut self, event: &AccountEvent) -> Account {
        match event {
            AccountEvent::Opened { owner } => self.owner = Some(owner.clone()),
            AccountEvent::Deposited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount } => self.balance -= amount,
            AccountEvent::Closed => self.closed = true,
        }
        self
    }
}

impl Account {
    fn open(&self) -> Result<(), AccountRejection> {
        if self.owner.is_some() && !self.closed { Ok(()) } else { Err(AccountRejection::NotOpen) }
    }

    /// Whether this amount may be moved at all.
    fn movable(&self, amount: i64) -> Result<(), AccountRejection> {
        self.open()?;
        if 0 < amount { Ok(()) } else { Err(AccountRejection::InvalidAmount { amount }) }
    }
}
