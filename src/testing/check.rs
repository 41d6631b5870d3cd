//! What must hold of every aggregate, whatever it is about. A story checks it at each step, and nobody has to think of it.
//!
//! Commands and rejections have no `PartialEq`, so two of them are the same if their JSON is the same value and they look
//! the same to `Debug`: a field that is not written shows there. A `HashMap` shows its entries in any order, so an order
//! alone is no difference.

use std::collections::BTreeSet;
use std::fmt::{self, Debug};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::aggregate::{Aggregate, Context, EventTypes, name_and_data, read_variant};
use crate::client::{Prepared, RawCommand};
use crate::model::error::{caught, with_sources};
use crate::model::wording::named;
use crate::model::{CommandId, Decision, RecordedEvent, Rejection, Timestamp, Version, json};

/// What is wrong, with the evidence, and what mends it.
#[derive(Debug)]
pub(super) struct Culprit {
    what: String,
    evidence: Vec<(&'static str, String)>,
    remedy: &'static str,
}

impl Culprit {
    pub(super) fn new(what: impl Into<String>, remedy: &'static str) -> Culprit {
        Culprit { what: what.into(), evidence: Vec::new(), remedy }
    }

    pub(super) fn with(mut self, label: &'static str, shown: impl Into<String>) -> Culprit {
        self.evidence.push((label, shown.into()));
        self
    }
}

/// The place failed, and no aggregate.
impl From<String> for Culprit {
    fn from(trouble: String) -> Culprit {
        Culprit::new(trouble, "")
    }
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let width = self.evidence.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        for (label, shown) in &self.evidence {
            write!(f, "\n   {label:width$}  {shown}")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n{}", self.remedy)?;
        }
        Ok(())
    }
}

/// How a command was decided, as its aggregate's types can check it.
pub(super) struct Case<'a> {
    /// The events that were stored before.
    pub(super) before: &'a [RecordedEvent],
    pub(super) context: Context<'a>,
    /// What was recorded; `None`: nothing that `decide` would say again on this state.
    pub(super) decision: Option<&'a Decision>,
}

/// A command, its types out of sight.
pub(super) trait Asked {
    /// As it is sent.
    fn raw(
        &self,
        id: CommandId,
        expected: Option<Version>,
        not_after: Option<Timestamp>,
    ) -> Result<RawCommand, Culprit>;

    /// Whether it can be written down and read again.
    fn survives(&self) -> Result<(), Culprit>;

    /// Whether `decide` only says, says it again, and what it says can be recorded.
    fn decided(&self, case: &Case<'_>) -> Result<(), Culprit>;

    /// Whether the events of its aggregate fold as they should: see [`folds`].
    fn folds(&self, events: &[RecordedEvent], new: usize, informs: &BTreeSet<String>) -> Result<(), Culprit>;
}

impl<A: Aggregate> Asked for (crate::aggregate::Address<A>, A::Command) {
    fn raw(
        &self,
        id: CommandId,
        expected: Option<Version>,
        not_after: Option<Timestamp>,
    ) -> Result<RawCommand, Culprit> {
        let mut prepared = Prepared::new(self.0.clone(), self.1.clone()).id(id);
        if let Some(expected) = expected {
            prepared = prepared.expect(expected);
        }
        if let Some(time) = not_after {
            prepared = prepared.not_after(time);
        }
        prepared.into_raw().map_err(|error| Culprit::from(with_sources(&error)))
    }

    fn survives(&self) -> Result<(), Culprit> {
        survives("command", &self.1)
    }

    fn decided(&self, case: &Case<'_>) -> Result<(), Culprit> {
        let state: A = fold(case.before)?;
        let decide = || caught(|| state.decide(self.1.clone(), &case.context));
        let before = (format!("{state:?}"), text(&state));
        // It has panicked for the processor too, which has refused it.
        let Ok(said) = decide() else { return Ok(()) };
        let after = (format!("{state:?}"), text(&state));
        if before != after {
            let remedy = "`decide` says what would happen; only `evolve` lets it happen. Make an event of it.";
            let what = format!("`decide` has changed the state of {}", A::TYPE);
            return Err(Culprit::new(what, remedy).with("before", before.0).with("after", after.0));
        }
        let first = Said::of(&said)?;
        let again = decide().map_err(|panic| format!("`decide` panics the second time only: {panic}"))?;
        same_twice(A::TYPE, &first, &Said::of(&again)?)?;
        if let Some(recorded) = case.decision.and_then(Said::recorded) {
            same_twice(A::TYPE, &recorded, &first)?;
        }
        match said {
            Ok(events) => {
                events.iter().try_for_each(event_survives)?;
                let recorded = match case.decision {
                    Some(Decision::Accepted(recorded)) => recorded.as_slice(),
                    Some(Decision::Rejected(_)) | None => &[],
                };
                events.iter().zip(recorded).try_for_each(|(event, recorded)| todays_is_left_alone::<A>(event, recorded))
            }
            Err(rejection) => survives("rejection", &rejection),
        }
    }

    fn folds(&self, events: &[RecordedEvent], new: usize, informs: &BTreeSet<String>) -> Result<(), Culprit> {
        folds::<A>(events, new, informs)
    }
}

/// What `decide` said, as it is recorded.
#[derive(Debug)]
enum Said {
    Events(Vec<(String, Box<RawValue>)>),
    Rejection { reason: String, message: String, details: Box<RawValue> },
}

impl Said {
    fn of<E: Serialize, R: Serialize + fmt::Display>(said: &Result<Vec<E>, R>) -> Result<Said, Culprit> {
        let written = match said {
            Ok(events) => events.iter().map(name_and_data).collect::<Result<_, _>>().map(Said::Events),
            Err(rejection) => name_and_data(rejection).map(|(reason, details)| {
                let message = rejection.to_string();
                Said::Rejection { reason, message, details }
            }),
        };
        written.map_err(|error| Culprit::from(format!("what `decide` says does not become JSON: {error}")))
    }

    /// `None`: the protocol has said it, and `decide` was not asked.
    fn recorded(decision: &Decision) -> Option<Said> {
        match decision {
            Decision::Accepted(events) => {
                Some(Said::Events(events.iter().map(|event| (event.kind.clone(), event.data.clone())).collect()))
            }
            Decision::Rejected(Rejection { reason, .. }) if Rejection::RESERVED.contains(&reason.as_str()) => None,
            Decision::Rejected(Rejection { reason, message, details, .. }) => {
                let nothing = || RawValue::from_string("{}".to_owned()).expect("it is JSON");
                let (details, message) = (details.clone().unwrap_or_else(nothing), message.clone());
                Some(Said::Rejection { reason: reason.clone(), message, details })
            }
        }
    }

    fn is(&self, other: &Said) -> bool {
        let same = |left: &RawValue, right: &RawValue| json::same_value(left.get().as_bytes(), right.get().as_bytes());
        match (self, other) {
            (Said::Events(left), Said::Events(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && same(&left.1, &right.1))
            }
            (
                Said::Rejection { reason, message, details },
                Said::Rejection { reason: reason_too, message: message_too, details: details_too },
            ) => reason == reason_too && message == message_too && same(details, details_too),
            _ => false,
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Events(events) if events.is_empty() => write!(f, "{}", Decision::Accepted(Vec::new())),
            Said::Events(events) => {
                let events: Vec<String> = events.iter().map(|(kind, data)| named(kind, data.get())).collect();
                f.write_str(&events.join(", "))
            }
            Said::Rejection { reason, message, details } => write!(f, "rejected {reason} {details}: {message}"),
        }
    }
}

fn same_twice(kind: &str, first: &Said, second: &Said) -> Result<(), Culprit> {
    if first.is(second) {
        return Ok(());
    }
    let remedy = "A store must be decidable again. Take the time from `Context::time`, and what is drawn by chance from \
                  the command: its sender draws it.";
    let what = format!("`decide` of {kind} says something else about the same command and state the second time");
    Err(Culprit::new(what, remedy).with("first", first.to_string()).with("second", second.to_string()))
}

/// An event is also compared with its own `==`.
fn event_survives<E: Debug + PartialEq + Serialize + DeserializeOwned>(event: &E) -> Result<(), Culprit> {
    survives("event", event)?;
    let read: E = name_and_data(event)
        .and_then(|(name, data)| read_variant(&name, data.get().as_bytes()))
        .expect("it was read before");
    if read == *event {
        return Ok(());
    }
    Err(lost("event", &format!("{event:?}"), "", &format!("{read:?}")))
}

/// What was recorded a moment ago is read as whoever loads it reads it, and must be what was decided. No aggregate can make
/// it another: it would have been recorded with a schema that is not today's.
fn todays_is_left_alone<A: Aggregate>(event: &A::Event, recorded: &RecordedEvent) -> Result<(), Culprit> {
    let read = read_event::<A>(recorded)?;
    if read == *event {
        return Ok(());
    }
    let RecordedEvent { kind, schema, data } = recorded;
    let what = format!("an upcaster of {} changes an event of today, {kind:?}", A::TYPE);
    let culprit =
        Culprit::new(what, "It was recorded with an older schema than today's: a fault of hapax, not of yours.");
    let recorded = format!("schema {schema} {data}");
    Err(culprit.with("decided", format!("{event:?}")).with("recorded", recorded).with("read", format!("{read:?}")))
}

/// Events that a story is given, as they are recorded today.
pub(super) fn record<A: Aggregate>(events: &[A::Event]) -> Result<Vec<RecordedEvent>, Culprit> {
    let types = types::<A>()?;
    let mut recorded = Vec::with_capacity(events.len());
    for event in events {
        event_survives(event)?;
        let (kind, data) = name_and_data(event).expect("it was written before");
        recorded.push(RecordedEvent { schema: types.schema_today(&kind), kind, data });
    }
    Ok(recorded)
}

fn types<A: Aggregate>() -> Result<EventTypes, Culprit> {
    EventTypes::of::<A>().ok_or_else(|| Culprit::from(format!("the events of {} are no enum", A::TYPE)))
}

/// Whether a value of an enum can be written down and read again.
fn survives<T: Debug + Serialize + DeserializeOwned>(what: &str, value: &T) -> Result<(), Culprit> {
    let shown = format!("{value:?}");
    let (name, data) = name_and_data(value)
        .map_err(|error| Culprit::from(format!("the {what} {shown} does not become JSON: {error}")))?;
    let written = format!("{name} {}", data.get());
    let read: T = read_variant(&name, data.get().as_bytes()).map_err(|error| {
        let remedy = "What is written is what is read: put names on both sides alike (`rename`, not \
                      `rename(serialize = …)`).";
        Culprit::new(format!("the {what} {shown} cannot be read back"), remedy)
            .with("written", written.clone())
            .with("error", error.to_string())
    })?;
    let again = name_and_data(&read).ok();
    let same_json = again.is_some_and(|(name_again, data_again)| {
        name == name_again && json::same_value(data.get().as_bytes(), data_again.get().as_bytes())
    });
    let read = format!("{read:?}");
    if same_json && looks_the_same(&shown, &read) { Ok(()) } else { Err(lost(what, &shown, &written, &read)) }
}

fn lost(what: &str, value: &str, written: &str, read: &str) -> Culprit {
    let culprit = if looks_the_same(value, read) {
        let remedy = "Once read, it is written otherwise: what has no order of its own, as a `HashSet`, belongs in something \
                      sorted, as a `BTreeSet`.";
        Culprit::new(format!("the {what} is not always written alike"), remedy)
    } else {
        let remedy =
            "What is not written is lost with the process: remove `#[serde(skip)]`, or keep it out of the type.";
        Culprit::new(format!("the {what} does not survive its JSON"), remedy)
    };
    let culprit = culprit.with("value", value);
    let culprit = if written.is_empty() { culprit } else { culprit.with("written", written) };
    culprit.with("read back", read)
}

/// By their parts, if not by their order.
fn looks_the_same(left: &str, right: &str) -> bool {
    let parts = |text: &str| {
        let is_within = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
        let mut parts: Vec<String> =
            text.split(|letter| !is_within(letter)).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        parts.sort();
        parts
    };
    left == right || parts(left) == parts(right)
}

/// The state after these events, as it is folded from a store.
pub(super) fn fold<A: Aggregate>(events: &[RecordedEvent]) -> Result<A, Culprit> {
    events.iter().try_fold(A::default(), |state, event| Ok(state.evolve(&read_event::<A>(event)?)))
}

/// Whether states survive, and whether it does not matter at which of them a snapshot was made. `new` of the events, the
/// last ones, are looked at for the first time; those named in `informs` may leave the state alone.
pub(super) fn folds<A: Aggregate>(
    events: &[RecordedEvent],
    new: usize,
    informs: &BTreeSet<String>,
) -> Result<(), Culprit> {
    let typed = events.iter().map(read_event::<A>).collect::<Result<Vec<A::Event>, _>>()?;
    let mut states = vec![A::default()];
    for (event, recorded) in typed.iter().zip(events) {
        let (before, first) = (states[states.len() - 1].clone(), states.len() > events.len() - new);
        let state = before.clone().evolve(event);
        if first && state == before && !informs.contains(&recorded.kind) {
            let remedy = "If it was so already, `decide` returns no event; if the event only informs, say \
                          `.informs(\"…\")` at the head of the story.";
            let what = format!("`evolve` of {} forgets the event {:?}: the state is as it was", A::TYPE, recorded.kind);
            return Err(Culprit::new(what, remedy).with("event", recorded.data.get()).with("state", text(&state)));
        }
        states.push(state);
    }
    if let Some(state) = states.iter().find(|state| **state != (**state).clone()) {
        let remedy = "It has a number that is none (NaN), which JSON has no word for: keep that out of the state.";
        let what = format!("the state of {} is not equal to itself", A::TYPE);
        return Err(Culprit::new(what, remedy).with("state", format!("{state:?}")));
    }
    let whole = &states[events.len()];
    for (version, state) in states.iter().enumerate() {
        let resumed = typed[version..].iter().fold(state_survives(state)?, A::evolve);
        if resumed != *whole {
            let remedy = "`evolve` may depend on state and event only, and the state must be all that it needs.";
            let what =
                format!("a snapshot of {} at version {version} and the events behind it make another state", A::TYPE);
            let culprit = Culprit::new(what, remedy).with("folded", format!("{whole:?}"));
            return Err(culprit.with("resumed", format!("{resumed:?}")));
        }
    }
    Ok(())
}

/// As whoever loads the aggregate reads it.
fn read_event<A: Aggregate>(event: &RecordedEvent) -> Result<A::Event, Culprit> {
    types::<A>()?
        .read(event.borrowed())
        .map_err(|error| Culprit::from(format!("the event {:?} cannot be read: {}", event.kind, with_sources(&error))))
}

fn state_survives<A: Aggregate>(state: &A) -> Result<A, Culprit> {
    let (shown, written) = (format!("{state:?}"), text(state));
    let read: A = serde_json::from_str(&written).map_err(|error| {
        let remedy = "A snapshot of it could never be used: put names on both sides alike.";
        Culprit::new(format!("the state of {} cannot be read back", A::TYPE), remedy)
            .with("state", shown.clone())
            .with("written", written.clone())
            .with("error", error.to_string())
    })?;
    let same = read == *state && json::same_value(written.as_bytes(), text(&read).as_bytes());
    let read_shown = format!("{read:?}");
    if same && looks_the_same(&shown, &read_shown) {
        return Ok(read);
    }
    Err(lost("state", &shown, &written, &read_shown))
}

/// A value as JSON, or why it is none.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("no JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::looks_the_same;

    #[test]
    fn an_order_alone_is_no_difference() {
        let shown = r#"Rename { names: {"a": 1, "b": 2} }"#;
        assert!(looks_the_same(shown, r#"Rename { names: {"b": 2, "a": 1} }"#));
        assert!(!looks_the_same(shown, r#"Rename { names: {"b": 2} }"#));
        assert!(!looks_the_same(shown, r#"Rename { names: {"a": 1, "b": 3} }"#));
    }
}
