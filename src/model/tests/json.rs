//! When two bodies are the same, and which body is none.

use bytes::Bytes;
use proptest::prelude::*;

use crate::model::json::{JsonError, compact_object, map_leaves, same_value};
use crate::model::limits::JSON_DEPTH_MAX;

fn same(left: &str, right: &str) -> bool {
    let same = same_value(left.as_bytes(), right.as_bytes());
    assert_eq!(same, same_value(right.as_bytes(), left.as_bytes()), "it does not matter which came first");
    same
}

fn compact(body: &str) -> Result<String, JsonError> {
    let body = compact_object(&Bytes::copy_from_slice(body.as_bytes()))?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn white_space_and_the_order_of_keys_do_not_count() {
    assert!(same(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#, "{ \"b\" : {\"d\":null,\t\"c\":[1, 2]},\r\n \"a\" :1 }"));
    assert!(!same("[1,2]", "[2,1]"));
    assert!(!same("[1,2]", "[1,2,2]"));
    assert!(!same(r#"{"a":1}"#, r#"{"a":1,"b":null}"#));
    assert!(!same(r#"{"a":1}"#, r#"{"A":1}"#));
}

#[test]
fn strings_are_compared_by_code_points() {
    assert!(same(r#""Aé\n/""#, r#""\u0041\u00e9\u000a\/""#));
    assert!(same(r#""𝄞""#, r#""\ud834\udd1e""#));
    assert!(same(r#"{"a":1}"#, r#"{"\u0061":1}"#));
    // Composed and decomposed look alike and are other code points.
    assert!(!same(r#""é""#, r#""e\u0301""#));
    assert!(!same(r#""a b""#, r#""a  b""#));
    assert!(!same(r#""1""#, "1"));
}

#[test]
fn numbers_are_compared_by_their_text() {
    assert!(!same("1", "1.0"));
    assert!(!same("100", "1e2"));
    assert!(!same("0", "-0"));
    assert!(!same("1e400", "1e401"));
    assert!(!same("9007199254740993", "9007199254740992"), "the same double");
    assert!(same(r#"{"a":1e400}"#, r#"{ "a": 1e400 }"#));
    assert!(!same("null", "false"));
}

#[test]
fn what_is_not_json_equals_only_itself() {
    assert!(same("{", "{"));
    assert!(!same("{", "{ "));
    assert!(!same(r#"{"a":1,"a":1}"#, r#"{"a":1}"#));
    assert!(!same(r#"{"a":1,"a":1}"#, r#"{"a":1, "a":1}"#));
}

#[test]
fn a_body_is_one_line_with_its_texts_untouched() {
    let body = "\n{ \"b\" : [ 1 , 2.50 ],\t\"a\\\"\\\\\" : \" kept \\\" \" }\r\n";
    assert_eq!(compact(body).unwrap(), r#"{"b":[1,2.50],"a\"\\":" kept \" "}"#);
    assert_eq!(compact("").unwrap(), "{}");
    assert_eq!(compact(" \n").unwrap(), "{}");
}

#[test]
fn what_cannot_be_recorded_says_why() {
    assert_eq!(compact("[]"), Err(JsonError::NotAnObject));
    assert_eq!(compact("7"), Err(JsonError::NotAnObject));
    assert_eq!(compact(r#"{"a":[{"b":1,"b":2}]}"#), Err(JsonError::DuplicateKey("b".into())));
    assert_eq!(compact(r#"{"a":1,"\u0061":2}"#), Err(JsonError::DuplicateKey("a".into())));
    for text in ["{", "{} {}", "{'a':1}", r#"{"a":01}"#, r#"{"a":1,}"#, r#"{"a":"\ud834"}"#, "{\"a\":\"\n\"}", "nul"] {
        assert!(matches!(compact(text), Err(JsonError::Syntax(_))), "{text}");
    }
    assert!(matches!(compact_object(&Bytes::from_static(b"{\"a\":\"\xff\"}")), Err(JsonError::Syntax(_))));
}

#[test]
fn nesting_has_a_bound() {
    // The object itself is the first level.
    let nested = |depth| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(compact(&nested(JSON_DEPTH_MAX)).is_ok());
    assert_eq!(compact(&nested(JSON_DEPTH_MAX + 1)), Err(JsonError::TooDeep));
    assert_eq!(compact(&nested(100_000)), Err(JsonError::TooDeep));
}

/// Any JSON value, as text without white space.
pub(super) fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            object_of(inner),
        ]
    })
}

fn object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::btree_map(any::<String>(), value, 0..5).prop_map(|members| {
        let member = |(key, value)| format!("{}:{value}", serde_json::to_string(&key).unwrap());
        format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
    })
}

/// Any JSON object, as text without white space.
pub(super) fn any_object() -> impl Strategy<Value = String> {
    object_of(any_json())
}

proptest! {
    #[test]
    fn white_space_between_tokens_goes_and_nothing_else(object in any_object()) {
        prop_assert_eq!(compact(&object).unwrap(), object.clone());
        let spread = serde_json::value::RawValue::from_string(object.clone()).unwrap();
        let spread = format!("\n {{ \"first\" :\t{} }}\r\n", spread.get());
        prop_assert_eq!(compact(&spread).unwrap(), format!("{{\"first\":{object}}}"));
    }

    #[test]
    fn arbitrary_bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(same_value(&bytes, &bytes));
        let _ = compact_object(&Bytes::from(bytes));
    }
}

#[test]
fn leaves_are_mapped_and_everything_else_stays() {
    let mapped = |json: &str| {
        map_leaves(json.as_bytes(), &mut |path, leaf| match (path.join(".").as_str(), leaf) {
            ("b.c", leaf) => Some(format!("[{leaf}]")),
            (_, "null") => Some("0".into()),
            _ => None,
        })
    };
    // Order, big numbers, escapes and empty ones too.
    let json = r#"{"z":1.00,"b":{"c":[7,"x"],"d":1e400},"a":[],"n":null,"\"q":"ü\n","e":{}}"#;
    let expected = r#"{"z":1.00,"b":{"c":[[7],["x"]],"d":1e400},"a":[],"n":0,"\"q":"ü\n","e":{}}"#;
    assert_eq!(mapped(json).unwrap(), expected);
    assert_eq!(mapped("null").unwrap(), "0");
    assert!(matches!(mapped("{"), Err(JsonError::Syntax(_))));
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    assert!(mapped(&deep).is_err());
}
