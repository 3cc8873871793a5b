//! The bundle's frame: what is written where, and nothing about what it means.
//!
//! All integers are big-endian.
//!
//! ```text
//! "rlhf-audit-bundle/v1\n"
//! run, 26 bytes, "\n"
//! u32 length, checkpoint note
//! in v2 and v3: u16 count (v2: from 1), that many timestamps:
//!     u32 length, text of an earlier checkpoint or of this one
//!     u32 length, TimeStampResp
//!     u16 count, that many hashes of 32 bytes: the consistency proof
//! in v3 alone: u32 count of attachments, from 1
//! u64 count, that many proof hashes of 32 bytes
//! u64 count, that many entries, by ascending index:
//!     u64 index
//!     u16 length, record
//!     u32 length, openings (canonical JSON; 0: none)
//! in v3 alone: that many attachments, by ascending SHA-256:
//!     32 bytes SHA-256
//!     u64 length, bytes
//! end of file
//! ```

use std::io;

/// What every bundle of this format begins with.
pub const MAGIC: &[u8; 21] = b"rlhf-audit-bundle/v1\n";
/// What a bundle with timestamps begins with.
pub const MAGIC_V2: &[u8; 21] = b"rlhf-audit-bundle/v2\n";
/// What a bundle with attachments begins with.
pub const MAGIC_V3: &[u8; 21] = b"rlhf-audit-bundle/v3\n";
/// Timestamps in one bundle: a few authorities' word on one checkpoint each.
pub(super) const MAX_TIMESTAMPS: usize = 16;
/// The most bytes of a stamped text, and of an answer.
pub(super) const MAX_STAMP_BYTES: usize = crate::timestamp::MAX_RESPONSE_BYTES;
/// A consistency proof has at most two hashes a level.
pub(super) const MAX_PROOF_HASHES: u16 = 128;
/// Bytes of a run's ULID.
pub(super) const RUN_BYTES: usize = 26;
/// A record has at most 16 sealed fields of 1 MiB each; base64 and JSON escapes at most sextuple that.
pub(super) const MAX_OPENINGS_BYTES: u32 = 128 << 20;

/// A timestamp as it stands in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The text of the checkpoint that was stamped.
    pub text: Vec<u8>,
    /// The authority's answer: a `TimeStampResp`, DER.
    pub response: Vec<u8>,
    /// Shows that the bundle's checkpoint has grown from the stamped one (RFC 6962, section 2.1.2).
    pub proof: Vec<[u8; 32]>,
}

/// What stands before a bundle's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The run's ULID as written; not yet known to be one.
    pub run: String,
    /// The signed checkpoint note.
    pub checkpoint: Vec<u8>,
    /// Timestamps, if it has any.
    pub timestamps: Vec<Stamp>,
    /// How many attachments follow the entries.
    pub attachments: u32,
    /// The multi-proof.
    pub proof: Vec<[u8; 32]>,
    /// How many entries follow.
    pub entries: u64,
}

/// One entry as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in the log.
    pub index: u64,
    /// The record's bytes.
    pub record: Vec<u8>,
    /// Canonical JSON, or empty.
    pub openings: Vec<u8>,
}

/// An attachment as it stands in the file, before its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The name it has there. Whether it is that of the bytes is for whoever reads them to see.
    pub sha256: [u8; 32],
    /// How many bytes follow.
    pub bytes: u64,
}

/// Why a file is not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file could not be read on.
    #[error("the bundle cannot be read: {0}")]
    Io(io::Error),
    /// The bytes break the format.
    #[error("{found} where {expected} was expected")]
    Broken {
        /// What the format has there.
        expected: &'static str,
        /// What the file has.
        found: String,
    },
}
