//! The wire forms of the sample domain, and a renamed field that is found.

use std::panic::catch_unwind;

use hapax::samples::{
    Account, AccountCommand, AccountEvent, AccountRejection, Line, Order, OrderCommand, OrderEvent, OrderRejection,
};
use hapax::testing::{Samples, wire};
use hapax::{Aggregate, Context, Upcaster};
use serde::{Deserialize, Serialize};

use crate::assert_shown;

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
    assert_shown("wire__account", &wire(&samples, include_str!("../golden/events/account.jsonl")));
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
    assert_shown("wire__order", &wire(&samples, include_str!("../golden/events/order.jsonl")));
}

/// A tank in two releases: with `LEVEL` in the fields' names.
macro_rules! tank {
    ($module:ident, $event:item, $filled:expr, $upcasters:expr) => {
        mod $module {
            use super::*;

            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            pub(super) struct Tank;

            #[derive(Debug, Clone, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(super) enum Command {
                #[serde(alias = "pour")]
                Fill,
            }

            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            $event

            #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
            pub(super) enum Never {}

            impl Aggregate for Tank {
                const TYPE: &'static str = "tank";
                const UPCASTERS: &'static [Upcaster] = $upcasters;
                type Command = Command;
                type Event = Event;
                type Rejection = Never;

                fn decide(&self, _: Command, _: &Context<'_>) -> Result<Vec<Event>, Never> {
                    Ok(Vec::new())
                }

                fn evolve(self, _: &Event) -> Tank {
                    self
                }
            }

            pub(super) fn samples() -> Samples<Tank> {
                Samples { commands: vec![Command::Fill], events: vec![$filled], rejections: Vec::new() }
            }
        }
    };
}

tank!(
    first,
    pub(super) enum Event {
        Filled { litres: u32 },
    },
    Event::Filled { litres: 7 },
    &[]
);
tank!(
    renamed,
    pub(super) enum Event {
        Filled { volume: u32 },
    },
    Event::Filled { volume: 7 },
    &[]
);
tank!(
    lenient,
    pub(super) enum Event {
        Filled {
            #[serde(default)]
            volume: u32,
        },
    },
    Event::Filled { volume: 7 },
    &[]
);
tank!(
    upcast,
    pub(super) enum Event {
        Filled { volume: u32 },
    },
    Event::Filled { volume: 7 },
    &[Upcaster {
        event: "filled",
        schema: 1,
        becomes: "filled",
        fields: |mut fields| {
            if let Some(litres) = fields.remove("litres") {
                fields.insert("volume".to_owned(), litres);
            }
            fields
        },
    }]
);
tank!(
    forgetful,
    pub(super) enum Event {
        Filled {
            #[serde(default)]
            volume: u32,
        },
    },
    Event::Filled { volume: 7 },
    &[Upcaster { event: "filled", schema: 1, becomes: "filled", fields: |fields| fields }]
);

const RECORDED: &str = r#"{"type":"filled","schema":1,"data":{"litres":7}}"#;

fn panic_of(test: impl FnOnce() -> String + std::panic::UnwindSafe) -> String {
    *catch_unwind(test).expect_err("it is not found").downcast::<String>().expect("a message")
}

#[test]
fn a_renamed_field_is_a_red_line() {
    let before = wire(&first::samples(), "");
    assert_eq!(before, "tank\n\ncommand    fill {}\nevent      filled, schema 1 {\"litres\":7}\n");
    let after = wire(&renamed::samples(), "");
    assert_ne!(before, after);
    assert!(after.contains(r#"event      filled, schema 1 {"volume":7}"#), "{after}");
}

#[test]
fn a_renamed_field_of_a_recorded_event_is_found() {
    wire(&first::samples(), RECORDED);
    assert_eq!(
        panic_of(|| wire(&renamed::samples(), RECORDED)),
        r#"tank: filled of schema 1, recorded as {"litres":7}, cannot be read: its data does not fit: missing field `volume` at line 1 column 12. What is recorded stays as it is: leave the form alone, or add an upcaster from schema 1"#
    );
    // Also where a default would pass over it.
    assert_eq!(
        panic_of(|| wire(&lenient::samples(), RECORDED)),
        r#"tank: filled of schema 1, recorded as {"litres":7}, is filled {"volume":0} today, and should be filled {"litres":7}: something of it is lost or made up"#
    );
}

#[test]
fn an_upcaster_mends_it_and_is_shown() {
    let text = wire(&upcast::samples(), RECORDED);
    let recorded = "recorded   filled, schema 1 {\"litres\":7}\n  today    filled, schema 2 {\"volume\":7}\n";
    assert!(text.contains(recorded), "{text}");
    let without =
        "tank: no recorded event is a filled of schema 1, which has an upcaster: add a line as it was recorded";
    assert_eq!(panic_of(|| wire(&upcast::samples(), "")), without);
    assert!(panic_of(|| wire(&forgetful::samples(), RECORDED)).ends_with("something of it is lost or made up"));
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
