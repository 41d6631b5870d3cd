//! An account: what it accepts, and each reason for which it says no.

use super::after;
use crate::samples::AccountCommand::*;
use crate::samples::{Account, AccountCommand, AccountRejection};

fn open(balance: i64) -> Account {
    Account { owner: Some("ann".to_owned()), balance, closed: false }
}

fn refused(state: Account, command: AccountCommand) -> AccountRejection {
    after(state, [command]).unwrap_err()
}

#[test]
fn money_goes_in_and_out_until_the_account_is_closed() {
    let story = [Open { owner: "ann".to_owned() }, Deposit { amount: 100 }, Withdraw { amount: 80 }];
    let account = after(Account::default(), story).unwrap();
    assert_eq!(account, open(20));
    let account = after(account, [Withdraw { amount: 20 }, Close]).unwrap();
    assert_eq!(account, Account { closed: true, ..open(0) });
}

#[test]
fn an_account_that_is_not_open_only_opens() {
    for command in [Deposit { amount: 1 }, Withdraw { amount: 1 }, Close] {
        assert_eq!(refused(Account::default(), command.clone()), AccountRejection::NotOpen);
        assert_eq!(refused(Account { closed: true, ..open(0) }, command), AccountRejection::NotOpen);
    }
}

#[test]
fn an_account_opens_once() {
    let again = Open { owner: "bob".to_owned() };
    assert_eq!(refused(open(0), again.clone()), AccountRejection::AlreadyOpen);
    assert_eq!(refused(Account { closed: true, ..open(0) }, again), AccountRejection::AlreadyOpen);
}

#[test]
fn a_balance_is_neither_negative_nor_beyond_its_type() {
    let poor = refused(open(20), Withdraw { amount: 100 });
    assert_eq!(poor, AccountRejection::InsufficientFunds { balance: 20, amount: 100 });
    assert_eq!(poor.to_string(), "balance 20 is less than 100");

    assert_eq!(after(open(i64::MAX - 1), [Deposit { amount: 1 }]).unwrap(), open(i64::MAX));
    let rich = refused(open(i64::MAX), Deposit { amount: 1 });
    assert_eq!(rich, AccountRejection::AmountOverflow { balance: i64::MAX, amount: 1 });
}

#[test]
fn amounts_are_more_than_nothing() {
    for amount in [0, -1, i64::MIN] {
        assert_eq!(refused(open(5), Deposit { amount }), AccountRejection::InvalidAmount { amount });
        assert_eq!(refused(open(5), Withdraw { amount }), AccountRejection::InvalidAmount { amount });
    }
}

#[test]
fn an_account_with_money_is_not_closed() {
    assert_eq!(refused(open(5), Close), AccountRejection::NotEmpty { balance: 5 });
}
