//! What an author's enums look like on the wire, what a service does not take, and how states are folded.

use super::*;

mod fold;
mod parts;
mod upcast;
mod service;
