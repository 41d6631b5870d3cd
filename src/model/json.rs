//! JSON as the contract compares it: objects without order of keys, white space ignored, strings by code points,
//! numbers by their text (1 and 1.0 differ), duplicate keys malformed.
//!
//! `serde_json::Value` would lose big integers, take the last of duplicate keys and refuse 1e400, so values are read
//! through `RawValue`, which keeps the text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::limits::JSON_DEPTH_MAX;

/// Why a body is not one that can be recorded. `Display` says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// Not an object: a command has fields.
    #[error("not a JSON object")]
    NotAnObject,
    /// The same key twice in one object: readers would disagree which one counts.
    #[error("the key {0:?} comes twice in one object")]
    DuplicateKey(String),
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    #[error("nested deeper than {JSON_DEPTH_MAX}")]
    TooDeep,
}

/// A parsed value that compares as the contract says.
#[derive(PartialEq, Hash)]
pub(super) enum Tree<'a> {
    /// `null`, `true`, `false` or a number, by its text.
    Literal(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Tree<'a>>),
    Object(BTreeMap<Cow<'a, str>, Tree<'a>>),
}

impl<'a> Tree<'a> {
    /// What is no JSON, or nested too deep, is one literal, of which nobody looks at the parts.
    pub(super) fn of(text: &'a str) -> Tree<'a> {
        parse(text.as_bytes()).unwrap_or(Tree::Literal(text))
    }

    /// A literal's syntax must have been looked at; that of everything else is looked at here.
    fn parse(text: &'a str, depth: usize) -> Result<Tree<'a>, JsonError> {
        if depth > JSON_DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        let text = trimmed(text);
        match text.as_bytes().first() {
            Some(b'{') => {
                let members: Members<'a> = read(text)?;
                let mut object = BTreeMap::new();
                for (key, value) in members.0 {
                    if object.contains_key(&key) {
                        return Err(JsonError::DuplicateKey(key.into_owned()));
                    }
                    object.insert(key, Tree::parse(value.get(), depth + 1)?);
                }
                Ok(Tree::Object(object))
            }
            Some(b'[') => {
                let items: Vec<&'a RawValue> = read(text)?;
                items
                    .into_iter()
                    .map(|item| Tree::parse(item.get(), depth + 1))
                    .collect::<Result<_, _>>()
                    .map(Tree::Array)
            }
            Some(b'"') => read(text).map(|string: Text<'a>| Tree::String(string.0)),
            _ => Ok(Tree::Literal(text)),
        }
    }
}

/// As it was written, but for white space and the order of keys.
impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tree::Literal(text) => match serde_json::from_str::<&RawValue>(text) {
                Ok(raw) => raw.serialize(serializer),
                Err(_) => text.serialize(serializer),
            },
            Tree::String(text) => text.serialize(serializer),
            Tree::Array(items) => items.serialize(serializer),
            Tree::Object(members) => members.serialize(serializer),
        }
    }
}

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { serde_json::to_string_pretty(self) } else { serde_json::to_string(self) };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

/// Over several lines, for people. What is no JSON is shown as a text.
pub(crate) fn pretty(json: &str) -> String {
    format!("{:#}", Tree::of(json))
}

/// The first number in a text that is no fraction and does not fit into 64 bits: `serde_json::Value` would round it.
pub(crate) fn beyond_64_bits(json: &str) -> Option<String> {
    let has_room = |digits: &[u8]| digits.len() >= 19; // As many as 2^63 has.
    if !json.as_bytes().split(|byte| !byte.is_ascii_digit()).any(has_room) {
        return None;
    }
    let mut found = None;
    let _walked = map_leaves(json.as_bytes(), &mut |_, leaf| {
        let digits = leaf.strip_prefix('-').unwrap_or(leaf);
        let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_integer && leaf.parse::<u64>().is_err() && leaf.parse::<i64>().is_err() {
            found.get_or_insert_with(|| leaf.to_owned());
        }
        None
    });
    found
}

/// Without the white space that JSON allows around a value, and no other.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\n', '\r', '\t'])
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonError> {
    serde_json::from_str(text).map_err(|error| JsonError::Syntax(error.to_string()))
}

/// A string that borrows from the text where it has no escapes. A `Cow` by itself is always read as a copy.
#[derive(Deserialize, PartialEq, Eq)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// The members of one object in their order, duplicates included.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((key.0, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Checks a body and strips the white space between its tokens, so that a commit is one line. An empty body is `{}`.
///
/// # Errors
/// [`JsonError`], for a body that is not one unambiguous JSON object.
pub fn compact_object(body: &[u8]) -> Result<Bytes, JsonError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Bytes::from_static(b"{}"));
    }
    let text = std::str::from_utf8(body).map_err(|error| JsonError::Syntax(error.to_string()))?;
    if !trimmed(text).starts_with('{') {
        let _syntax: &RawValue = read(text)?;
        return Err(JsonError::NotAnObject);
    }
    Tree::parse(text, 1)?;
    Ok(strip_white_space(body))
}

/// `json` is known to be JSON, so white space outside a string is between tokens. Always a copy: a slice would keep the
/// whole network buffer alive for as long as the commit is in memory.
fn strip_white_space(json: &[u8]) -> Bytes {
    if !json.iter().any(u8::is_ascii_whitespace) {
        return Bytes::copy_from_slice(json); // As most senders write it.
    }
    let (mut in_string, mut escaped) = (false, false);
    let mut kept = Vec::with_capacity(json.len());
    kept.extend(json.iter().copied().filter(|byte| {
        let kept = in_string || !byte.is_ascii_whitespace();
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        kept
    }));
    kept.into()
}

/// The only member of an object, read where it lies; `None` if it is no object or has another number of them.
pub(crate) fn only_member(json: &str) -> Option<(Cow<'_, str>, &RawValue)> {
    let Members(members) = read(json).ok()?;
    <[_; 1]>::try_from(members).ok().map(|[member]| member)
}

/// Reads a type out of JSON. The text is checked once and as a whole: `serde_json::from_slice` does so string by string,
/// which is an eighth of what folding a commit takes.
///
/// # Errors
/// It is not UTF-8, not JSON, or another type.
pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(std::str::from_utf8(json).map_err(serde::de::Error::custom)?)
}

/// Hashes a value so that the same values are hashed alike. Something that is not JSON is hashed by its bytes.
pub fn hash_value(json: &[u8], hasher: &mut impl Hasher) {
    match parse(json) {
        Some(tree) => tree.hash(hasher),
        None => json.hash(hasher),
    }
}

fn parse(json: &[u8]) -> Option<Tree<'_>> {
    let raw: &RawValue = serde_json::from_slice(json).ok()?;
    Tree::parse(raw.get(), 1).ok()
}

/// Whether two texts are the same JSON value. Bytes first; parsed only if they differ. Something that is not JSON
/// equals nothing but itself.
pub fn same_value(left: &[u8], right: &[u8]) -> bool {
    left == right || matches!((parse(left), parse(right)), (Some(left), Some(right)) if left == right)
}

/// Writes a JSON text anew with other leaves, everything else as it is: order, names and the texts of numbers.
///
/// `map` gets the names of the members that lead to a leaf, from outside in (items of arrays have none), and the leaf's text;
/// it gives the text that takes its place, or `None` to keep it.
///
/// # Errors
/// [`JsonError`]: it is not JSON, or nested too deep.
pub fn map_leaves(json: &[u8], map: &mut dyn FnMut(&[String], &str) -> Option<String>) -> Result<String, JsonError> {
    let raw: &RawValue = serde_json::from_slice(json).map_err(|error| JsonError::Syntax(error.to_string()))?;
    let mut mapped = String::with_capacity(json.len());
    map_below(raw, &mut Vec::new(), 1, map, &mut mapped)?;
    Ok(mapped)
}

fn map_below(
    raw: &RawValue,
    path: &mut Vec<String>,
    depth: usize,
    map: &mut dyn FnMut(&[String], &str) -> Option<String>,
    mapped: &mut String,
) -> Result<(), JsonError> {
    // A state or an event may be deeper than a command. Nobody's is this deep.
    if depth > 2 * JSON_DEPTH_MAX {
        return Err(JsonError::TooDeep);
    }
    let text = raw.get().trim();
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = read(text)?;
            mapped.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                mapped.push_str(if index == 0 { "" } else { "," });
                mapped.push_str(&serde_json::to_string(&name).expect("a text is JSON"));
                mapped.push(':');
                path.push(name.into_owned());
                map_below(value, path, depth + 1, map, mapped)?;
                path.pop();
            }
            mapped.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = read(text)?;
            mapped.push('[');
            for (index, item) in items.into_iter().enumerate() {
                mapped.push_str(if index == 0 { "" } else { "," });
                map_below(item, path, depth + 1, map, mapped)?;
            }
            mapped.push(']');
        }
        _ => match map(path, text) {
            Some(other) => mapped.push_str(&other),
            None => mapped.push_str(text),
        },
    }
    Ok(())
}
