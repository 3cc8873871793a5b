//! Cards as users get them, made from records that a stream writer wrote.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod card;
mod hostile;
mod runs;
mod snapshots;
