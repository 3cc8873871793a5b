//! A bundle: one file with which one run is verified offline.
//!
//! [`mod@format`] is the frame, shared with the ledger that writes bundles; [`check`] verifies one.

pub mod check;
pub mod format;

pub use format::{Entry, FormatError, Header, Reader, Stamp, Writer};
