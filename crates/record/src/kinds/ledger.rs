//! A ledger's end, and the beginning of the one that comes after it.

use super::table::body;
use crate::hash::RecordHash;
use crate::shape::{COUNT, HASH, LONG_TEXT, SLUG};

body! {
    /// The ledger goes on where another was closed: record 1 of the stream `server`, and only that.
    LedgerContinued
    required {
        /// The other log's origin.
        origin: String = LONG_TEXT,
        /// The root of its final checkpoint.
        root: RecordHash = HASH,
        /// The size of its final checkpoint.
        size: u64 = COUNT,
    }
    optional {}
    sealed {}
}

body! {
    /// The ledger ends: after this record and the signature that covers it the log has no other.
    LedgerClosed
    required {}
    optional {
        /// Why: `moved`, `retired`, ….
        reason: String = SLUG,
        /// The origin of the log that goes on from here, where that is known.
        successor: String = LONG_TEXT,
    }
    sealed {}
}
