//! The words, one by one.

use super::*;

mod commit;
mod groups;
mod header;
mod json;
mod outcome;
mod subject;
mod time;
