//! An enum as the wire has it: the variant's name in one place (subject, `type`, `reason`), its fields as JSON in another.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, VariantAccess, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::value::RawValue;

use crate::model::json::only_member;

/// Reads the variant `name` with the fields `data`. A variant without fields takes `{}`.
pub(crate) fn read_variant<T: DeserializeOwned>(name: &str, data: &[u8]) -> Result<T, serde_json::Error> {
    T::deserialize(Parts { name, data })
}

/// Splits a value into its variant's name and the JSON of its fields; `{}` for a variant without any.
pub(crate) fn name_and_data<T: Serialize>(value: &T) -> Result<(String, Box<RawValue>), serde_json::Error> {
    let json = serde_json::value::to_raw_value(value)?;
    if json.get().starts_with('"') {
        return Ok((serde_json::from_str(json.get())?, serde_json::value::to_raw_value(&serde_json::Map::new())?));
    }
    match only_member(json.get()) {
        Some((name, data)) => Ok((name.into_owned(), data.to_owned())),
        None => Err(serde_json::Error::custom("not an externally tagged enum")),
    }
}

/// The names of an enum's variants, asked from its own `Deserialize`; `None` if it is not an externally tagged enum.
/// With them an unknown command is told from a malformed one without reading error texts.
pub(crate) fn variants_of<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut variants = None;
    // The probe answers every question with an error, so there is never a value.
    let _no_value = T::deserialize(Probe(&mut variants));
    variants
}

struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, serde_json::Error> {
        Err(serde_json::Error::custom("a probe has no value"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, serde_json::Error> {
        *self.0 = Some(variants);
        Err(serde_json::Error::custom("a probe has no value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Parts<'a> {
    name: &'a str,
    data: &'a [u8],
}

impl<'de> Deserializer<'de> for Parts<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, serde_json::Error> {
        Err(serde_json::Error::custom("commands, events and rejections are externally tagged enums"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Parts<'de> {
    type Error = serde_json::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), serde_json::Error> {
        let name: StrDeserializer<'_, serde_json::Error> = serde::de::IntoDeserializer::into_deserializer(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Parts<'de> {
    type Error = serde_json::Error;

    fn unit_variant(self) -> Result<(), serde_json::Error> {
        let members: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_slice(self.data)?;
        match members.into_keys().next() {
            None => Ok(()),
            Some(member) => {
                Err(serde_json::Error::custom(format_args!("unknown field `{member}`, there are no fields")))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(self.data);
        let value = seed.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(self.data);
        let value = (&mut json).deserialize_tuple(len, visitor)?;
        json.end()?;
        Ok(value)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(self.data);
        let value = (&mut json).deserialize_struct("", fields, visitor)?;
        json.end()?;
        Ok(value)
    }
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
