//! Checks a log, a bundle or a proof, trusting nothing but the policy it is given.
//!
//! With `tlog` and `record` this is all the code an auditor has to trust: it reads bytes from a
//! directory, a URL or a file, recomputes every hash, and says in a [`Report`] what it checked, what
//! failed, what it had to take on trust and what a clean verdict does not prove.
//!
//! It is *not* a database client, holds no secret, writes nothing and reads no clock. Sealed values
//! are opened by the caller ([`OpenSealed`]); the record's meaning is `record`'s; trees and notes are
//! `tlog`'s.
//!
//! A check that was made always gives `Ok(Report)`, whatever it found; [`VerifyError`] says that no
//! answer could be had (a file that cannot be opened, a server that does not answer).

mod attached;
pub mod bundle;
mod chains;
mod commitments;
mod document;
mod enrolled;
mod error;
mod files;
mod follow;
mod followed;
mod log;
mod meaning;
mod model;
mod paths;
mod pipeline;
mod proof;
mod render;
mod report;
pub mod rotation;
mod sealed;
mod server;
mod signatures;
mod source;
mod stamps;
mod tiles;
pub mod timestamp;
mod tree;
mod trust;
#[cfg(feature = "url")]
mod url;

use std::fmt;
use std::num::NonZeroUsize;
use std::thread;

pub use bundle::check::bundle;
pub use document::Document;
pub use error::VerifyError;
pub use follow::{Advance, Follower};
pub use log::log;
pub use model::{Model, ModelChange, ModelDifference, ModelMatch, ModelReport};
pub use proof::proof;
pub use report::{
    Check, Closed, Counts, Failure, FollowedKeys, Issued, KEPT, KeyChange, Named, Predecessor,
    Report, SealedValues, Signed, Stamped, Subject, Trust, Verdict,
};
pub use sealed::{OpenSealed, SealedField, SealedState};
pub use source::Source;
pub use tiles::SourceTiles;
#[cfg(feature = "url")]
pub use url::UrlSource;

/// What to check beyond what is always checked, and what is known beforehand.
#[derive(Clone, Default)]
pub struct Options<'a> {
    /// Only leaves, tiles, root and the checkpoint's signatures: nothing of what records mean.
    pub hashes_only: bool,
    /// Threads to use; all cores if not given.
    pub threads: Option<NonZeroUsize>,
    /// An earlier checkpoint note that was kept: the log must have grown from it.
    pub since: Option<Vec<u8>>,
    /// Opens sealed values, so that commitments are checked too.
    pub openings: Option<&'a dyn OpenSealed>,
    /// A document that some `document.issued` record must name.
    pub document: Option<Document>,
    /// A folder of weights that some `model.checkpoint` record must be about.
    pub model: Option<Model<'a>>,
    /// Roots of time-stamping authorities: timestamps are then held against them, and there must be
    /// one. Without, a timestamp is read, and who made it is left open.
    pub tsa_roots: Option<timestamp::TsaRoots>,
    /// Producers' keys known out of band.
    pub producer_keys: Vec<ProducerKey>,
    /// Where the changes of the log's keys are (`rotations/`), for a bundle; a log has its own.
    pub rotations: Option<Source>,
    /// Told now and then how many entries of how many are done; for a progress bar.
    pub progress: Option<&'a (dyn Fn(u64, u64) + Sync)>,
}

impl Options<'_> {
    fn threads(&self) -> NonZeroUsize {
        self.threads
            .or_else(|| thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("hashes_only", &self.hashes_only)
            .field("threads", &self.threads)
            .field("since", &self.since.is_some())
            .field("openings", &self.openings.is_some())
            .field("document", &self.document)
            .field("model", &self.model.as_ref().map(|model| model.name))
            .field("tsa_roots", &self.tsa_roots.is_some())
            .field("producer_keys", &self.producer_keys)
            .field("rotations", &self.rotations)
            .finish_non_exhaustive()
    }
}

/// A key that an auditor knows, out of band, to be a producer's. Every stream of that producer must
/// then be under one of its pinned keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerKey {
    /// The producer's name, as in `stream.opened`.
    pub producer: String,
    /// Its Ed25519 public key.
    pub key: [u8; 32],
}
