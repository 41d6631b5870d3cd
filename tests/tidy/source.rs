//! A rough reading of Rust: enough to tell code from comments and texts, and to find the paths that it names.

/// The code of a file: comments, texts and characters are left out.
pub(crate) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let literal = literal_at(rest, code.chars().next_back());
        if literal > 0 {
            code.push(' ');
            rest = &rest[literal..];
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    code
}

/// How many bytes of a comment, a text or a character begin here; `before` is what stands in front of it.
fn literal_at(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with('"') {
        return text_end(rest);
    }
    if rest.starts_with('r') && !before.is_some_and(|before| is_name(before) && before != 'b') {
        let hashes = rest[1..].chars().take_while(|char| *char == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let from = hashes + 2;
            return rest[from..].find(&close).map_or(rest.len(), |end| from + end + close.len());
        }
    }
    if let Some(inside) = rest.strip_prefix('\'') {
        let mut chars = inside.char_indices();
        match (chars.next(), chars.next()) {
            (Some((_, '\\')), Some(_)) => return inside[2..].find('\'').map_or(rest.len(), |end| end + 4),
            (Some(_), Some((end, '\''))) => return end + 2,
            _ => {} // A lifetime.
        }
    }
    0
}

fn text_end(rest: &str) -> usize {
    let mut escaped = false;
    for (offset, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    rest.len()
}

fn is_name(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Whether a word stands in code by itself.
pub(crate) fn mentions(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(is_name))
}

/// Code without the items behind `#[cfg(test)]`: each up to its `;` or its closing brace.
pub(crate) fn without_tests(code: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(TEST) {
        kept.push_str(&rest[..at]);
        rest = &rest[at + TEST.len()..];
        rest = &rest[item_end(rest)..];
    }
    kept + rest
}

fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (offset, char) in code.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth <= 1 => return offset + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return offset + 1,
            _ => {}
        }
    }
    code.len()
}

/// All paths that begin with `crate` or `super`, from the crate's root on: `store::Tip`. `module` is where the code stands.
pub(crate) fn paths(code: &str, module: &[&str]) -> Vec<String> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = matches!(tokens[at], "crate" | "super") && tokens.get(at + 1) == Some(&"::");
        if !begins || at.checked_sub(1).is_some_and(|before| tokens[before] == "::") {
            at += 1;
            continue;
        }
        let mut path: Vec<&str> = if tokens[at] == "crate" { Vec::new() } else { parent(module) };
        at += 2;
        while tokens.get(at) == Some(&"super") && tokens.get(at + 1) == Some(&"::") {
            path.pop();
            at += 2;
        }
        tree(&tokens, &mut at, &path, &mut paths);
    }
    paths
}

fn parent<'a>(module: &[&'a str]) -> Vec<&'a str> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Names, `::`, and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_name(first) {
            rest.find(|char| !is_name(char)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// What follows `::`: a name and perhaps more, `*`, or several in braces.
fn tree<'a>(tokens: &[&'a str], at: &mut usize, path: &[&'a str], paths: &mut Vec<String>) {
    if tokens.get(*at) == Some(&"{") {
        *at += 1;
        while !matches!(tokens.get(*at), None | Some(&"}")) {
            tree(tokens, at, path, paths);
            // To the next one, over `,` and `as name`.
            while !matches!(tokens.get(*at), None | Some(&("}" | ","))) {
                *at += 1;
            }
            if tokens.get(*at) == Some(&",") {
                *at += 1;
            }
        }
        *at += 1;
        return;
    }
    let mut path = path.to_vec();
    match tokens.get(*at) {
        Some(&"self") => {}
        Some(name) => path.push(name),
        None => {}
    }
    *at += 1;
    let goes_on = |next: &&str| *next == "{" || *next == "*" || next.starts_with(is_name);
    if tokens.get(*at) == Some(&"::") && tokens.get(*at + 1).is_some_and(goes_on) {
        *at += 1;
        return tree(tokens, at, &path, paths);
    }
    paths.push(path.join("::"));
}
