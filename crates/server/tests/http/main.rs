//! The API as its users meet it: a real server on a real ledger, asked over TCP.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are not seen as tests themselves"
)]

mod access;
mod attachments;
mod auth;
mod bad_input;
mod edge;
mod findings;
mod hooks;
mod jobs;
mod limits;
mod metrics;
mod mlflow;
mod operation;
mod overload;
mod reading;
mod support;
mod table;
mod writing;
