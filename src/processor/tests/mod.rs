//! Stages and the core, one by one.
