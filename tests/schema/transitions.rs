//! The sample domain as tables: each state that some commands lead to, each command, what comes of it.

use hapax::samples::{Account, AccountCommand, Line, Order, OrderCommand};
use hapax::testing::{States, transitions};
use hapax::{Aggregate, Context};
use serde::{Deserialize, Serialize};

use crate::common::shown::assert_shown;

#[test]
fn an_account() {
    use AccountCommand::{Close, Deposit, Open, Withdraw};
    let commands = [
        Open { owner: "ann".into() },
        Deposit { amount: 100 },
        Deposit { amount: 0 },
        Deposit { amount: i64::MAX },
        Withdraw { amount: 100 },
        Close,
    ];
    // Without a bound: 200, 300, 400 …
    assert_shown("transitions__account", &transitions::<Account>(&commands, States(5)));
}

#[test]
fn an_order() {
    use OrderCommand::{Cancel, Pay, Place, Ship};
    let commands = [
        Place { lines: vec![Line { sku: "pen".into(), quantity: 2, price: 50 }] },
        Place { lines: Vec::new() },
        Pay { amount: 50 },
        Pay { amount: 100 },
        Ship { tracking: "T1".into() },
        Cancel { reason: "late".into() },
    ];
    let table = transitions::<Order>(&commands, States(100));
    assert!(table.ends_with("all states that these commands lead to\n"), "{table}");
    assert_shown("transitions__order", &table);
}

/// An aggregate that falls over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Brittle {
    cracks: u8,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Knock {
    Softly,
    Hard,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cracked {
    Cracked,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum Never {}

impl Aggregate for Brittle {
    const TYPE: &'static str = "brittle";
    type Command = Knock;
    type Event = Cracked;
    type Rejection = Never;

    fn decide(&self, command: Knock, _: &Context<'_>) -> Result<Vec<Cracked>, Never> {
        match command {
            Knock::Softly => Ok(Vec::new()),
            Knock::Hard if self.cracks == 1 => panic!("it breaks"),
            Knock::Hard => Ok(vec![Cracked::Cracked]),
        }
    }

    fn evolve(self, Cracked::Cracked: &Cracked) -> Brittle {
        Brittle { cracks: self.cracks + 1 }
    }
}

#[test]
fn a_panic_is_a_row_and_the_bound_is_told() {
    let commands = [Knock::Softly, Knock::Hard];
    let first = "brittle\n\n\
                 state 1  {\"cracks\":0}\n  softly  accepted: it was already so\n  hard    cracked  -> 2\n";
    let cut = "\ncut at 1 states: 1 more were reached, and not walked\n";
    assert_eq!(transitions::<Brittle>(&commands, States(1)), format!("{first}{cut}"));
    let all = "state 2  {\"cracks\":1}\n  softly  accepted: it was already so\n  hard    panics: it breaks\n\n\
               all states that these commands lead to\n";
    assert_eq!(transitions::<Brittle>(&commands, States(2)), format!("{first}{all}"));
}
