//! Which form was an event recorded in, and what is that today?
//!
//! An event is a fact and stays as it was recorded, for ever: in the store, in replies, in the feed. What changes is the
//! code that reads it. So an event carries its type and its schema version, and where its aggregate's code has changed
//! the form of a type, an [`Upcaster`] turns the old form into the next one, whenever such an event is read. `decide` and
//! `evolve` know today's form only.
//!
//! What nobody has told how to read is never guessed at: an event of an unknown type or of a later schema stops whoever
//! reads it, with what is known here.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Aggregate;
use super::parts::{read_variant, variants_of};
use crate::model::json::beyond_64_bits;
use crate::model::{EventRef, RecordedEvent};

/// The schema version of a type of event whose form has never changed.
const FIRST_SCHEMA: u32 = 1;

/// Turns one form of an event into the next: schema 1 into 2, 2 into 3. An aggregate lists its own in
/// [`Aggregate::UPCASTERS`].
///
/// ```
/// use hapax::Upcaster;
/// use serde_json::{Map, Value};
///
/// /// Until then every deposit was in cash.
/// fn in_cash(mut fields: Map<String, Value>) -> Map<String, Value> {
///     fields.insert("means".to_owned(), "cash".into());
///     fields
/// }
///
/// const UPCASTERS: &[Upcaster] = &[
///     Upcaster { event: "deposited", schema: 1, becomes: "deposited", fields: in_cash },
///     // A variant got another name: what is recorded under the old one is schema 2 of the new one.
///     Upcaster { event: "ended", schema: 1, becomes: "closed", fields: |fields| fields },
/// ];
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The type, as it was recorded.
    pub event: &'static str,
    /// The schema that is turned into the next one.
    pub schema: u32,
    /// The type that it becomes: the same one, unless the variant was renamed.
    pub becomes: &'static str,
    /// Its fields in the next schema. Pure, as `evolve` is: it sees this event and nothing else. An event with an integer
    /// beyond 64 bits is not given to it, since a `Value` would round it ([`EventError::TooLarge`]).
    pub fields: fn(Map<String, Value>) -> Map<String, Value>,
}

/// Why a recorded event cannot be read. Never to be passed over: what follows would stand on a guess.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// This code knows the type, but no form of it that is as new.
    #[error("this version knows {event} up to schema {newest}; it was made by a later version, run that one")]
    LaterSchema {
        /// The type.
        event: String,
        /// Its schema today.
        newest: u32,
    },
    /// This code has no such type.
    #[error(
        "this version knows {known}; it was made by a later version (run that one), or its variant was renamed or \
         removed without an upcaster"
    )]
    UnknownType {
        /// Types and schemas that can be read.
        known: String,
    },
    /// This code knows the type, but not this old form of it.
    #[error("this version has no upcaster for {event} from schema {schema}")]
    NoUpcaster {
        /// The type.
        event: String,
        /// The schema.
        schema: u32,
    },
    /// It has an integer that an upcaster would be given rounded.
    #[error(
        "{number} in it is beyond 64 bits, which no upcaster can hold; let this type keep its form, and give the new one a \
         variant of its own"
    )]
    TooLarge {
        /// The integer.
        number: String,
    },
    /// It has fields of its own instead of those of its schema: they were changed, and its schema was not.
    #[error("its data does not fit")]
    Data(#[from] serde_json::Error),
}

/// The types of event that an aggregate's code knows, and their forms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventTypes {
    /// The names of today's variants.
    variants: &'static [&'static str],
    upcasters: &'static [Upcaster],
}

impl EventTypes {
    /// Those of an aggregate; `None`: its events are not an externally tagged enum.
    pub(crate) fn of<A: Aggregate>() -> Option<EventTypes> {
        Some(EventTypes::new(variants_of::<A::Event>()?, A::UPCASTERS))
    }

    /// Those with these names today, and with these upcasters.
    pub(super) fn new(variants: &'static [&'static str], upcasters: &'static [Upcaster]) -> EventTypes {
        EventTypes { variants, upcasters }
    }

    /// The schema that a type of event has today, and is recorded with.
    pub(crate) fn schema_today(&self, event: &str) -> u32 {
        let of_it = self.upcasters.iter().filter(|upcaster| upcaster.event == event || upcaster.becomes == event);
        of_it.map(|upcaster| upcaster.schema + 1).max().unwrap_or(FIRST_SCHEMA)
    }

    /// Reads a recorded event, of whatever schema, as today's type `E`.
    pub(crate) fn read<E: DeserializeOwned>(&self, event: EventRef<'_>) -> Result<E, EventError> {
        if self.is_todays(&event.kind, event.schema) {
            return Ok(read_variant(&event.kind, event.data.get().as_bytes())?);
        }
        let event = self.upcast(event)?;
        Ok(read_variant(&event.kind, event.data.get().as_bytes())?)
    }

    /// A recorded event in today's form.
    pub(crate) fn upcast(&self, event: EventRef<'_>) -> Result<RecordedEvent, EventError> {
        let EventRef { mut kind, mut schema, data } = event;
        let mut fields: Option<Map<String, Value>> = None;
        while let Some(upcaster) = self.upcaster(&kind, schema) {
            let before = match fields.take() {
                Some(fields) => fields,
                None => match beyond_64_bits(data.get()) {
                    Some(number) => return Err(EventError::TooLarge { number }),
                    None => serde_json::from_str(data.get())?,
                },
            };
            fields = Some((upcaster.fields)(before));
            (kind, schema) = (Cow::Borrowed(upcaster.becomes), schema + 1);
        }
        if !self.is_todays(&kind, schema) {
            return Err(self.unknown(kind.into_owned(), schema));
        }
        let data = match fields {
            Some(fields) => serde_json::value::to_raw_value(&fields)?,
            None => data.to_owned(),
        };
        Ok(RecordedEvent { kind: kind.into_owned(), schema, data })
    }

    fn upcaster(&self, event: &str, schema: u32) -> Option<&Upcaster> {
        self.upcasters.iter().find(|upcaster| upcaster.event == event && upcaster.schema == schema)
    }

    fn is_todays(&self, event: &str, schema: u32) -> bool {
        self.variants.contains(&event) && schema == self.schema_today(event)
    }

    fn unknown(&self, event: String, schema: u32) -> EventError {
        if !self.variants.contains(&event.as_str()) {
            return EventError::UnknownType { known: self.known() };
        }
        match self.schema_today(&event) {
            newest if newest < schema => EventError::LaterSchema { event, newest },
            _ => EventError::NoUpcaster { event, schema },
        }
    }

    /// What can be read, for whoever has something else: `cancelled (schemas 1 to 2), paid (schema 1)`.
    fn known(&self) -> String {
        let forms = self.names().into_iter().map(|event| match (self.oldest(event), self.newest(event)) {
            (oldest, newest) if oldest < newest => format!("{event} (schemas {oldest} to {newest})"),
            (_, newest) => format!("{event} (schema {newest})"),
        });
        forms.collect::<Vec<_>>().join(", ")
    }

    /// The names that types of event have, or had when they were recorded.
    fn names(&self) -> BTreeSet<&'static str> {
        self.variants.iter().copied().chain(self.upcasters.iter().map(|upcaster| upcaster.event)).collect()
    }

    /// The schema with which a name begins. A name that a rename led to begins with what was renamed.
    fn oldest(&self, event: &str) -> u32 {
        let renamed = self.upcasters.iter().filter(|upcaster| upcaster.becomes == event && upcaster.event != event);
        let Some(renamed) = renamed.map(|upcaster| upcaster.schema + 1).min() else { return FIRST_SCHEMA };
        let own = self.upcasters.iter().filter(|upcaster| upcaster.event == event);
        own.map(|upcaster| upcaster.schema).min().map_or(renamed, |own| own.min(renamed))
    }

    /// The last schema that a name has: today's of a variant, else the one under which it got another name.
    fn newest(&self, event: &str) -> u32 {
        let today = self.schema_today(event);
        if self.variants.contains(&event) { today } else { today - 1 }
    }

    /// What is wrong with the upcasters, for their author: every form from the first to today's must be one that can be
    /// read, in one way.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (index, Upcaster { event, schema, becomes, .. }) in self.upcasters.iter().enumerate() {
            if *schema < FIRST_SCHEMA {
                return Err(format!("the upcaster of {event} from schema {schema}: schemas begin with {FIRST_SCHEMA}"));
            }
            if self.upcasters[..index].iter().any(|other| other.event == *event && other.schema == *schema) {
                return Err(format!("{event} has two upcasters from schema {schema}"));
            }
            let next = schema + 1;
            if !self.variants.contains(becomes) && self.upcaster(becomes, next).is_none() {
                return Err(format!("{event} becomes {becomes} with schema {next}, which no variant of Event is"));
            }
        }
        for event in self.names() {
            let newest = self.newest(event);
            let upcast = if self.variants.contains(&event) { newest } else { newest + 1 };
            if let Some(gap) = (self.oldest(event)..upcast).find(|schema| self.upcaster(event, *schema).is_none()) {
                return Err(format!("{event} has schema {newest}, and no upcaster from schema {gap}"));
            }
        }
        Ok(())
    }
}
