//! What holds for everything that reads bytes from outside, whatever the bytes are: no reader panics,
//! what is read is written back the same, and nothing is accepted that nobody signed.
//!
//! One function a target. Two callers: `fuzz/`, where coverage guides libFuzzer to new input, and this
//! crate's own test, which replays `fuzz/corpus` and a few thousand mutations of it on a stable
//! toolchain. A target panics where something does not hold; that is its only output.
//!
//! Not here: readers of HTTP, JSON, XML and databases, which are libraries' work.

#![expect(
    clippy::missing_panics_doc,
    reason = "a panic is how a target says what it found"
)]

mod add_checkpoint;
mod bundle;
mod bytes;
mod example;
mod journal;
mod manifest;
mod note;
mod platform;
mod policy;
mod proof;
mod record;
mod rfc9162;
mod rotation;
mod sealed;
mod spool;
mod state;
mod submission;
mod tile;
mod timestamp;
mod weights;

pub use add_checkpoint::add_checkpoint;
pub use bundle::bundle;
pub use journal::journal;
pub use manifest::manifest;
pub use note::note;
pub use platform::platform;
pub use policy::policy;
pub use proof::proof;
pub use record::record;
pub use rotation::rotation;
pub use sealed::sealed;
pub use spool::spool;
pub use state::state;
pub use submission::submission;
pub use tile::tile;
pub use timestamp::timestamp;
pub use weights::weights;

/// A target: its name, as in `fuzz/fuzz_targets` and `fuzz/corpus`, and what it does with input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("add_checkpoint", add_checkpoint),
    ("bundle", bundle),
    ("journal", journal),
    ("manifest", manifest),
    ("note", note),
    ("platform", platform),
    ("policy", policy),
    ("proof", proof),
    ("record", record),
    ("rotation", rotation),
    ("sealed", sealed),
    ("spool", spool),
    ("state", state),
    ("submission", submission),
    ("tile", tile),
    ("timestamp", timestamp),
    ("weights", weights),
];
