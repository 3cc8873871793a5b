//! How the log grows and is read: sequencer, publisher, sealing, bundles.
//!
//! A [`Ledger`] has two threads and no async runtime. Records go through these stages, each of which
//! can be seen in [`Status`]:
//!
//! | stage | where | what holds then |
//! |---|---|---|
//! | accepted | the caller's thread | canonical, under its schema, openings open; encrypted |
//! | sequenced | the sequencer | an index was given, record and openings are on disk; acknowledged |
//! | integrated | the publisher | entry bundles, sealed values, tiles and index are durable |
//! | published | the publisher | the checkpoint is signed, swapped in, and served |
//!
//! Clock and randomness come from outside, as do the stores, behind the traits of `store`.
//!
//! Not here: HTTP, authentication beyond looking up a token, what records mean.

mod accept;
mod admit;
mod approvals;
mod attachments;
mod backlog;
mod bundle;
mod capture;
mod cosign;
mod ending;
mod entry;
mod error;
mod follow;
mod fsck;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hooks;
mod kept;
pub mod keys;
mod leader;
mod ledger;
mod location;
mod migrate;
mod open;
mod opener;
mod opening;
mod options;
mod principal;
mod publish;
mod queue;
mod read;
mod recover;
mod restore;
mod rotate;
mod runs;
mod sealing;
mod sequencer;
mod serving;
mod shared;
mod state;
mod ticket;
mod timestamps;
mod tokens;
mod tree;
mod watching;
pub mod witness;
mod work;

pub use accept::{MAX_REQUEST_BYTES, MAX_REQUEST_RECORDS};
pub use approvals::{Approval, ApprovalState, Wanted};
pub use attachments::{AttachmentError, StoredAttachment};
pub use bundle::{BundleInfo, BundleParts};
pub use capture::{Capture, ObjectName};
pub use cosign::Witnessing;
pub use error::{AppendCode, AppendError, LedgerError, SubmitError};
pub use fsck::{Fault, Finding, FsckReport};
pub use hooks::{Hook, HookSecret, HookTarget};
pub use kept::Kept;
pub use ledger::{Ledger, Stores};
pub use location::Location;
pub use migrate::Migrated;
pub use opener::Opener;
pub use opening::Unopened;
pub use options::Options;
pub use principal::{Principal, Quota, Reach, Role};
pub use read::{MAX_PAGE, Page, Published, Query};
pub use restore::{
    Expected, Restoration, Restored, RestoredRun, RestoredStream, checked_checkpoint,
};
pub use rotate::{Rotated, Rotation};
pub use runs::{RunInfo, StreamHead};
pub use shared::Status;
pub use store::OpenObject;
pub use ticket::{AppendResult, Receipt, Ticket};
pub use timestamps::{StampError, StampInfo, TimestampAuthority, TimestampStatus, Timestamper};
pub use tokens::{NewToken, Token};
pub use verify::{SealedField, SealedState};
