//! What a user imports: whole files, good and bad, up to the records they become.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod fine_grained;
mod follow;
mod hh;
mod malformed;
mod platforms;
mod seen;
mod trainers;
mod trl;
