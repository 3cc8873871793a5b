//! Clocks, failing stores and fixtures; only ever a dev-dependency.

pub mod log;
