//! The store as files of one machine.
