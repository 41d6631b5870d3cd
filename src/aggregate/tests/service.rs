//! A type that cannot be served is found when the service is built, with a message for its author.

use serde::Deserialize;

use super::*;
use crate::model::error::caught;
use crate::samples::{Account, Order};

/// An aggregate of one type name and three enums, that does nothing.
macro_rules! aggregate {
    ($name:ident, $kind:literal, $command:ty, $event:ty, $rejection:ty) => {
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        struct $name;

        impl Aggregate for $name {
            const TYPE: &'static str = $kind;
            type Command = $command;
            type Event = $event;
            type Rejection = $rejection;

            fn decide(&self, _: $command, _: &Context<'_>) -> Result<Vec<$event>, $rejection> {
                Ok(Vec::new())
            }

            fn evolve(self, _: &$event) -> $name {
                self
            }
        }
    };
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fine {
    Go,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    Go,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Own {
    #[serde(rename = "_void")]
    Void,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum No {
    #[error("no")]
    No,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "type")]
enum TaggedNo {
    #[error("no")]
    No,
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReservedNo {
    #[error("too late")]
    Expired,
}

aggregate!(Proper, "proper", Fine, Fine, No);
aggregate!(SameType, "proper", Fine, Fine, No);
aggregate!(NoToken, "no.token", Fine, Fine, No);
aggregate!(OwnType, "_batch", Fine, Fine, No);
aggregate!(TaggedCommand, "tagged", Tagged, Fine, No);
aggregate!(TaggedEvent, "tagged", Fine, Tagged, No);
aggregate!(TaggedRejection, "tagged", Fine, Fine, TaggedNo);
aggregate!(ReservedReason, "reserved", Fine, Fine, ReservedNo);
aggregate!(OwnCommand, "own", Own, Fine, No);

/// One with a form of an event that nobody can read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Gap;

impl Aggregate for Gap {
    const TYPE: &'static str = "gap";
    const UPCASTERS: &'static [Upcaster] =
        &[Upcaster { event: "go", schema: 2, becomes: "go", fields: |fields| fields }];
    type Command = Fine;
    type Event = Fine;
    type Rejection = No;

    fn decide(&self, _: Fine, _: &Context<'_>) -> Result<Vec<Fine>, No> {
        Ok(Vec::new())
    }

    fn evolve(self, _: &Fine) -> Gap {
        self
    }
}

fn refused<A: Aggregate>() -> String {
    caught(|| Service::new().with::<Proper>().with::<A>()).expect_err("it cannot be served")
}

#[test]
fn what_cannot_be_served_is_not_taken() {
    assert_eq!(refused::<SameType>(), "two aggregates have the type proper");
    assert!(refused::<NoToken>().starts_with(r#""no.token" as Aggregate::TYPE: a token is"#));
    assert!(refused::<OwnType>().contains("_batch"));
    assert_eq!(refused::<TaggedCommand>(), "tagged: Command must be an enum, externally tagged (serde's default)");
    assert_eq!(refused::<TaggedEvent>(), "tagged: Event must be an enum, externally tagged (serde's default)");
    assert_eq!(refused::<TaggedRejection>(), "tagged: Rejection must be an enum, externally tagged (serde's default)");
    assert_eq!(refused::<ReservedReason>(), "reserved: the reason expired is the protocol's own");
    assert!(refused::<OwnCommand>().starts_with("own: the command _void begins with '_'"));
    let gap = "gap: Aggregate::UPCASTERS: go has schema 3, and no upcaster from schema 1";
    assert_eq!(refused::<Gap>(), gap);
}

#[test]
fn several_types_are_served_beside_each_other() {
    let service = Service::new().with::<Order>().with::<Account>().with::<Proper>();
    assert_eq!(service.types().collect::<Vec<_>>(), ["account", "order", "proper"]);
    let kind = |name| crate::model::AggregateType::parse(name).unwrap();
    assert!(service.serves(&kind("order")) && !service.serves(&kind("invoice")));
    assert!(service.start(&kind("invoice")).is_none());
}

/// A state whose own serde code panics.
#[derive(Debug, Clone, Default, PartialEq)]
struct Fragile;

impl Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("serialize fell over")
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Fragile, D::Error> {
        panic!("deserialize fell over")
    }
}

impl Aggregate for Fragile {
    const TYPE: &'static str = "fragile";
    type Command = Fine;
    type Event = Fine;
    type Rejection = No;

    fn decide(&self, _: Fine, _: &Context<'_>) -> Result<Vec<Fine>, No> {
        Ok(Vec::new())
    }

    fn evolve(self, _: &Fine) -> Fragile {
        self
    }
}

/// Story: snapshots and state queries serialize a state outside of any decision, and a panic there ended the processor;
/// the command came again at the next start, and ended that one too. Now there is no snapshot, and the query is refused.
#[test]
fn a_state_whose_serde_code_panics_has_no_snapshot() {
    let service = Service::new().with::<Fragile>();
    let id: crate::model::AggregateId = "fragile/1".parse().unwrap();
    let folded = service.start(&id.kind).unwrap();
    assert_eq!(folded.state.to_json().unwrap_err().to_string(), "serialize fell over");
    assert!(service.snapshot(&id, &folded).is_none());
    let snapshot = crate::model::Snapshot { version: crate::model::Version(1), fold: 1, state: "{}".into() };
    assert!(service.resume(&id, &snapshot).is_none());
}
