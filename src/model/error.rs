//! What went wrong, as a line of text: an error with its causes, a panic with its message.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// An error with all its causes, on one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // A transparent error repeats its source, and libraries like to end a text with it.
    texts.dedup_by(|source, text| text.ends_with(source.as_str()));
    texts.join(": ")
}

/// Runs code that is not ours: an author's, or sled's. A panic in it comes back as its message; ours are not caught.
///
/// `AssertUnwindSafe`: what the closure works on is either a clone or not used by the caller after an error.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| message_of(panic.as_ref()))
}

/// What a panic has said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}
