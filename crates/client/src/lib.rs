//! The HTTP client of a ledger, and the [`Recorder`] that turns drafts into signed, batched
//! records for any [`Sink`]: a server through [`Client`], or a ledger in the same process.
//!
//! Synchronous, one request at a time. What was not acknowledged when the process dies is lost with
//! it, and what the server holds can be resumed from its stream head. Who cannot have that uses a
//! [`spool`].

mod attachments;
mod client;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod joined;
mod memory;
mod recorder;
mod retry;
pub mod spool;
mod transport;
mod tsa;
mod types;

pub use client::Client;
pub use error::{ClientError, Problem};
pub use memory::Memory;
pub use recorder::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Recorder};
pub use retry::RetryPolicy;
pub use tsa::TimeStampingAuthority;
pub use types::{
    Appended, ApprovalSummary, BundleParts, CardFormat, FreshHook, HookSummary, IssuedToken, Job,
    JobPage, JobQuery, LoggedRecord, NewHook, NewRun, NewToken, Receipt, RecordPage, RecordQuery,
    RunPage, RunSummary, Sink, StreamSummary, TokenSummary, Wait, WantedToken,
};
