//! Bugs that the simulation must find.

use crate::common::pure::Build;

/// By name.
pub(crate) const PLANTED: [(&str, fn() -> Build); 0] = [];

/// Wrong processors of the contract's tests that only the vectors can show, and why.
pub(crate) const NOT_HERE: [(&str, &str); 0] = [];
