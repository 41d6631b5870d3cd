//! An account: money goes in and out of it, once.

use std::time::Duration;

use hapax::Aggregate;
use hapax::samples::AccountCommand::*;
use hapax::samples::AccountEvent::*;
use hapax::samples::{Account, AccountEvent};
use hapax::testing::{Story, check, command, everywhere, offline};

use crate::{assert_story, service};

const MINUTE: Duration = Duration::from_secs(60);

fn opened() -> AccountEvent {
    Opened { owner: "ann".to_owned() }
}

fn overdrawn(story: Story) -> Story {
    story
        .given(Account::at("42"), [opened(), Deposited { amount: 100 }])
        .when(Account::at("42"), Withdraw { amount: 500 })
        .rejected("insufficient_funds")
        .when(Account::at("42"), Deposit { amount: 1000 })
        .accepted([Deposited { amount: 1000 }])
        .again("c1")
        .rejected("insufficient_funds")
}

#[test]
fn what_was_rejected_stays_so_when_there_is_money() {
    assert_story("story__overdrawn", &everywhere(service(), overdrawn));
}

/// Whoever gives an id up gets its outcome, or the certainty that there will be none; an id is never two commands.
fn given_up(story: Story) -> Story {
    story
        .by("bob")
        .when(Account::at("42"), Open { owner: "bob".to_owned() })
        .by("bob")
        .void(Account::at("42"), "c1")
        .accepted([Opened { owner: "bob".to_owned() }])
        .void(Account::at("42"), "c2")
        .rejected("voided")
        .when(Account::at("42"), Deposit { amount: 5 })
        .rejected("voided")
        .when(Account::at("42"), Deposit { amount: 7 })
        .accepted([Deposited { amount: 7 }])
        .reuse("c3", Account::at("42"), Deposit { amount: 8 })
        .refused("id_reused")
        .crash()
        .again("c3")
        .accepted([Deposited { amount: 7 }])
        .show(Account::at("42"))
}

#[test]
fn an_id_is_settled_once() {
    assert_story("story__given_up", &everywhere(service(), given_up));
}

fn late(story: Story) -> Story {
    story
        .given(Account::at("42"), [opened()])
        .not_after(MINUTE)
        .when(Account::at("42"), Deposit { amount: 1 })
        .accepted([Deposited { amount: 1 }])
        .not_after(MINUTE)
        .after(2 * MINUTE)
        .when(Account::at("42"), Deposit { amount: 2 })
        .rejected("expired")
        .expecting(1)
        .when(Account::at("42"), Deposit { amount: 3 })
        .rejected("version_mismatch")
        .expecting(2)
        .when(Account::at("42"), Close)
        .rejected("not_empty")
}

#[test]
fn what_comes_too_late_or_too_early_is_rejected() {
    assert_story("story__late", &everywhere(service(), late));
}

fn transfers(story: Story) -> Story {
    story
        .given(Account::at("42"), [opened(), Deposited { amount: 100 }])
        .given(Account::at("43"), [opened()])
        .batch([
            command(Account::at("42"), Withdraw { amount: 80 }),
            command(Account::at("43"), Deposit { amount: 80 }).expecting(1),
            check(Account::at("44"), 0),
        ])
        .accepted([Withdrawn { amount: 80 }, Deposited { amount: 80 }])
        .batch([
            command(Account::at("42"), Withdraw { amount: 80 }),
            command(Account::at("43"), Deposit { amount: 80 }),
        ])
        .rejected("insufficient_funds")
        .again("b1")
        .again("c2")
        .accepted([Deposited { amount: 80 }])
        .show(Account::at("42"))
}

#[test]
fn a_transfer_is_made_whole_or_not_at_all() {
    assert_story("story__transfers", &everywhere(service(), transfers));
}

/// Over the mark at which a snapshot is made, so that a crash leads to one.
#[test]
fn a_long_history_goes_on_from_its_snapshot() {
    let long = |story: Story| {
        let story =
            story.given(Account::at("42"), std::iter::once(opened()).chain((0..98).map(|_| Deposited { amount: 1 })));
        story.when(Account::at("42"), Deposit { amount: 1 }).crash().when(Account::at("42"), Withdraw { amount: 99 })
    };
    let mut story = offline(service(), long);
    assert_eq!(story.state(&Account::at("42")).balance, 0);
}

/// An id belongs to its principal and its key, whoever else has one that looks the same.
fn namesakes(story: Story) -> Story {
    story
        .when(Account::at("42"), Open { owner: "ann".to_owned() })
        .by("mallory")
        .void(Account::at("42"), "c1")
        .rejected("voided")
        .void(Account::at("43"), "c1")
        .rejected("voided")
        .again("c1")
        .accepted([opened()])
        .when(Account::at("42"), Close)
        .accepted([Closed])
        .crash()
        .again("c2")
}

#[test]
fn nobody_gives_up_what_is_another_s() {
    assert_story("story__namesakes", &everywhere(service(), namesakes));
}

/// The example of the README, whose code runs with the documentation's tests.
fn readme(story: Story) -> Story {
    story
        .given(Account::at("42"), [opened(), Deposited { amount: 100 }])
        .when(Account::at("42"), Withdraw { amount: 500 })
        .rejected("insufficient_funds")
        .by("bob")
        .expecting(2)
        .not_after(MINUTE)
        .when(Account::at("42"), Deposit { amount: 1000 })
        .accepted([Deposited { amount: 1000 }])
        .batch([
            command(Account::at("42"), Withdraw { amount: 300 }),
            command(Account::at("43"), Open { owner: "eve".to_owned() }),
            check(Account::at("44"), 0),
        ])
        .crash()
        .again("c1")
}

#[test]
fn the_readme_shows_a_story_as_it_is() {
    crate::assert_in_readme(&everywhere(service(), readme).to_string());
}
