//! A panic in an author's code is caught and has a text; ours are not caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs an author's code. A panic comes back as its message.
///
/// `AssertUnwindSafe`: what the closure works on is either a clone or dropped by the caller after an error.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| message_of(panic.as_ref()))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}
