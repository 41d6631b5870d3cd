//! Events of older forms are read as today's, and what nobody has told how to read stops.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::*;
use crate::aggregate::parts::variants_of;
use crate::aggregate::upcast::EventTypes;
use crate::model::RecordedEvent;
use crate::model::error::with_sources;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Event {
    /// Schema 1 had `amount` in major units, schema 2 had no `means`.
    Deposited { minor: i64, means: String },
    /// Was called `ended` with schema 1.
    Closed,
    /// Has never changed.
    Frozen { by: String },
}

fn in_minor_units(mut fields: Map<String, Value>) -> Map<String, Value> {
    if let Some(amount) = fields.remove("amount").as_ref().and_then(Value::as_i64) {
        fields.insert("minor".into(), (amount * 100).into());
    }
    fields
}

fn in_cash(mut fields: Map<String, Value>) -> Map<String, Value> {
    fields.insert("means".into(), "cash".into());
    fields
}

const fn upcaster(event: &'static str, schema: u32, becomes: &'static str) -> Upcaster {
    Upcaster { event, schema, becomes, fields: |fields| fields }
}

const UPCASTERS: &[Upcaster] = &[
    Upcaster { fields: in_minor_units, ..upcaster("deposited", 1, "deposited") },
    Upcaster { fields: in_cash, ..upcaster("deposited", 2, "deposited") },
    upcaster("ended", 1, "closed"),
];

fn types(upcasters: &'static [Upcaster]) -> EventTypes {
    EventTypes::new(variants_of::<Event>().unwrap(), upcasters)
}

fn recorded(kind: &str, schema: u32, data: &str) -> RecordedEvent {
    RecordedEvent { kind: kind.into(), schema, data: serde_json::from_str(data).unwrap() }
}

fn read(kind: &str, schema: u32, data: &str) -> Result<Event, String> {
    types(UPCASTERS).read(recorded(kind, schema, data).borrowed()).map_err(|error| with_sources(&error))
}

#[test]
fn every_form_is_read_as_todays() {
    let deposited = Event::Deposited { minor: 700, means: "cash".into() };
    assert_eq!(read("deposited", 1, r#"{"amount":7}"#).as_ref(), Ok(&deposited));
    assert_eq!(read("deposited", 2, r#"{"minor":700}"#).as_ref(), Ok(&deposited));
    assert_eq!(read("deposited", 3, r#"{"minor":700,"means":"cash"}"#).as_ref(), Ok(&deposited));
    assert_eq!(read("ended", 1, "{}"), Ok(Event::Closed));
    assert_eq!(read("closed", 2, "{}"), Ok(Event::Closed));
    assert_eq!(read("frozen", 1, r#"{"by":"ann"}"#), Ok(Event::Frozen { by: "ann".into() }));
}

#[test]
fn todays_schema_is_behind_the_last_upcaster() {
    let today = |event| types(UPCASTERS).schema_today(event);
    assert_eq!((today("deposited"), today("closed"), today("frozen")), (3, 2, 1));
}

#[test]
fn an_upcast_event_is_as_it_would_be_recorded_today() {
    let upcast = |kind, schema, data| types(UPCASTERS).upcast(recorded(kind, schema, data).borrowed()).unwrap();
    let today = upcast("deposited", 1, r#"{"amount":7}"#);
    assert_eq!((&*today.kind, today.schema, today.data.get()), ("deposited", 3, r#"{"means":"cash","minor":700}"#));
    let today = upcast("ended", 1, "{}");
    assert_eq!((&*today.kind, today.schema, today.data.get()), ("closed", 2, "{}"));
    // What is today's already is left alone, byte for byte.
    assert_eq!(upcast("frozen", 1, r#"{ "by": 1e400 }"#).data.get(), r#"{ "by": 1e400 }"#);
}

#[test]
fn what_is_not_known_is_not_guessed() {
    assert_eq!(
        read("deposited", 4, r#"{"minor":700,"means":"cash"}"#).unwrap_err(),
        "this version knows deposited up to schema 3; it was made by a later version, run that one"
    );
    let unknown = "this version knows closed (schema 2), deposited (schemas 1 to 3), ended (schema 1), frozen (schema 1); \
                   it was made by a later version (run that one), or its variant was renamed or removed without an upcaster";
    assert_eq!(read("thawed", 1, "{}").unwrap_err(), unknown);
    assert_eq!(read("ended", 2, "{}").unwrap_err(), unknown);
    // `closed` has begun with schema 2.
    assert_eq!(read("closed", 1, "{}").unwrap_err(), "this version has no upcaster for closed from schema 1");
    assert_eq!(
        read("frozen", 0, r#"{"by":"ann"}"#).unwrap_err(),
        "this version has no upcaster for frozen from schema 0"
    );
    assert_eq!(read("frozen", 1, "{}").unwrap_err(), "its data does not fit: missing field `by` at line 1 column 2");
    assert!(read("deposited", 1, "7").unwrap_err().starts_with("its data does not fit: invalid type: integer"));
}

/// An upcaster is given a `Value`, which holds 64 bits: a rounded number would be a guess.
#[test]
fn an_integer_that_an_upcaster_would_round_is_not_given_to_it() {
    let said = read("deposited", 1, r#"{"amount":18446744073709551616}"#).unwrap_err();
    let expected = "18446744073709551616 in it is beyond 64 bits, which no upcaster can hold; let this type keep its form, and \
                    give the new one a variant of its own";
    assert_eq!(said, expected);
    let fits = r#"{"minor":-9223372036854775808,"other":18446744073709551615}"#;
    assert_eq!(types(UPCASTERS).upcast(recorded("deposited", 2, fits).borrowed()).unwrap().schema, 3);
    let text = r#"{"minor":7,"other":"18446744073709551616","fraction":1844674407370955161.6}"#;
    assert_eq!(types(UPCASTERS).upcast(recorded("deposited", 2, text).borrowed()).unwrap().schema, 3);
}

fn refused(upcasters: &'static [Upcaster]) -> String {
    types(upcasters).check().expect_err("a form is left out")
}

#[test]
fn upcasters_leave_no_form_out() {
    assert_eq!(types(UPCASTERS).check(), Ok(()));
    assert_eq!(types(&[]).check(), Ok(()));
    assert_eq!(
        refused(const { &[upcaster("frozen", 2, "frozen")] }),
        "frozen has schema 3, and no upcaster from schema 1"
    );
    assert_eq!(
        refused(const { &[upcaster("frozen", 1, "frozen"), upcaster("frozen", 3, "frozen")] }),
        "frozen has schema 4, and no upcaster from schema 2"
    );
    assert_eq!(
        refused(const { &[upcaster("frozen", 1, "frozen"), upcaster("frozen", 1, "closed")] }),
        "frozen has two upcasters from schema 1"
    );
    assert_eq!(
        refused(const { &[upcaster("frozen", 0, "frozen")] }),
        "the upcaster of frozen from schema 0: schemas begin with 1"
    );
    assert_eq!(
        refused(const { &[upcaster("ended", 1, "finished")] }),
        "ended becomes finished with schema 2, which no variant of Event is"
    );
    assert_eq!(
        refused(const { &[upcaster("ended", 2, "closed")] }),
        "ended has schema 2, and no upcaster from schema 1"
    );
    // Two names became one, which had a form of its own before, and a later one.
    const MERGED: &[Upcaster] =
        &[upcaster("ended", 1, "closed"), upcaster("closed", 1, "closed"), upcaster("closed", 2, "closed")];
    assert_eq!(types(MERGED).check(), Ok(()));
    const LEFT_OUT: &[Upcaster] = &[MERGED[0], MERGED[1], upcaster("ended", 2, "closed")];
    assert_eq!(refused(LEFT_OUT), "closed has schema 3, and no upcaster from schema 2");
    // A name that came from another, and got yet another.
    assert_eq!(types(const { &[upcaster("begun", 1, "ended"), upcaster("ended", 2, "closed")] }).check(), Ok(()));
}
