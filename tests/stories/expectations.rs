//! What a story says of its last command and is not so, and words that mean nothing where they stand. Everywhere else only
//! assertions are made that hold: there one that never fails would not be seen.

use std::time::Duration;

use hapax::Aggregate;
use hapax::samples::AccountCommand::*;
use hapax::samples::AccountEvent::*;
use hapax::samples::{Account, AccountEvent};
use hapax::testing::{Story, check, command};

use crate::planted::{failure, sound};
use crate::service;

/// A story whose last word fails, and the lines that it says.
type Row<'a> = (fn(Story) -> Story, &'a [&'a str]);

fn assert_said(rows: &[Row<'_>]) {
    for (story, lines) in rows {
        let told = failure(|| story(Story::of(service())));
        let said = told.split_once("\n\nThe story up to here:").map_or(told.trim_end(), |(said, _)| said);
        assert_eq!(said, lines.join("\n   "), "{told}");
    }
}

fn opened(owner: &str) -> AccountEvent {
    Opened { owner: owner.to_owned() }
}

/// The last one is accepted.
fn open(story: Story) -> Story {
    story.when(Account::at("1"), Open { owner: "ann".to_owned() })
}

const OVERDRAWN: &str = "it was  rejected insufficient_funds: balance 0 is less than 9";

/// The last one is rejected.
fn overdraw(story: Story) -> Story {
    open(story).when(Account::at("1"), Withdraw { amount: 9 })
}

const REUSED: &str = "it was  refused id_reused: this id was used for another command (open to account/1); its outcome \
                      stands, take a new id";

/// The last one is refused.
fn reuse(story: Story) -> Story {
    open(story).reuse("c1", Account::at("1"), Close)
}

fn transfer(story: Story, amount: i64, version_of_other: u64) -> Story {
    story
        .given(Account::at("1"), [opened("ann"), Deposited { amount: 5 }])
        .given(Account::at("2"), [opened("bob")])
        .batch([
            command(Account::at("1"), Withdraw { amount }),
            command(Account::at("2"), Deposit { amount }),
            check(Account::at("3"), version_of_other),
        ])
}

/// Accepted.
fn move_five(story: Story) -> Story {
    transfer(story, 5, 0)
}

const NINE_NOT_MOVED: &str = "it was  rejected insufficient_funds: balance 5 is less than 9; rejected batch_aborted: its \
                              own part was fine, another item of its atomic batch was rejected";

/// Rejected, since a command is.
fn move_nine(story: Story) -> Story {
    transfer(story, 9, 0)
}

const TOO_LATE: &str = "it was  rejected batch_aborted: its own part was fine, another item of its atomic batch was \
                        rejected; rejected batch_aborted: its own part was fine, another item of its atomic batch was \
                        rejected";

/// Rejected, since its check does not hold.
fn move_too_late(story: Story) -> Story {
    transfer(story, 5, 1)
}

const NO_JARS: &str =
    "it was  refused unknown_aggregate: commands[0]: no aggregate \"jar\" here; served: account, order";

/// Refused: nobody serves jars here.
fn move_into_a_jar(story: Story) -> Story {
    story.batch([command(sound::Jar::at("1"), sound::Command::Take { coins: 1 })])
}

#[test]
fn a_wrong_expectation_fails_and_says_what_came() {
    let other = "accepted: c1 was accepted with other events";
    let ann = r#"happened  opened {"owner":"ann"}"#;
    assert_said(&[
        (|story| open(story).accepted([opened("bob")]), &[other, r#"expected  opened {"owner":"bob"}"#, ann]),
        (
            |story| open(story).accepted([opened("ann"), Closed]),
            &[other, r#"expected  opened {"owner":"ann"}, closed {}"#, ann],
        ),
        (|story| open(story).accepted::<AccountEvent>([]), &[other, "expected  ", ann]),
        (
            |story| open(story).when(Account::at("1"), Deposit { amount: 5 }).accepted([Withdrawn { amount: 5 }]),
            &[
                "accepted: c2 was accepted with other events",
                r#"expected  withdrawn {"amount":5}"#,
                r#"happened  deposited {"amount":5}"#,
            ],
        ),
        (|story| overdraw(story).accepted([Withdrawn { amount: 9 }]), &["accepted: c2 was not accepted", OVERDRAWN]),
        // What was rejected, or refused, has no events either.
        (|story| overdraw(story).accepted::<AccountEvent>([]), &["accepted: c2 was not accepted", OVERDRAWN]),
        (|story| reuse(story).accepted::<AccountEvent>([]), &["accepted: c1 was not accepted", REUSED]),
        // It is about the last one, and c1 was accepted with this.
        (|story| overdraw(story).accepted([opened("ann")]), &["accepted: c2 was not accepted", OVERDRAWN]),
        (|story| overdraw(story).rejected("not_open"), &["rejected: c2 was not rejected as not_open", OVERDRAWN]),
        (
            |story| open(story).rejected("already_open"),
            &["rejected: c1 was not rejected as already_open", "it was  accepted, v1"],
        ),
        (|story| reuse(story).rejected("id_reused"), &["rejected: c1 was not rejected as id_reused", REUSED]),
        (|story| reuse(story).refused("malformed"), &["refused: c1 was not refused as malformed", REUSED]),
        (
            |story| overdraw(story).refused("insufficient_funds"),
            &["refused: c2 was not refused as insufficient_funds", OVERDRAWN],
        ),
        (
            |story| open(story).refused("id_reused"),
            &["refused: c1 was not refused as id_reused", "it was  accepted, v1"],
        ),
    ]);
}

#[test]
fn a_wrong_expectation_of_a_batch_fails_and_says_what_came() {
    let other = "accepted: b1 was accepted with other events";
    let five = r#"happened  withdrawn {"amount":5}, deposited {"amount":5}"#;
    assert_said(&[
        (
            |story| move_five(story).accepted([Withdrawn { amount: 5 }, Deposited { amount: 6 }]),
            &[other, r#"expected  withdrawn {"amount":5}, deposited {"amount":6}"#, five],
        ),
        (
            |story| move_five(story).accepted([Withdrawn { amount: 5 }]),
            &[other, r#"expected  withdrawn {"amount":5}"#, five],
        ),
        (|story| move_nine(story).accepted::<AccountEvent>([]), &["accepted: b1 was not accepted", NINE_NOT_MOVED]),
        (|story| move_too_late(story).accepted::<AccountEvent>([]), &["accepted: b1 was not accepted", TOO_LATE]),
        (|story| move_nine(story).rejected("not_open"), &["rejected: b1 was not rejected as not_open", NINE_NOT_MOVED]),
        (
            |story| move_five(story).rejected("insufficient_funds"),
            &["rejected: b1 was not rejected as insufficient_funds", "it was  accepted, v3; accepted, v2"],
        ),
        (
            |story| move_into_a_jar(story).rejected("unknown_aggregate"),
            &["rejected: b1 was not rejected as unknown_aggregate", NO_JARS],
        ),
        (
            |story| move_nine(story).refused("insufficient_funds"),
            &["refused: b1 was not refused as insufficient_funds", NINE_NOT_MOVED],
        ),
        (|story| move_into_a_jar(story).refused("malformed"), &["refused: b1 was not refused as malformed", NO_JARS]),
    ]);
}

#[test]
fn a_word_that_means_nothing_where_it_stands_fails_and_says_why() {
    assert_said(&[
        (|story| story.accepted::<AccountEvent>([]), &["accepted: nothing was sent yet"]),
        (|story| story.rejected("not_open"), &["rejected: nothing was sent yet"]),
        (|story| story.given(Account::at("1"), [opened("ann")]).refused("late"), &["refused: nothing was sent yet"]),
        (|story| open(story).accepted([5]), &["accepted: an expected event is no JSON: not an externally tagged enum"]),
        (|story| open(story).again("c9"), &["c9: nothing was sent as \"c9\"; commands are c1, c2 …, batches b1, b2 …"]),
        (
            |story| story.reuse("c1", Account::at("1"), Close),
            &["c1: nothing was sent as \"c1\"; commands are c1, c2 …, batches b1, b2 …"],
        ),
        (
            |story| open(story).reuse("c1", Account::at("2"), Close),
            &["c1: an id belongs to a key: c1 was sent to 1, at 2 it is another command"],
        ),
        (
            |story| open(story).by("bob").reuse("c1", Account::at("1"), Close),
            &["c1: an id belongs to its sender: c1 is alice's, somebody else's is another"],
        ),
        (
            |story| story.void(Account::at("1"), "first"),
            &["first: \"first\" is no name of a command or a batch: c1, c2 …, b1, b2 …"],
        ),
        (
            |story| story.void(Account::at("1"), "cone"),
            &["cone: \"cone\" is no name of a command or a batch: c1, c2 …, b1, b2 …"],
        ),
        (
            |story| story.expecting(0).void(Account::at("1"), "c1"),
            &["c1: a void is never too early or too late: it has no guards"],
        ),
        (
            |story| story.not_after(Duration::from_secs(60)).void(Account::at("1"), "c1"),
            &["c1: a void is never too early or too late: it has no guards"],
        ),
        (
            |story| story.expecting(0).batch([command(Account::at("1"), Close)]),
            &["b1: a batch expects no version; its items do: command(…).expecting(…)"],
        ),
        (|story| story.batch([]), &["b1: a batch has at least one command"]),
        (|story| story.batch([check(Account::at("1"), 0)]), &["b1: a batch has at least one command"]),
        (
            |story| story.given(sound::Jar::at("1"), [sound::Event::Taken { coins: 1 }]),
            &["given: jar/1 is not served: `Service::new().with::<…>()`"],
        ),
        (
            |story| story.given(Account::at("a b"), [opened("ann")]),
            &["given: account/a b: a token is 1 to 128 bytes of printable ASCII without space, '.', '*' and '>'"],
        ),
        // A guard of no command would guard nothing.
        (
            |story| open(story).expecting(9).again("c1"),
            &["c1: expecting(9) is meant for the next command, and this is none: say it right before that"],
        ),
        (
            |story| open(story).by("bob").accepted([opened("ann")]),
            &["accepted: by(\"bob\") is meant for the next command, and this is none: say it right before that"],
        ),
        (
            |story| open(story).not_after(Duration::from_secs(1)).rejected("not_open"),
            &["rejected: not_after(…) is meant for the next command, and this is none: say it right before that"],
        ),
        (
            |story| open(story).expecting(1).by("bob").refused("malformed"),
            &[
                "refused: by(\"bob\"), expecting(1) is meant for the next command, and this is none: say it right before that",
            ],
        ),
        (
            |story| story.by("bob").given(Account::at("1"), [opened("ann")]),
            &["given: by(\"bob\") is meant for the next command, and this is none: say it right before that"],
        ),
        (
            |story| story.expecting(0).crash(),
            &["crash: expecting(0) is meant for the next command, and this is none: say it right before that"],
        ),
        (
            |story| story.expecting(0).show(Account::at("1")),
            &["show: expecting(0) is meant for the next command, and this is none: say it right before that"],
        ),
        (|story| open(story).expecting(1), &["the story ends, and no command comes for expecting(1)"]),
        (
            |story| story.by("a b"),
            &["by(\"a b\"): a token is 1 to 128 bytes of printable ASCII without space, '.', '*' and '>'"],
        ),
    ]);
}
