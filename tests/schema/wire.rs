//! The wire forms of the sample domain, and a renamed field that is found.

use std::panic::catch_unwind;

use hapax::samples::{
    Account, AccountCommand, AccountEvent, AccountRejection, Line, Order, OrderCommand, OrderEvent, OrderRejection,
};
use hapax::testing::{Samples, wire};
use hapax::{Aggregate, Context, Upcaster};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::common::shown::assert_shown;

#[test]
fn an_account() {
    let (balance, amount) = (20, 100);
    let samples = Samples::<Account> {
        commands: vec![
            AccountCommand::Open { owner: "ann".into() },
            AccountCommand::Deposit { amount },
            AccountCommand::Withdraw { amount },
            AccountCommand::Close,
        ],
        events: vec![
            AccountEvent::Opened { owner: "ann".into() },
            AccountEvent::Deposited { amount },
            AccountEvent::Withdrawn { amount },
            AccountEvent::Closed,
        ],
        rejections: vec![
            AccountRejection::AlreadyOpen,
            AccountRejection::NotOpen,
            AccountRejection::InsufficientFunds { balance, amount },
            AccountRejection::NotEmpty { balance },
            AccountRejection::InvalidAmount { amount: 0 },
            AccountRejection::AmountOverflow { balance, amount: i64::MAX },
        ],
    };
    assert_shown("wire__account", &wire(&samples, include_str!("../golden/wire/account.jsonl")));
}

#[test]
fn an_order() {
    let (sku, amount) = (|| "pen".to_owned(), 100);
    let lines = || vec![Line { sku: sku(), quantity: 2, price: 150 }];
    let samples = Samples::<Order> {
        commands: vec![
            OrderCommand::Place { lines: lines() },
            OrderCommand::Pay { amount },
            OrderCommand::Ship { tracking: "T1".into() },
            OrderCommand::Cancel { reason: "late".into() },
        ],
        events: vec![
            OrderEvent::Placed { lines: lines(), total: 300 },
            OrderEvent::Paid { amount },
            OrderEvent::Shipped { tracking: "T1".into() },
            OrderEvent::Cancelled { reason: "late".into(), refunded: amount },
        ],
        rejections: vec![
            OrderRejection::AlreadyPlaced,
            OrderRejection::NotPlaced,
            OrderRejection::AlreadyPaid,
            OrderRejection::AlreadyShipped,
            OrderRejection::AlreadyCancelled,
            OrderRejection::NoLines,
            OrderRejection::MissingSku,
            OrderRejection::DuplicateSku { sku: sku() },
            OrderRejection::InvalidQuantity { sku: sku() },
            OrderRejection::InvalidPrice { sku: sku(), price: 0 },
            OrderRejection::TotalOverflow,
            OrderRejection::InvalidAmount { amount: 0 },
            OrderRejection::Overpaid { due: 50, amount },
            OrderRejection::Underpaid { due: 50 },
            OrderRejection::MissingTracking,
        ],
    };
    assert_shown("wire__order", &wire(&samples, include_str!("../golden/wire/order.jsonl")));
}

/// A tank in one release or another: the names of the fields of command, event and rejection, and its upcasters.
macro_rules! tank {
    (
        $module:ident:
        [$(#[$command_with:meta])* $command:ident] [$(#[$event_with:meta])* $event:ident]
        [$(#[$rejection_with:meta])* $rejection:ident],
        $upcasters:expr
    ) => {
        mod $module {
            use super::*;

            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            pub(super) struct Tank;

            #[derive(Debug, Clone, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(super) enum Command {
                #[serde(alias = "pour")]
                Fill {
                    $(#[$command_with])*
                    $command: u32,
                },
            }

            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(super) enum Event {
                Filled {
                    $(#[$event_with])*
                    $event: u32,
                },
            }

            #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(super) enum Rejection {
                #[error("it is full")]
                Full {
                    $(#[$rejection_with])*
                    $rejection: u32,
                },
            }

            impl Aggregate for Tank {
                const TYPE: &'static str = "tank";
                const UPCASTERS: &'static [Upcaster] = $upcasters;
                type Command = Command;
                type Event = Event;
                type Rejection = Rejection;

                fn decide(&self, _: Command, _: &Context<'_>) -> Result<Vec<Event>, Rejection> {
                    Ok(Vec::new())
                }

                fn evolve(self, _: &Event) -> Tank {
                    self
                }
            }

            /// With what was recorded once.
            pub(super) fn with(recorded: &str) -> String {
                let samples = Samples::<Tank> {
                    commands: vec![Command::Fill { $command: 7 }],
                    events: vec![Event::Filled { $event: 7 }],
                    rejections: vec![Rejection::Full { $rejection: 7 }],
                };
                wire(&samples, recorded)
            }
        }
    };
}

const COMMAND: &str = r#"{"command":"fill","data":{"litres":7}}"#;
const EVENT: &str = r#"{"type":"filled","schema":1,"data":{"litres":7}}"#;
const REJECTION: &str = r#"{"reason":"full","message":"it is full","details":{"litres":7}}"#;

fn recorded() -> String {
    [COMMAND, EVENT, REJECTION].join("\n")
}

fn panic_of(test: impl FnOnce() -> String + std::panic::UnwindSafe) -> String {
    *catch_unwind(test).expect_err("it is not found").downcast::<String>().expect("a message")
}

tank!(first: [litres] [litres] [litres], &[]);

#[test]
fn every_form_is_shown() {
    let shown = r#"tank

command    fill {"litres":7}
event      filled, schema 1 {"litres":7}
rejection  full {"litres":7} "it is full"

recorded   command fill {"litres":7}
recorded   event filled, schema 1 {"litres":7}
recorded   rejection full {"litres":7} "it is full"
"#;
    assert_eq!(first::with(&recorded()), shown);
}

#[test]
fn a_form_without_a_line_is_told_as_one() {
    let without = |line: &str| recorded().replace(line, "");
    for line in [COMMAND, EVENT, REJECTION] {
        let said = panic_of(|| first::with(&without(line)));
        assert_eq!(said, format!("tank: add to what was recorded, and never change it:\n{line}"));
        first::with(&format!("{}\n{}", without(line), said.lines().nth(1).unwrap()));
    }
}

tank!(other_command: [volume] [litres] [litres], &[]);
tank!(lenient_command: [#[serde(default)] volume] [litres] [litres], &[]);
tank!(two_names_in_command: [#[serde(alias = "litres")] volume] [litres] [litres], &[]);

#[test]
fn a_renamed_field_of_a_command_is_found() {
    assert_eq!(
        panic_of(|| other_command::with(&recorded())),
        r#"tank: the command fill, recorded as {"litres":7}, cannot be read: missing field `volume` at line 1 column 12. What is recorded stays as it is: leave the form alone, or let the old name be read too, `#[serde(alias = "…")]`"#
    );
    // Also where a default would pass over it.
    assert_eq!(
        panic_of(|| lenient_command::with(&recorded())),
        r#"tank: the command fill, recorded as {"litres":7}, is fill {"volume":0} today: something of it is lost"#
    );
}

#[test]
fn a_second_name_mends_it_and_the_new_form_gets_its_line() {
    let new = r#"{"command":"fill","data":{"volume":7}}"#;
    let said = panic_of(|| two_names_in_command::with(&recorded()));
    assert_eq!(said, format!("tank: add to what was recorded, and never change it:\n{new}"));
    let text = two_names_in_command::with(&format!("{}\n{new}", recorded()));
    let lines = "recorded   command fill {\"litres\":7}\n  today    fill {\"volume\":7}\n";
    assert!(text.contains(lines) && text.ends_with("recorded   command fill {\"volume\":7}\n"), "{text}");
    // The same of a variant.
    let text = first::with(&format!("{}\n{}", recorded(), COMMAND.replace("fill", "pour")));
    assert!(text.ends_with("recorded   command pour {\"litres\":7}\n  today    fill {\"litres\":7}\n"), "{text}");
}

tank!(other_rejection: [litres] [litres] [volume], &[]);
tank!(lenient_rejection: [litres] [litres] [#[serde(default)] volume], &[]);

#[test]
fn a_renamed_field_of_a_rejection_is_found() {
    let said = panic_of(|| other_rejection::with(&recorded()));
    let cannot = r#"tank: the rejection full, recorded as {"litres":7}, cannot be read: missing field `volume` at line 1 column 12. "#;
    assert!(said.starts_with(cannot), "{said}");
    assert_eq!(
        panic_of(|| lenient_rejection::with(&recorded())),
        r#"tank: the rejection full, recorded as {"litres":7}, is full {"volume":0} today: something of it is lost"#
    );
}

tank!(other_event: [litres] [volume] [litres], &[]);
tank!(lenient_event: [litres] [#[serde(default)] volume] [litres], &[]);

#[test]
fn a_renamed_field_of_an_event_is_found() {
    assert_eq!(
        panic_of(|| other_event::with(&recorded())),
        r#"tank: filled of schema 1, recorded as {"litres":7}, cannot be read: its data does not fit: missing field `volume` at line 1 column 12. What is recorded stays as it is: leave the form alone, or add an upcaster from schema 1"#
    );
    assert_eq!(
        panic_of(|| lenient_event::with(&recorded())),
        r#"tank: filled of schema 1, recorded as {"litres":7}, is filled {"volume":0} today, and should be filled {"litres":7}: something of it is lost or made up"#
    );
}

fn litres_are_volume(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(litres) = fields.remove("litres") {
        fields.insert("volume".to_owned(), litres);
    }
    fields
}

tank!(
    upcast: [litres] [volume] [litres],
    &[Upcaster { event: "filled", schema: 1, becomes: "filled", fields: litres_are_volume }]
);
tank!(
    forgetful: [litres] [#[serde(default)] volume] [litres],
    &[Upcaster { event: "filled", schema: 1, becomes: "filled", fields: |fields| fields }]
);

#[test]
fn an_upcaster_mends_it_and_is_shown() {
    let new = r#"{"type":"filled","schema":2,"data":{"volume":7}}"#;
    let said = panic_of(|| upcast::with(&recorded()));
    assert_eq!(said, format!("tank: add to what was recorded, and never change it:\n{new}"));
    let text = upcast::with(&format!("{}\n{new}", recorded()));
    let lines = "recorded   event filled, schema 1 {\"litres\":7}\n  today    filled, schema 2 {\"volume\":7}\n";
    assert!(text.contains(lines), "{text}");
    let without =
        "tank: no recorded event is a filled of schema 1, which has an upcaster: add a line as it was recorded";
    assert_eq!(panic_of(|| upcast::with(new)), without);
    assert!(panic_of(|| forgetful::with(&recorded())).ends_with("something of it is lost or made up"));
}

/// Half of a command and half of an event is none of both.
#[test]
fn a_line_that_says_something_else_is_named() {
    for line in [r#"{"command":"fill","schema":1,"data":{}}"#, r#"{"type":"filled","data":{}}"#, r#"{"reason":"full"}"#]
    {
        assert_eq!(panic_of(|| first::with(line)), format!("neither a command, nor an event, nor a rejection: {line}"));
    }
    assert!(panic_of(|| first::with(r#"{"event":"filled"}"#)).starts_with("nothing recorded: unknown field `event`"));
}

#[test]
fn what_has_no_sample_is_named() {
    let samples = || Samples::<Account> { commands: Vec::new(), events: Vec::new(), rejections: Vec::new() };
    assert_eq!(panic_of(|| wire(&samples(), "")), "account: Command has the variant open, and no sample of it");
    let without_close = || Samples::<Account> {
        commands: vec![
            AccountCommand::Open { owner: "ann".into() },
            AccountCommand::Deposit { amount: 1 },
            AccountCommand::Withdraw { amount: 1 },
        ],
        ..samples()
    };
    assert_eq!(panic_of(|| wire(&without_close(), "")), "account: Command has the variant close, and no sample of it");
}
