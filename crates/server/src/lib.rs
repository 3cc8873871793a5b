//! The HTTP API of a ledger.
