//! The handlers, one file for each thing that is asked for.

pub(crate) mod append;
pub(crate) mod approvals;
pub(crate) mod attachments;
pub(crate) mod bundle;
pub(crate) mod card;
pub(crate) mod findings;
pub(crate) mod health;
pub(crate) mod hooks;
pub(crate) mod jobs;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod pages;
pub(crate) mod records;
pub(crate) mod runs;
pub(crate) mod tokens;
