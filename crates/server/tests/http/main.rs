//! The API as its users meet it: a real server on a real ledger, asked over TCP.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are not seen as tests themselves"
)]

mod attachments;
mod auth;
mod bad_input;
mod findings;
mod hooks;
mod mlflow;
mod operation;
mod overload;
mod reading;
mod support;
mod writing;
