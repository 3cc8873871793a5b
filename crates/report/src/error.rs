//! Why a card cannot be made.

use record::{RecordError, RunId};
use tlog::LeafIndex;

/// Why a card cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A record of another run was handed in: the caller's selection is wrong.
    #[error("record {index} is of run {found}, expected records of run {expected} only")]
    OtherRun {
        /// Which record.
        index: LeafIndex,
        /// The card's run.
        expected: RunId,
        /// The record's run.
        found: RunId,
    },
    /// A record's body does not decode, though its kind is known.
    #[error("record {index} does not decode: {source}")]
    Body {
        /// Which record.
        index: LeafIndex,
        /// What is wrong with it.
        source: RecordError,
    },
    /// No record of the run was handed in.
    #[error("there is no record of run {0}: nothing to report")]
    Empty(RunId),
    /// A template failed, which only a defect of this crate does.
    #[error("the card's template failed: {0}")]
    Template(#[from] askama::Error),
    /// The card is not JSON, which only a defect of this crate does.
    #[error("the card cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}
