//! The API as its users meet it: a real server on a real ledger, asked over TCP.

mod auth;
mod bad_input;
mod operation;
mod reading;
mod support;
mod writing;
