//! What every implementation of a trait has to pass.
//!
//! Each function takes what makes a new, empty store, and panics where the store breaks the trait's contract; call
//! them from a `#[test]` for each implementation.

mod journal;
mod meta;
mod objects;

// pub use journal::journal;
// pub use meta::{checkpoints, index, settings, subject_keys, tokens};
// pub use objects::objects;
