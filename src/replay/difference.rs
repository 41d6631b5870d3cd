//! What is different between two states? One line for each member that is: `balance 100 -> 1100`.

use serde_json::Value;

/// The members that differ between two JSON texts, each with both values; the text itself where one of them is no object.
/// Nothing if they are the same.
pub fn difference(before: &[u8], after: &[u8]) -> Vec<String> {
    let (before, after) = (read(before), read(after));
    let mut lines = Vec::new();
    compare("", &before, &after, &mut lines);
    lines
}

fn read(json: &[u8]) -> Value {
    // What cannot be read as such is shown as it is.
    serde_json::from_slice(json).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(json).into_owned()))
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Value::Object(left), Value::Object(right)) = (before, after) else {
        let name = if path.is_empty() { String::new() } else { format!("{path} ") };
        lines.push(format!("{name}{before} -> {after}"));
        return;
    };
    let within = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, value) in left {
        match right.get(name) {
            Some(now) => compare(&within(name), value, now, lines),
            None => lines.push(format!("{} {value} -> nothing", within(name))),
        }
    }
    for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
        lines.push(format!("{} nothing -> {value}", within(name)));
    }
}
