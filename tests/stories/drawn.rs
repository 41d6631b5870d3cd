//! Stories that proptest draws: of the sample domain, whose rules hold in all of them; and of an aggregate with a fault,
//! of which the shortest failure is told as code.

use hapax::samples::AccountCommand::*;
use hapax::samples::{Account, AccountCommand};
use hapax::testing::{Story, json, stories};
use hapax::{Aggregate, Service};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

use crate::planted::failure;
use crate::planted::forgetful_evolve::{Command, Jar, service};

/// Each as long as the default allows, on 64 stories: they are checked at every step.
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
        let mut story = script.tell(Story::of(Service::new().with::<Account>()));
        for key in ["1", "2"] {
            let account = story.state(&Account::at(key));
            prop_assert!(account.balance >= 0);
            prop_assert!(!account.closed || account.balance == 0);
        }
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

/// Texts that end a raw string are told in a longer one.
#[test]
fn whatever_a_command_holds_can_be_pasted() {
    let note = "a\"#b\"##".to_owned();
    let printed = format!("{:?}", json::<Command>(r###"{"put":{"coins":1,"note":"a\"#b\"##"}}"###));
    assert_eq!(printed, format!("{:?}", Command::Put { coins: 1, note }));
}
