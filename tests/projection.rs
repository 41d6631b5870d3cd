//! Read models over the feed: each event takes effect once, whatever dies and whatever is delivered again.

mod common;
#[path = "projection/money.rs"]
mod money;
#[path = "projection/kept.rs"]
mod kept;
#[path = "projection/refused.rs"]
mod refused;
// Each test binary uses its part of what drives a processor and a program.
#[path = "way/processor.rs"]
#[allow(dead_code)]
mod processor;
#[cfg(feature = "cli")]
#[path = "cli/hapax.rs"]
#[allow(dead_code)]
mod program;
#[cfg(feature = "cli")]
#[path = "projection/served.rs"]
mod served;
#[cfg(feature = "cli")]
#[path = "projection/anew.rs"]
mod anew;
#[cfg(feature = "cli")]
#[path = "projection/later.rs"]
mod later;
#[cfg(feature = "cli")]
#[path = "projection/rights.rs"]
mod rights;
