//! What every implementation of a trait has to pass.
//!
//! Each function takes what makes a new, empty store (with whatever keeps its place alive), and panics where the store
//! breaks the trait's contract. Call each from a `#[test]` for each implementation.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "these are tests, and panic when they fail"
)]

#[cfg(test)]
mod embedded;
mod index;
mod jobs;
mod journal;
mod meta;
mod objects;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod remote;
mod shared_journal;

pub use index::index;
pub use jobs::jobs;
pub use journal::journal;
pub use meta::{checkpoints, leases, settings, subject_keys, tokens};
pub use objects::objects;
pub use shared_journal::shared_journal;
