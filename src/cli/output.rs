//! Results on stdout, for people: aligned, and coloured on a terminal only. What a program reads (`--json`) does not go
//! through here.

use std::io::{self, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use serde_json::value::RawValue;
use similar::{ChangeTag, TextDiff};

use super::exit::{Failure, output_failed};
use crate::client::RawOutcome;
use crate::model::json::pretty;
use crate::model::wording::ALREADY_SO;
use crate::model::{Decision, RetryWith};

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    /// For stdout: none if it is no terminal, or if `NO_COLOR` is set.
    pub(super) fn for_stdout() -> Paint {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint { on: !forbidden && io::stdout().is_terminal() }
    }

    /// No colours.
    pub(super) fn none() -> Paint {
        Paint { on: false }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default().bold(), text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default().bold(), text)
    }

    fn faint(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    fn with(self, style: Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.into() }
    }
}

/// As it may be shown on a terminal, in one line: what came from outside could move its cursor, or turn the order of letters
/// round (the marks and overrides of Unicode's bidirectional algorithm, UAX #9). Written as JSON writes it, so that JSON stays
/// what it was. The styles that [`Paint`] gives are left.
pub(super) fn shown(text: &str) -> String {
    const STYLES: [&str; 6] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    let is_bidirectional = |letter| matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        let is_style = letter == '\u{1b}' && STYLES.iter().any(|style| text[at..].starts_with(style));
        match letter {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            letter if !is_style && (letter.is_control() || is_bidirectional(letter)) => {
                shown.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => shown.push(letter),
        }
    }
    shown
}

/// JSON that is written into other JSON as it is; `None`: it is none.
pub(super) fn raw(json: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(json).ok()
}

/// Writes a line.
pub(super) fn line(text: impl AsRef<[u8]>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref()).and_then(|()| stdout.write_all(b"\n")).map_err(output_failed)
}

/// Writes lines of a name and a value, the values below each other.
pub(super) fn rows(paint: Paint, rows: &[(&str, String)]) -> Result<(), Failure> {
    aligned(paint, rows).iter().try_for_each(line)
}

/// Lines of a name and a value, the values below each other.
pub(super) fn aligned(paint: Paint, rows: &[(&str, String)]) -> Vec<String> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let row = |(name, value): &(&str, String)| {
        let padding = " ".repeat(width - name.len());
        format!("{}{padding}  {}", paint.faint(name), shown(value)).trim_end().to_owned()
    };
    rows.iter().map(row).collect()
}

/// Writes two JSON texts as one, line by line: what is only in the first has a `-`, what is only in the second a `+`.
pub(super) fn json_difference(paint: Paint, left: &str, right: &str) -> Result<(), Failure> {
    let (left, right) = (pretty(left), pretty(right));
    TextDiff::from_lines(&left, &right).iter_all_changes().try_for_each(|change| {
        let text = shown(change.value().trim_end_matches('\n'));
        line(match change.tag() {
            ChangeTag::Delete => paint.with(AnsiColor::Red.on_default(), &format!("- {text}")),
            ChangeTag::Insert => paint.with(AnsiColor::Green.on_default(), &format!("+ {text}")),
            ChangeTag::Equal => format!("  {text}"),
        })
    })
}

/// Writes what came of a command.
pub(super) fn outcome(raw: &RawOutcome, json: bool) -> Result<(), Failure> {
    if json {
        return line(&raw.json);
    }
    let (paint, outcome) = (Paint::for_stdout(), &raw.outcome);
    let mut said = Vec::new();
    match &outcome.decision {
        Decision::Accepted(events) => {
            said.push(("outcome", paint.good("accepted")));
            let mut name = "events";
            for event in events {
                said.push((std::mem::take(&mut name), event.to_string()));
            }
            if events.is_empty() {
                said.push((name, format!("none: {ALREADY_SO}")));
            }
        }
        Decision::Rejected(rejection) => {
            said.push(("outcome", paint.bad("rejected")));
            said.push(("reason", rejection.reason.clone()));
            said.push(("", rejection.message.clone()));
            if let Some(details) = rejection.details.as_deref().filter(|details| details.get() != "{}") {
                said.push(("details", details.get().into()));
            }
            if rejection.retry.is_some_and(|retry| retry.with == RetryWith::NewId) {
                said.push(("retry", "with a new id, after something has changed".into()));
            }
        }
    }
    said.push(("aggregate", format!("{} at version {}", outcome.aggregate, outcome.version)));
    said.push(("id", outcome.id.to_string()));
    said.push(("position", outcome.position.to_string()));
    said.push(("decided", outcome.decided_at.to_string()));
    if raw.replayed {
        said.push(("replayed", "an earlier copy was decided, this is its outcome".into()));
    }
    rows(paint, &said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_no_letter_that_it_would_obey() {
        assert_eq!(
            shown("é\u{1b}[2Jx\u{202e}y\u{2066}z\n\u{9b}8m\u{7f}"),
            "é\\u001b[2Jx\\u202ey\\u2066z\\n\\u009b8m\\u007f"
        );
        let good = Paint { on: true }.good("accepted");
        assert_eq!(shown(&good), good, "but for our own colours");
    }

    #[test]
    fn a_row_obeys_nothing() {
        let rows = aligned(Paint::none(), &[("owner", "\u{202e}evil".to_owned())]);
        assert_eq!(rows, ["owner  \\u202eevil"]);
    }
}
