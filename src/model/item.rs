//! What a batch says of each of its items, and the whole of its body.

use serde::Serialize;
use serde_json::value::RawValue;

use super::command::{AggregateId, CommandId};
use super::commit::Version;
use super::subject::{AggregateType, CommandName, Key};

#[derive(Serialize)]
struct CommandForm<'a> {
    id: &'a CommandId,
    aggregate: &'a AggregateType,
    key: &'a Key,
    command: &'a CommandName,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct CheckForm<'a> {
    check: CheckedForm<'a>,
}

#[derive(Serialize)]
struct CheckedForm<'a> {
    aggregate: &'a AggregateType,
    key: &'a Key,
    version: Version,
}

/// A command as an item. Fields that are none are left out, so that it is never longer than what it is written from.
///
/// # Errors
/// Its data is not JSON, and would make the whole batch unreadable.
pub(crate) fn command(
    id: &CommandId,
    AggregateId { kind, key }: &AggregateId,
    name: &CommandName,
    expected: Option<Version>,
    data: &[u8],
) -> Result<String, serde_json::Error> {
    let is_empty = data == b"{}" || data.iter().all(u8::is_ascii_whitespace);
    let data: Option<&RawValue> = if is_empty { None } else { Some(serde_json::from_slice(data)?) };
    serde_json::to_string(&CommandForm { id, aggregate: kind, key, command: name, expected_version: expected, data })
}

/// A check as an item.
pub(crate) fn check(AggregateId { kind, key }: &AggregateId, version: Version) -> String {
    let check = CheckedForm { aggregate: kind, key, version };
    serde_json::to_string(&CheckForm { check }).expect("tokens and numbers are JSON")
}

/// The body of a batch with these items.
pub(crate) fn body<'a>(atomic: bool, items: impl IntoIterator<Item = &'a str>) -> String {
    let mut body = format!(r#"{{"atomic":{atomic},"commands":["#);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(item);
    }
    body.push_str("]}");
    body
}

/// Bytes of a body beside its items: the rest, and a comma for each.
pub(crate) const BODY_BYTES_BESIDE: usize = r#"{"atomic":false,"commands":[]}"#.len();
