//! The rules over whole runs, as a log shows them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are not seen as tests themselves"
)]

mod faults;
mod replay;
#[path = "../../benches/synthetic/mod.rs"]
mod synthetic;
