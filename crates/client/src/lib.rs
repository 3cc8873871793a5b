//! The HTTP client of a ledger.
