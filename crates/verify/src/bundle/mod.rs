//! A bundle: one file with which one run is verified offline.
//!
//! [`mod@format`] is the frame, shared with the ledger that writes bundles; [`check`] verifies one.

pub mod check;
pub mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use format::{Attached, Entry, FormatError, Header, Stamp};
pub use reader::Reader;
pub use writer::Writer;
