//! What holds of records, one module for each thing.

mod canonical;
mod chain;
mod common;
mod golden;
mod parse;
mod samples;
mod schema;
mod sealed;
mod spec;
mod writer;
