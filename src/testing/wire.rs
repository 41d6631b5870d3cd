//! How does an aggregate look on the wire?
//!
//! Commands wait in streams and in outboxes, events lie in stores for ever, and so do rejections, which clients read: a
//! field that gets another name in the code is a broken replay, long after the tests of that day have passed. As a snapshot
//! it is a red line before it is merged; and beside the forms that were recorded once, it cannot be merged at all.

use std::fmt::Debug;
use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
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
/// what was recorded once, a JSON object a line: a command as in a batch (`command`, `data`), an event as in a reply's
/// `events`, a rejection as a reply's `error`. There is a line for every form that there ever was, today's too; whoever
/// makes a new form adds one, and none is ever changed.
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
/// let text = wire(&samples, r#"
/// {"command":"Open","data":{"by":"ann"}}
/// {"type":"Opened","schema":1,"data":{"by":"ann"}}
/// {"reason":"IsOpen","message":"it is open"}
/// "#);
/// assert_eq!(text, r#"door
///
/// command    Open {"by":"ann"}
/// event      Opened, schema 1 {"by":"ann"}
/// rejection  IsOpen {} "it is open"
///
/// recorded   command Open {"by":"ann"}
/// recorded   event Opened, schema 1 {"by":"ann"}
/// recorded   rejection IsOpen {} "it is open"
/// "#); // or insta::assert_snapshot!(text)
/// ```
///
/// # Panics
/// With a message for the author: if a variant has no sample, a sample does not survive its JSON, a form has no line in
/// `recorded`, or a line cannot be read today, or not in full.
pub fn wire<A: Aggregate>(samples: &Samples<A>, recorded: &str) -> String {
    let types = EventTypes::of::<A>().unwrap_or_else(|| panic!("{}: Event is not an externally tagged enum", A::TYPE));
    if let Err(why) = types.check() {
        panic!("{}: Aggregate::UPCASTERS: {why}", A::TYPE);
    }
    let today = Today::<A> {
        commands: all_of(A::TYPE, "Command", &samples.commands),
        events: all_of(A::TYPE, "Event", &samples.events),
        rejections: all_of(A::TYPE, "Rejection", &samples.rejections),
    };
    let mut text = format!("{}\n\n", A::TYPE);
    for Sample { name, data, .. } in &today.commands {
        add(&mut text, format_args!("command    {name} {data}"));
    }
    for Sample { name, data, .. } in &today.events {
        add(&mut text, format_args!("event      {name}, schema {} {data}", types.schema_today(name)));
    }
    for Sample { name, data, value } in &today.rejections {
        add(&mut text, format_args!("rejection  {name} {data} {:?}", value.to_string()));
    }
    text.push('\n');
    let recorded: Vec<Recorded> = recorded.lines().filter(|line| !line.trim().is_empty()).map(read_line).collect();
    let mut are_todays = Vec::new();
    for form in &recorded {
        let (line, is_todays) = read_today::<A>(&types, form);
        add(&mut text, line);
        are_todays.extend(is_todays.then_some(form));
    }
    for upcaster in A::UPCASTERS {
        let is_used = |form: &Recorded| matches!(form, Recorded::Event(event) if event.kind == upcaster.event && event.schema == upcaster.schema);
        assert!(
            recorded.iter().any(is_used),
            "{}: no recorded event is a {} of schema {}, which has an upcaster: add a line as it was recorded",
            A::TYPE,
            upcaster.event,
            upcaster.schema
        );
    }
    let missing = today.without_line(&types, &are_todays);
    assert!(missing.is_empty(), "{}: add to what was recorded, and never change it:\n{}", A::TYPE, missing.join("\n"));
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

/// Every form that today's code writes.
struct Today<'a, A: Aggregate> {
    commands: Vec<Sample<'a, A::Command>>,
    events: Vec<Sample<'a, A::Event>>,
    rejections: Vec<Sample<'a, A::Rejection>>,
}

impl<A: Aggregate> Today<'_, A> {
    /// The lines of those that nobody has recorded yet.
    fn without_line(&self, types: &EventTypes, recorded: &[&Recorded]) -> Vec<String> {
        let mut missing = Vec::new();
        for Sample { name, data, .. } in &self.commands {
            if !recorded.iter().any(|form| matches!(form, Recorded::Command { name: recorded, .. } if recorded == name))
            {
                missing.push(format!(r#"{{"command":"{name}","data":{data}}}"#));
            }
        }
        for Sample { name, data, .. } in &self.events {
            if !recorded.iter().any(|form| matches!(form, Recorded::Event(event) if event.kind == *name)) {
                let schema = types.schema_today(name);
                missing.push(format!(r#"{{"type":"{name}","schema":{schema},"data":{data}}}"#));
            }
        }
        for Sample { name, data, value } in &self.rejections {
            if !recorded.iter().any(|form| matches!(form, Recorded::Rejection { reason, .. } if reason == name)) {
                let message = Value::from(value.to_string());
                missing.push(format!(r#"{{"reason":"{name}","message":{message},"details":{data}}}"#));
            }
        }
        missing
    }
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

/// What was recorded once.
enum Recorded {
    Command { name: String, data: Box<RawValue> },
    Event(RecordedEvent),
    Rejection { reason: String, message: String, details: Box<RawValue> },
}

/// The union of all lines: an enum without a tag would buffer, and a buffered `RawValue` cannot be read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineForm {
    command: Option<String>,
    #[serde(rename = "type")]
    event: Option<String>,
    schema: Option<u32>,
    data: Option<Box<RawValue>>,
    reason: Option<String>,
    message: Option<String>,
    details: Option<Box<RawValue>>,
}

fn read_line(line: &str) -> Recorded {
    let form: LineForm = serde_json::from_str(line).unwrap_or_else(|error| panic!("nothing recorded: {error}: {line}"));
    let nothing = || RawValue::from_string("{}".to_owned()).expect("it is JSON");
    match form {
        LineForm {
            command: Some(name),
            data,
            event: None,
            schema: None,
            reason: None,
            message: None,
            details: None,
        } => Recorded::Command { name, data: data.unwrap_or_else(nothing) },
        LineForm {
            event: Some(kind),
            schema: Some(schema),
            data: Some(data),
            command: None,
            reason: None,
            message: None,
            details: None,
        } => Recorded::Event(RecordedEvent { kind, schema, data }),
        LineForm {
            reason: Some(reason),
            message: Some(message),
            details,
            command: None,
            event: None,
            schema: None,
            data: None,
        } => Recorded::Rejection { reason, message, details: details.unwrap_or_else(nothing) },
        _ => panic!("neither a command, nor an event, nor a rejection: {line}"),
    }
}

/// The line of what was recorded once, and what it is today; and whether today's code writes it so.
fn read_today<A: Aggregate>(types: &EventTypes, recorded: &Recorded) -> (String, bool) {
    let (line, today) = match recorded {
        Recorded::Event(event) => {
            let line = format!("event {}, schema {} {}", event.kind, event.schema, event.data);
            (line, event_today::<A>(types, event))
        }
        Recorded::Command { name, data } => {
            (format!("command {name} {data}"), form_today::<A, A::Command>("command", name, data))
        }
        Recorded::Rejection { reason, message, details } => {
            let line = format!("rejection {reason} {details} {message:?}");
            (line, form_today::<A, A::Rejection>("rejection", reason, details))
        }
    };
    match today {
        None => (format!("recorded   {line}"), true),
        Some(today) => (format!("recorded   {line}\n  today    {today}"), false),
    }
}

/// What a recorded event is today; `None`: the same. Whatever its form has must be in today's, and nothing else.
fn event_today<A: Aggregate>(types: &EventTypes, event: &RecordedEvent) -> Option<String> {
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
    assert!(
        name == today.kind && parsed(&today.data) == parsed(&written),
        "{}: {kind} of schema {schema}, recorded as {data}, is {name} {written} today, and should be {} {}: something of \
         it is lost or made up",
        A::TYPE,
        today.kind,
        today.data
    );
    let is_todays = (&today.kind, today.schema) == (kind, *schema);
    (!is_todays).then(|| format!("{}, schema {} {}", today.kind, today.schema, today.data))
}

/// What a recorded command or rejection is today; `None`: the same. They have no upcasters, but serde reads a second name
/// for the same value, and what is new may have a default: so every value that was recorded must still be there, under
/// whichever name.
fn form_today<A: Aggregate, T: Serialize + DeserializeOwned>(
    what: &str,
    name: &str,
    data: &RawValue,
) -> Option<String> {
    let read = read_variant::<T>(name, data.get().as_bytes()).and_then(|value| name_and_data(&value));
    let (name_today, today) = read.unwrap_or_else(|error| {
        panic!(
            "{}: the {what} {name}, recorded as {data}, cannot be read: {error}. What is recorded stays as it is: leave the \
             form alone, or let the old name be read too, `#[serde(alias = \"…\")]`",
            A::TYPE
        )
    });
    let (recorded, written) = (parsed(data), parsed(&today));
    if name == name_today && recorded == written {
        return None;
    }
    let mut left = leaves(&written);
    let is_kept =
        |leaf: &Value| left.iter().position(|kept| kept == leaf).map(|place| left.swap_remove(place)).is_some();
    assert!(
        leaves(&recorded).iter().all(is_kept),
        "{}: the {what} {name}, recorded as {data}, is {name_today} {today} today: something of it is lost",
        A::TYPE
    );
    Some(format!("{name_today} {today}"))
}

fn parsed(json: &RawValue) -> Value {
    serde_json::from_str(json.get()).expect("a RawValue is JSON")
}

/// The values in it that have no parts.
fn leaves(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(members) => members.values().flat_map(leaves).collect(),
        Value::Array(items) => items.iter().flat_map(leaves).collect(),
        leaf => vec![leaf.clone()],
    }
}
