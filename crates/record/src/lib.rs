//! What is logged: kinds, canonical bytes, commitments, stream chains, schemas.
//!
//! A *record* is one canonical JSON object ([RFC 8785]) of at most [`MAX_RECORD_BYTES`] bytes. The
//! producer builds and signs it, the log stores its bytes untouched, and its name for ever is its
//! leaf hash. This crate builds records ([`Draft`], [`StreamWriter`]), checks them in one pass over
//! their bytes ([`Record::parse`]), and checks that they follow each other ([`chain`]). The formats
//! are specified in `docs/spec/`, where a second implementation can be made from.
//!
//! It is *not* a log (see `tlog`), keeps nothing on disk, opens no connection, reads no clock and
//! draws no randomness: those are passed in as [`Clock`] and [`Entropy`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use record::kinds::{AnnotationPreference, Choice};
//! use record::*;
//! # struct Ambient;
//! # impl Clock for Ambient {
//! #     fn now(&self) -> Timestamp { Timestamp(1_795_420_800_000_000) }
//! # }
//! # impl Entropy for Ambient {
//! #     fn fill(&self, bytes: &mut [u8]) { bytes.fill(7) }
//! # }
//! # let (clock, entropy) = (Arc::new(Ambient), Arc::new(Ambient));
//! # let key = SigningKey::from_bytes(&[1; 32]);
//! let run = RunId::generate(&*clock, &*entropy);
//! let stream = StreamName::parse("rank0").unwrap();
//! let producer = ProducerName::parse("trainer").unwrap();
//! let mut writer = StreamWriter::open(run.into(), stream, producer, key, clock, entropy);
//!
//! let draft = Draft::new(AnnotationPreference::new(Choice::A))
//!     .seal("response_a", &"Mix flour and water.".into(), Subject::Run)
//!     .seal("response_b", &"Buy it.".into(), Subject::Run);
//! for submission in writer.write(draft)? {
//!     let record = submission.check()?;
//!     println!("{} {} {}", record.seq(), record.kind_name(), record.leaf_hash());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [RFC 8785]: https://www.rfc-editor.org/rfc/rfc8785

#![expect(
    clippy::unnecessary_box_returns,
    reason = "what makes a fault makes it boxed, so that a Result of the parser stays small"
)]

pub mod canonical;
pub mod chain;
mod cursor;
mod draft;
mod encoding;
mod error;
mod filter;
mod hash;
pub mod ids;
pub mod kinds;
mod parse;
mod record;
pub mod schema;
mod sealed;
mod shape;
mod submission;
mod time;
mod writer;

pub use draft::{Attachment, Draft, DraftError};
pub use ed25519_dalek::SigningKey;
pub use error::{Fault, RecordError};
pub use filter::Filter;
pub use hash::{PublicKey, RecordHash, Sha256, SignatureBytes, leaf_hash};
pub use ids::{ProducerName, Pseudonym, RunId, Scope, StreamName};
pub use kinds::{Body, Kind};
pub use record::{Attachments, Record, Sealed};
pub use sealed::{
    Commitment, CommitmentKey, Opening, OpeningError, SealedValue, Subject, commit, open,
    parse_bundle_openings, to_bundle_openings,
};
pub use submission::{Submission, SubmissionError};
pub use time::{Clock, Entropy, Timestamp};
pub use tlog::Hash;
pub use writer::{Mark, Prepared, SIGN_AFTER_MICROS, SIGN_AFTER_RECORDS, StreamWriter, WriteError};

/// The most bytes a record may have: what the length field of a C2SP tlog-tiles entry can say.
pub const MAX_RECORD_BYTES: usize = 65_535;

/// The most bytes of an attachment, 256 MiB. Nothing keeps longer ones, and no bundle holds one.
pub const MAX_ATTACHMENT_BYTES: u64 = 256 << 20;

/// The most bytes the canonical JSON of a sealed value may have: 1 MiB.
pub const MAX_SEALED_BYTES: usize = 1 << 20;

/// The greatest integer that every JSON implementation keeps exactly: 2^53 - 1 (RFC 7493 §2.2).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
