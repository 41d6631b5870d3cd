//! What does a line of a file say? A command as it stands in a batch; its id may have to be derived.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::client::RawCommand;
use crate::model::{AggregateId, AggregateType, CommandId, CommandName, Key, Principal, Version};

/// The name space of derived ids. Another one would give all files other ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x6861_7061_785f_4c65_8f3a_2d51_07c9_64b3);

/// The members that a line may have, beside the one that its id comes from.
const MEMBERS: [&str; 6] = ["id", "aggregate", "key", "command", "expected_version", "data"];

/// What a missing id is derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum IdFrom {
    /// The number of the line.
    Line,
    /// Its text.
    Content,
    /// A member of it, or of its data.
    Field(String),
}

impl FromStr for IdFrom {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<IdFrom, &'static str> {
        match text.split_once(':') {
            None if text == "line" => Ok(IdFrom::Line),
            None if text == "content" => Ok(IdFrom::Content),
            Some(("field", name)) if !name.is_empty() => Ok(IdFrom::Field(name.into())),
            _ => Err("line, content or field:NAME"),
        }
    }
}

/// How missing ids are derived.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) from: Option<IdFrom>,
    pub(super) principal: Principal,
    pub(super) source: String,
}

/// The members of an object by name, none twice.
struct Members(BTreeMap<String, Box<RawValue>>);

/// What a line of an atomic batch may be.
#[derive(Debug)]
pub(super) enum Line {
    Command(RawCommand),
    /// The batch is guarded by this aggregate's having this version.
    Check(AggregateId, Version),
}

/// The members of a check.
const CHECK_MEMBERS: [&str; 3] = ["aggregate", "key", "version"];

/// Reads a line of an atomic batch; the error says which member is wrong and why.
pub(super) fn read_item(text: &str, number: u64, ids: &Ids) -> Result<Line, String> {
    let members = members(text)?;
    let Some(check) = members.get("check").filter(|_| members.len() == 1) else {
        return read_members(text, members, number, ids).map(Line::Command);
    };
    let within = |why: String| format!("check: {why}");
    let Members(check) = serde_json::from_str(check.get()).map_err(|error| within(without_place(&error)))?;
    if let Some(unknown) = check.keys().find(|name| !CHECK_MEMBERS.contains(&name.as_str())) {
        return Err(within(format!("{unknown}: no such member; there are {}", CHECK_MEMBERS.join(", "))));
    }
    let need = |name: &'static str| move || within(format!("{name}: missing"));
    let aggregate = AggregateId {
        kind: member::<AggregateType>(&check, "aggregate").map_err(within)?.ok_or_else(need("aggregate"))?,
        key: member::<Key>(&check, "key").map_err(within)?.ok_or_else(need("key"))?,
    };
    Ok(Line::Check(aggregate, member::<Version>(&check, "version").map_err(within)?.ok_or_else(need("version"))?))
}

/// Reads a line; the error says which member is wrong and why.
pub(super) fn read(text: &str, number: u64, ids: &Ids) -> Result<RawCommand, String> {
    read_members(text, members(text)?, number, ids)
}

fn members(text: &str) -> Result<BTreeMap<String, Box<RawValue>>, String> {
    let Members(members) = serde_json::from_str(text)
        .map_err(|error: serde_json::Error| format!("{}, column {}", without_place(&error), error.column()))?;
    Ok(members)
}

fn read_members(
    text: &str,
    mut members: BTreeMap<String, Box<RawValue>>,
    number: u64,
    ids: &Ids,
) -> Result<RawCommand, String> {
    let extra = match &ids.from {
        Some(IdFrom::Field(name)) => name,
        _ => "",
    };
    if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str()) && *name != extra) {
        return Err(format!("{unknown}: no such member; there are {}", MEMBERS.join(", ")));
    }
    members.retain(|_, value| value.get() != "null"); // As many programs write what is absent.
    let data = members.get("data").map_or("{}", |data| data.get());
    if !data.starts_with('{') {
        return Err("data: not a JSON object".into());
    }
    let id = match member::<CommandId>(&members, "id")? {
        Some(id) => id,
        None => ids.derive(text, number, &members, data)?,
    };
    let need = |name: &'static str| move || format!("{name}: missing");
    Ok(RawCommand {
        id,
        aggregate: AggregateId {
            kind: member::<AggregateType>(&members, "aggregate")?.ok_or_else(need("aggregate"))?,
            key: member::<Key>(&members, "key")?.ok_or_else(need("key"))?,
        },
        name: member::<CommandName>(&members, "command")?.ok_or_else(need("command"))?,
        expected: member::<Version>(&members, "expected_version")?,
        data: Bytes::copy_from_slice(data.as_bytes()),
        not_after: None,
    })
}

fn member<T: DeserializeOwned>(members: &BTreeMap<String, Box<RawValue>>, name: &str) -> Result<Option<T>, String> {
    let value = members.get(name).map(|value| serde_json::from_str(value.get()));
    value.transpose().map_err(|error| format!("{name}: {}", without_place(&error)))
}

/// What is wrong, without where: serde counts lines and columns from the beginning of what it was given.
fn without_place(error: &serde_json::Error) -> String {
    let (text, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
    text.strip_suffix(&place).map(str::to_owned).unwrap_or(text)
}

impl Ids {
    /// The id of an atomic batch: of the same lines, the same one.
    pub(super) fn of_batch(&self, lines: &[Line]) -> CommandId {
        let ids = lines.iter().filter_map(|line| match line {
            Line::Command(command) => Some(command.id.as_str()),
            Line::Check(..) => None,
        });
        let name = (self.principal.as_str(), "batch", ids.collect::<Vec<_>>());
        Uuid::new_v5(&NAMESPACE, &serde_json::to_vec(&name).expect("strings are JSON")).into()
    }

    fn derive(
        &self,
        text: &str,
        number: u64,
        members: &BTreeMap<String, Box<RawValue>>,
        data: &str,
    ) -> Result<CommandId, String> {
        let (kind, value) = match &self.from {
            None => return Err("id: missing, and --id-from does not say how to derive it".into()),
            Some(IdFrom::Line) => ("line", number.to_string()),
            Some(IdFrom::Content) => ("content", text.to_owned()),
            Some(IdFrom::Field(name)) => {
                let Members(data) =
                    serde_json::from_str(data).map_err(|error| format!("data: {}", without_place(&error)))?;
                let value = members.get(name).or_else(|| data.get(name)).filter(|value| value.get() != "null");
                let value = value.ok_or_else(|| format!("{name}: missing, and the id comes from it"))?;
                ("field", value.get().to_owned())
            }
        };
        let name = (self.principal.as_str(), self.source.as_str(), kind, value);
        let name = serde_json::to_vec(&name).expect("strings are JSON");
        Ok(Uuid::new_v5(&NAMESPACE, &name).into())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("{name} comes twice")));
                    }
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::shown::assert_shown;

    const DEPOSIT: &str = r#"{"aggregate":"account","key":"42","command":"deposit","data":{"amount":7,"ref":"a"}}"#;

    fn ids(from: Option<&str>) -> Ids {
        let principal = Principal::parse("alice").unwrap();
        Ids { from: from.map(|from| from.parse().unwrap()), principal, source: "may.jsonl".into() }
    }

    fn id(text: &str, number: u64, from: &str) -> String {
        read(text, number, &ids(Some(from))).unwrap().id.to_string()
    }

    #[test]
    fn an_id_that_is_there_stays() {
        let text = DEPOSIT.replacen('{', r#"{"id":"deposit-000000000001","#, 1);
        assert_eq!(id(&text, 1, "line"), "deposit-000000000001");
    }

    /// Whoever sends a file again with a later version must get the same ids.
    #[test]
    fn derived_ids_never_change() {
        let derived = [id(DEPOSIT, 1, "line"), id(DEPOSIT, 1, "content"), id(DEPOSIT, 1, "field:ref")];
        assert_shown("cli__derived_ids", &derived.join("\n"));
    }

    #[test]
    fn what_an_id_comes_from_is_what_it_depends_on() {
        let other = DEPOSIT.replace('7', "8");
        assert_ne!(id(DEPOSIT, 1, "line"), id(DEPOSIT, 2, "line"));
        assert_eq!(id(DEPOSIT, 1, "line"), id(&other, 1, "line"));
        assert_eq!(id(DEPOSIT, 1, "content"), id(DEPOSIT, 2, "content"));
        assert_ne!(id(DEPOSIT, 1, "content"), id(&other, 1, "content"));
        assert_eq!(id(DEPOSIT, 1, "field:ref"), id(&other, 2, "field:ref"));
        assert_ne!(id(DEPOSIT, 1, "field:ref"), id(DEPOSIT, 1, "field:amount"));
        // A member beside those of a batch item is allowed if the id comes from it.
        let beside = DEPOSIT.replacen('{', r#"{"line":"17","#, 1);
        assert_ne!(id(&beside, 1, "field:line"), id(DEPOSIT, 1, "field:ref"));
        let foreign = Ids { source: "june.jsonl".into(), ..ids(Some("line")) };
        assert_ne!(read(DEPOSIT, 1, &foreign).unwrap().id.to_string(), id(DEPOSIT, 1, "line"));
    }

    #[test]
    fn null_is_absent() {
        let nulls = DEPOSIT.replacen('{', r#"{"id":null,"expected_version":null,"#, 1);
        let read = |text: &str, from| super::read(text, 1, &ids(Some(from)));
        let command = read(&nulls, "line").unwrap();
        assert_eq!((command.id.to_string(), command.expected), (id(DEPOSIT, 1, "line"), None));
        let no_data = DEPOSIT.replace(r#"{"amount":7,"ref":"a"}"#, "null");
        assert_eq!(read(&no_data, "line").unwrap().data, "{}");
        assert_eq!(read(&DEPOSIT.replace(r#""42""#, "null"), "line").unwrap_err(), "key: missing");
        // All of them would get the same id.
        let no_ref = DEPOSIT.replace(r#""a""#, "null");
        assert_eq!(read(&no_ref, "field:ref").unwrap_err(), "ref: missing, and the id comes from it");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| read(text, 1, &ids(Some("line"))).unwrap_err();
        assert_eq!(
            read(DEPOSIT, 1, &ids(None)).unwrap_err(),
            "id: missing, and --id-from does not say how to derive it"
        );
        assert_eq!(error(&DEPOSIT.replace(r#""key":"42","#, "")), "key: missing");
        assert!(error(&DEPOSIT.replace("account", "acc.ount")).starts_with("aggregate: a token is"));
        assert!(error(&DEPOSIT.replace("key", "kye")).starts_with("kye: no such member"));
        assert_eq!(error(&DEPOSIT.replace(r#"{"amount":7,"ref":"a"}"#, "7")), "data: not a JSON object");
        assert!(error(&DEPOSIT.replace("key", "command")).contains("command comes twice"));
        assert!(error("17").contains("expected a JSON object"));
        // The line is known, and it is not serde's.
        assert_eq!(error("{x"), "key must be a string, column 2");
        assert!(!error(&DEPOSIT.replace("account", "acc.ount")).contains("at line"));
        assert!(read(DEPOSIT, 1, &ids(Some("field:nr"))).unwrap_err().starts_with("nr: missing"));
    }
}
