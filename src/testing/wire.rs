//! How does an aggregate look on the wire?
//!
//! Commands wait in streams and in outboxes, events lie in stores for ever, and clients read rejections: a field that gets
//! another name in the code is a broken replay, long after the tests of that day have passed. As a snapshot, it is a red
//! line before it is merged.

use std::fmt::Debug;
use std::fmt::Write;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::aggregate::{Aggregate, EventTypes, name_and_data, read_variant, variants_of};
use crate::model::RecordedEvent;
use crate::model::error::with_sources;

/// At least one value of every variant of an aggregate's commands, events and rejections.
#[derive(Debug)]
pub struct Samples<A: Aggregate> {
    /// Of `Command`.
    pub commands: Vec<A::Command>,
    /// Of `Event`.
    pub events: Vec<A::Event>,
    /// Of `Rejection`.
    pub rejections: Vec<A::Rejection>,
}

/// One text with all samples as they are on the wire: name, schema, fields, and what a rejection says. `recorded` holds
/// events as they were recorded once, one JSON object a line, as in a reply's `events`: a line for each schema that has an
/// upcaster, and for today's if you like. Lines are added when a schema is, and never changed.
///
/// ```
/// # use hapax::testing::{Samples, wire};
/// # use hapax::{Aggregate, Context};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
/// # struct Door { is_open: bool }
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # enum Command { Open { by: String } }
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// # enum Event { Opened { by: String } }
/// # #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
/// # enum Rejection { #[error("it is open")] IsOpen }
/// # impl Aggregate for Door {
/// #     const TYPE: &'static str = "door";
/// #     type Command = Command;
/// #     type Event = Event;
/// #     type Rejection = Rejection;
/// #     fn decide(&self, Command::Open { by }: Command, _: &Context<'_>) -> Result<Vec<Event>, Rejection> {
/// #         if self.is_open { Err(Rejection::IsOpen) } else { Ok(vec![Event::Opened { by }]) }
/// #     }
/// #     fn evolve(self, _: &Event) -> Door { Door { is_open: true } }
/// # }
/// let samples = Samples::<Door> {
///     commands: vec![Command::Open { by: "ann".into() }],
///     events: vec![Event::Opened { by: "ann".into() }],
///     rejections: vec![Rejection::IsOpen],
/// };
/// let text = wire(&samples, r#"{"type":"Opened","schema":1,"data":{"by":"ann"}}"#);
/// assert_eq!(text, r#"door
///
/// command    Open {"by":"ann"}
/// event      Opened, schema 1 {"by":"ann"}
/// rejection  IsOpen {} "it is open"
///
/// recorded   Opened, schema 1 {"by":"ann"}
/// "#); // or insta::assert_snapshot!(text)
/// ```
///
/// # Panics
/// With a message for the author, if a variant has no sample, a sample does not survive its JSON, an upcaster has no line
/// of `recorded` that needs it, or a line cannot be read today, or not in full.
pub fn wire<A: Aggregate>(samples: &Samples<A>, recorded: &str) -> String {
    let types = EventTypes::of::<A>().unwrap_or_else(|| panic!("{}: Event is not an externally tagged enum", A::TYPE));
    if let Err(why) = types.check() {
        panic!("{}: Aggregate::UPCASTERS: {why}", A::TYPE);
    }
    let mut text = format!("{}\n\n", A::TYPE);
    for Sample { name, data, .. } in all_of(A::TYPE, "Command", &samples.commands) {
        add(&mut text, format_args!("command    {name} {data}"));
    }
    for Sample { name, data, .. } in all_of(A::TYPE, "Event", &samples.events) {
        let schema = types.schema_today(&name);
        add(&mut text, format_args!("event      {name}, schema {schema} {data}"));
    }
    for Sample { name, data, value } in all_of(A::TYPE, "Rejection", &samples.rejections) {
        add(&mut text, format_args!("rejection  {name} {data} {:?}", value.to_string()));
    }
    let recorded: Vec<RecordedEvent> = recorded.lines().filter(|line| !line.trim().is_empty()).map(read_line).collect();
    if !recorded.is_empty() {
        text.push('\n');
    }
    for event in &recorded {
        add(&mut text, read_today::<A>(&types, event));
    }
    for upcaster in A::UPCASTERS {
        let is_used = |event: &RecordedEvent| event.kind == upcaster.event && event.schema == upcaster.schema;
        assert!(
            recorded.iter().any(is_used),
            "{}: no recorded event is a {} of schema {}, which has an upcaster: add a line as it was recorded",
            A::TYPE,
            upcaster.event,
            upcaster.schema
        );
    }
    text
}

fn add(text: &mut String, line: impl std::fmt::Display) {
    writeln!(text, "{line}").expect("a String takes everything");
}

/// A value and its form.
struct Sample<'a, T> {
    name: String,
    data: Box<RawValue>,
    value: &'a T,
}

/// The samples in the order of their variants. Each variant must have one, and each must come back as it was.
fn all_of<'a, T: Debug + Serialize + DeserializeOwned>(kind: &str, what: &str, values: &'a [T]) -> Vec<Sample<'a, T>> {
    let variants = variants_of::<T>()
        .unwrap_or_else(|| panic!("{kind}: {what} is not an externally tagged enum (serde's default)"));
    let mut samples: Vec<Sample<'_, T>> = values.iter().map(|value| sample(kind, what, value)).collect();
    let place = |name: &str| variants.iter().position(|variant| *variant == name);
    samples.sort_by_key(|sample| place(&sample.name));
    for variant in variants {
        // A second name that serde reads a variant by is none of its own.
        let is_alias = |Sample { name, data, .. }: &Sample<'_, T>| {
            let read = read_variant::<T>(variant, data.get().as_bytes());
            read.and_then(|value| name_and_data(&value)).is_ok_and(|(written, _)| written == *name && name != variant)
        };
        assert!(
            samples.iter().any(|sample| sample.name == *variant || is_alias(sample)),
            "{kind}: {what} has the variant {variant}, and no sample of it"
        );
    }
    samples
}

fn sample<'a, T: Debug + Serialize + DeserializeOwned>(kind: &str, what: &str, value: &'a T) -> Sample<'a, T> {
    let fail = |why: String| -> ! { panic!("{kind}: {what} {value:?} does not survive its JSON: {why}") };
    let (name, data) = name_and_data(value).unwrap_or_else(|error| fail(error.to_string()));
    let again: T = read_variant(&name, data.get().as_bytes()).unwrap_or_else(|error| fail(error.to_string()));
    // By what is seen of it, since neither commands nor rejections can be compared.
    if format!("{again:?}") != format!("{value:?}") {
        fail(format!("it comes back as {again:?}"));
    }
    Sample { name, data, value }
}

fn read_line(line: &str) -> RecordedEvent {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("no recorded event: {error}: {line}"))
}

/// A recorded event, and what it is today. Whatever its form has must be in today's, and nothing else.
fn read_today<A: Aggregate>(types: &EventTypes, event: &RecordedEvent) -> String {
    let RecordedEvent { kind, schema, data } = event;
    let fail = |why: &dyn std::error::Error| -> ! {
        panic!(
            "{}: {kind} of schema {schema}, recorded as {data}, cannot be read: {}. What is recorded stays as it is: \
             leave the form alone, or add an upcaster from schema {schema}",
            A::TYPE,
            with_sources(why)
        )
    };
    let value: A::Event = types.read(event.borrowed()).unwrap_or_else(|error| fail(&error));
    let today = types.upcast(event.borrowed()).unwrap_or_else(|error| fail(&error));
    let (name, written) = name_and_data(&value).unwrap_or_else(|error| fail(&error));
    let same = |one: &RawValue, other: &RawValue| {
        let read = |json: &RawValue| serde_json::from_str::<Value>(json.get()).ok();
        read(one) == read(other)
    };
    assert!(
        name == today.kind && same(&today.data, &written),
        "{}: {kind} of schema {schema}, recorded as {data}, is {name} {written} today, and should be {} {}: something of \
         it is lost or made up",
        A::TYPE,
        today.kind,
        today.data
    );
    let line = format!("recorded   {kind}, schema {schema} {data}");
    if (&today.kind, today.schema) == (kind, *schema) {
        return line;
    }
    format!("{line}\n  today    {}, schema {} {}", today.kind, today.schema, today.data)
}
