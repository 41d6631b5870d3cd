//! What is different between two states?

use super::json::Tree;

/// What differs between two JSON values, a line for each: `balance 100 -> 1100`, `lines[0].sku none -> "pen"`. Numbers differ
/// and are shown by their text, however large they are.
pub fn difference(before: &[u8], after: &[u8]) -> Vec<String> {
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let mut lines = Vec::new();
    compare("", Some(&Tree::of(&before)), Some(&Tree::of(&after)), &mut lines);
    lines
}

fn compare(path: &str, before: Option<&Tree<'_>>, after: Option<&Tree<'_>>, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Tree::Object(before)), Some(Tree::Object(after))) => {
            let mut keys: Vec<&str> = before.keys().chain(after.keys()).map(AsRef::as_ref).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                compare(&path, before.get(key), after.get(key), lines);
            }
        }
        (Some(Tree::Array(before)), Some(Tree::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(&format!("{path}[{index}]"), before.get(index), after.get(index), lines);
            }
        }
        (before, after) => {
            let shown = |value: Option<&Tree<'_>>| value.map_or_else(|| "none".to_owned(), ToString::to_string);
            let path = if path.is_empty() { "state" } else { path };
            lines.push(format!("{path} {} -> {}", shown(before), shown(after)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn a_number_of_more_than_64_bits_differs_in_its_last_digit() {
        let lines = difference(br#"{"n":100000000000000000000000000}"#, br#"{"n":100000000000000000000000001}"#);
        assert_eq!(lines, ["n 100000000000000000000000000 -> 100000000000000000000000001"]);
    }

    #[test]
    fn an_order_of_keys_is_no_difference_and_what_is_no_json_is_shown() {
        assert_eq!(difference(br#"{"a":1,"b":[2]}"#, br#"{"b":[2],"a":1}"#), Vec::<String>::new());
        assert_eq!(difference(b"", br#"{"a":1}"#), [r#"state "" -> {"a":1}"#]);
    }
}
