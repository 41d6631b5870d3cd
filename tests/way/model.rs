//! What must come of a sequence of commands: the account's rules and the identity map, written down a second time, in
//! the plainest form. No time, no disk, no concurrency.

use std::collections::HashMap;

/// A command as the model and the wire both understand it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) principal: usize,
    pub(crate) key: usize,
    pub(crate) id: usize,
    pub(crate) ask: Ask,
    pub(crate) expected: Option<u64>,
    /// Its time limit has passed long ago. About this sending, not about the content.
    pub(crate) expired: bool,
    /// How the body is written: equal JSON. Not content either.
    pub(crate) spelling: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    Open,
    Deposit(i64),
    Withdraw(i64),
    Close,
    /// Settles the id.
    Void,
    /// No such command.
    Burn,
    /// A deposit to an aggregate that nobody serves.
    Elsewhere,
    /// A deposit whose body is no JSON.
    Garbled,
}

/// What must come back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    /// Decided now.
    Decided {
        code: u64,
        reason: &'static str,
        version: u64,
        position: u64,
    },
    /// The bytes that came back at this position.
    Replay {
        position: u64,
    },
    Refused {
        code: u64,
        reason: &'static str,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    accounts: HashMap<usize, Account>,
    recorded: HashMap<(usize, usize, usize), Recorded>,
    pub(crate) commits: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Account {
    pub(crate) version: u64,
    pub(crate) balance: i64,
    opened: bool,
    closed: bool,
}

#[derive(Debug)]
struct Recorded {
    request: Request,
    position: u64,
}

impl Model {
    pub(crate) fn account(&self, key: usize) -> Account {
        self.accounts.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn take(&mut self, request: &Request) -> Expected {
        let identity = (request.principal, request.key, request.id);
        if let Some(Recorded { request: first, position }) = self.recorded.get(&identity) {
            let settles_all = first.ask == Ask::Void || request.ask == Ask::Void;
            let is_same = first.ask == request.ask && first.expected == request.expected;
            return match settles_all || is_same {
                true => Expected::Replay { position: *position },
                false => Expected::Refused { code: 422, reason: "id_reused" },
            };
        }
        let account = self.accounts.entry(request.key).or_default();
        let (code, reason) = match request.ask {
            Ask::Garbled => return Expected::Refused { code: 400, reason: "malformed" },
            Ask::Elsewhere => return Expected::Refused { code: 404, reason: "unknown_aggregate" },
            Ask::Void => (410, "voided"),
            _ if request.expired => (410, "expired"),
            _ if request.expected.is_some_and(|version| version != account.version) => (412, "version_mismatch"),
            Ask::Burn => return Expected::Refused { code: 404, reason: "unknown_command" },
            ref ask => account.decide(ask),
        };
        self.commits += 1;
        let (version, position) = (account.version, self.commits);
        self.recorded.insert(identity, Recorded { request: request.clone(), position });
        Expected::Decided { code, reason, version, position }
    }
}

impl Account {
    fn decide(&mut self, ask: &Ask) -> (u64, &'static str) {
        let is_open = self.opened && !self.closed;
        match *ask {
            Ask::Open if self.opened => return (409, "already_open"),
            Ask::Open => self.opened = true,
            _ if !is_open => return (409, "not_open"),
            Ask::Deposit(amount) | Ask::Withdraw(amount) if amount <= 0 => return (409, "invalid_amount"),
            Ask::Deposit(amount) if i128::from(self.balance) + i128::from(amount) > i128::from(i64::MAX) => {
                return (409, "amount_overflow");
            }
            Ask::Deposit(amount) => self.balance += amount,
            Ask::Withdraw(amount) if amount > self.balance => return (409, "insufficient_funds"),
            Ask::Withdraw(amount) => self.balance -= amount,
            Ask::Close if self.balance != 0 => return (409, "not_empty"),
            Ask::Close => self.closed = true,
            Ask::Void | Ask::Burn | Ask::Elsewhere | Ask::Garbled => unreachable!("no commands of an account"),
        }
        self.version += 1;
        (200, "events")
    }
}
