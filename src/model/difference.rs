//! What is different between two states?

use serde_json::Value;

/// What differs between two values, a line for each: `balance 100 -> 1100`, `lines[0].sku none -> "pen"`.
pub fn difference(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", Some(before), Some(after), &mut lines);
    lines
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, before.get(key), after.get(key), lines);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(&format!("{path}[{index}]"), before.get(index), after.get(index), lines);
            }
        }
        (before, after) => {
            let shown = |value: Option<&Value>| value.map_or_else(|| "none".to_owned(), Value::to_string);
            let path = if path.is_empty() { "state" } else { path };
            lines.push(format!("{path} {} -> {}", shown(before), shown(after)));
        }
    }
}
