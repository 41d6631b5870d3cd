//! Stories that proptest draws: of the sample domain, whose rules hold in all of them; and of an aggregate with a fault,
//! of which the shortest failure is told as code.

use hapax::Aggregate;
use hapax::samples::AccountCommand::*;
use hapax::samples::OrderCommand::*;
use hapax::samples::{Account, AccountCommand, Line, Order, OrderCommand, OrderStatus};
use hapax::testing::{Story, check, command, everywhere, json, offline, stories};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use crate::planted::failure;
use crate::planted::forgetful_evolve::{Command, Jar, service};

/// Of stories that are told in memory: they are checked at every step.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("1".to_owned()), Just("2".to_owned())]
}

fn account_commands() -> impl Strategy<Value = (String, AccountCommand)> {
    let command = prop_oneof![
        2 => Just(Open { owner: "ann".to_owned() }),
        4 => (-1..1000_i64).prop_map(|amount| Deposit { amount }),
        4 => (-1..1000_i64).prop_map(|amount| Withdraw { amount }),
        1 => Just(Close),
    ];
    (key(), command)
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn no_story_overdraws_an_account(script in stories::<Account>(account_commands())) {
        let mut story = script.tell(Story::of(crate::service()));
        for key in ["1", "2"] {
            let account = story.state(&Account::at(key));
            prop_assert!(account.balance >= 0);
            prop_assert!(!account.closed || account.balance == 0);
        }
    }
}

fn order_commands() -> impl Strategy<Value = (String, OrderCommand)> {
    let line = |price| Line { sku: "pen".to_owned(), quantity: 1, price };
    let command = prop_oneof![
        2 => (0..100_i64).prop_map(move |price| Place { lines: vec![line(price)] }),
        4 => (0..60_i64).prop_map(|amount| Pay { amount }),
        2 => Just(Ship { tracking: "T1".to_owned() }),
        1 => Just(Cancel { reason: "late".to_owned() }),
    ];
    (key(), command)
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn no_order_is_shipped_unpaid_or_paid_twice(script in stories::<Order>(order_commands())) {
        let mut story = script.tell(Story::of(crate::service()));
        for key in ["1", "2"] {
            let order = story.state(&Order::at(key));
            prop_assert!((0..=order.total).contains(&order.paid));
            prop_assert!(order.status != OrderStatus::Shipped || order.due() == 0);
            prop_assert!(order.status != OrderStatus::Cancelled || order.paid == 0);
        }
    }
}

proptest! {
    // Each is told once more for each of its steps, on files of its own.
    #![proptest_config(ProptestConfig { cases: 4, ..config() })]
    #[test]
    fn a_crash_after_any_step_changes_no_story(
        accounts in stories::<Account>(account_commands()),
        orders in stories::<Order>(order_commands()),
    ) {
        offline(crate::service(), |story| accounts.tell(story));
        offline(crate::service(), |story| orders.tell(story));
    }
}

fn jar_commands() -> impl Strategy<Value = (String, Command)> {
    let command = prop_oneof![
        (1..10_u64, "[a-z\"#\\\\]{0,4}").prop_map(|(coins, note)| Command::Put { coins, note }),
        (1..10_u64).prop_map(|coins| Command::Take { coins }),
    ];
    (key(), command)
}

/// The code in `pasted.rs` is what was printed, and fails as what was found did.
#[test]
fn a_failure_is_told_as_a_story_that_can_be_pasted() {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config(), random);
    let found = runner.run(&stories::<Jar>(jar_commands()), |script| {
        script.tell(Story::of(service()));
        Ok(())
    });
    let Err(TestError::Fail(why, script)) = found else { panic!("the fault was not found: {found:?}") };
    assert!(why.message().contains("forgets the event \"taken\""), "{why}");
    assert_eq!(format!("{script:?}\n"), include_str!("pasted.rs"));
    crate::assert_in_readme(include_str!("pasted.rs"));
    assert!(failure(|| include!("pasted.rs")).contains("forgets the event \"taken\""));
}

/// What every story has in its shortest form: each word there is, of an account.
const WORDS: [&str; 14] = [
    "\n    .given(",
    "\n    .by(",
    "\n    .expecting(",
    "\n    .not_after(",
    "\n    .when(",
    "\n    .batch([",
    "        command(",
    "\"#)).expecting(",
    "        check(",
    "\n    .again(",
    "\n    .reuse(",
    "\n    .void(",
    "\n    .after(",
    "\n    .crash()",
];

/// The shortest one that has them all is found as a failure is. The code in `every_word.rs` is what was printed, and tells what
/// the drawn one tells, wherever it runs.
#[test]
fn every_word_is_drawn_and_told_as_code() {
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(ProptestConfig { cases: 10_000, ..config() }, random);
    let found = runner.run(&stories::<Account>(account_commands()), |script| {
        let code = format!("{script:?}");
        prop_assert!(!WORDS.iter().all(|word| code.contains(word)));
        Ok(())
    });
    let Err(TestError::Fail(_, script)) = found else { panic!("some word is never drawn: {found:?}") };
    assert_eq!(format!("{script:?}\n"), include_str!("every_word.rs"));
    let told = everywhere(crate::service(), |story| script.tell(story)).to_string();
    let service = crate::service;
    assert_eq!(include!("every_word.rs").to_string(), told);
}
