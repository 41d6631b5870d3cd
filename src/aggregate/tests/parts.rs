//! Every form that a variant can have, both ways.

use serde::Deserialize;

use super::*;
use crate::aggregate::parts::variants_of;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Forms {
    Unit,
    Struct {
        amount: u64,
        #[serde(default)]
        why: Option<String>,
    },
    Newtype(Fields),
    Number(u64),
    Tuple(u64, String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    text: String,
}

fn read(name: &str, data: &str) -> Result<Forms, String> {
    read_variant(name, data.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn every_form_is_read_as_it_was_written() {
    let forms = [
        (Forms::Unit, "unit", "{}"),
        (Forms::Struct { amount: 1, why: Some("rent".into()) }, "struct", r#"{"amount":1,"why":"rent"}"#),
        (Forms::Newtype(Fields { text: "\"\n".into() }), "newtype", r#"{"text":"\"\n"}"#),
        (Forms::Number(7), "number", "7"),
        (Forms::Tuple(7, "x".into()), "tuple", r#"[7,"x"]"#),
    ];
    for (value, name, data) in forms {
        let (written_name, written_data) = name_and_data(&value).unwrap();
        assert_eq!((written_name.as_str(), written_data.get()), (name, data));
        assert_eq!(read(name, data).unwrap(), value);
    }
}

#[test]
fn fields_that_are_missing_or_too_many_are_malformed() {
    assert_eq!(read("struct", r#"{"amount":1}"#), Ok(Forms::Struct { amount: 1, why: None }));
    assert!(read("struct", "{}").unwrap_err().contains("amount"));
    assert!(read("newtype", r#"{"text":"x","more":1}"#).unwrap_err().contains("more"));
    assert!(read("unit", r#"{"more":1}"#).unwrap_err().contains("more"));
    assert!(read("tuple", "[7]").is_err());
    for name in ["struct", "newtype", "number", "tuple"] {
        let data = name_and_data(&Forms::Tuple(1, String::new())).unwrap().1;
        assert!(read(name, &format!("{}{}", data.get(), data.get())).is_err(), "{name}: two values");
    }
}

#[test]
fn another_name_is_no_variant() {
    assert!(read("Unit", "{}").unwrap_err().contains("unknown variant"));
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum InternallyTagged {
    One { amount: u64 },
    Two,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum AdjacentlyTagged {
    One(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    One { amount: u64 },
}

#[test]
fn the_names_of_variants_are_asked_from_the_enum_itself() {
    assert_eq!(variants_of::<Forms>(), Some(&["unit", "struct", "newtype", "number", "tuple"][..]));
    assert_eq!(variants_of::<InternallyTagged>(), None);
    assert_eq!(variants_of::<AdjacentlyTagged>(), None);
    assert_eq!(variants_of::<Untagged>(), None);
    assert_eq!(variants_of::<Fields>(), None);
    assert_eq!(variants_of::<String>(), None);
}

#[test]
fn what_is_not_externally_tagged_has_no_name() {
    assert!(name_and_data(&InternallyTagged::One { amount: 1 }).is_err());
    assert!(name_and_data(&AdjacentlyTagged::One(1)).is_err());
    assert!(name_and_data(&7).is_err());
    assert!(read_variant::<InternallyTagged>("Two", b"{}").is_err());
}
