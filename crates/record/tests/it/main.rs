//! What holds of records, one module for each thing.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod canonical;
mod chain;
mod common;
mod filter;
mod golden;
mod own;
mod parse;
mod samples;
mod schema;
mod sealed;
mod spec;
mod writer;
