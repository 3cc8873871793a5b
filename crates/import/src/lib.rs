//! Reads human feedback into records: published data sets, what annotation platforms export, and what
//! they tell of by webhook ([`platforms`]).
//!
//! A data set is a JSON array of rows or one JSON row a line, as a file or a pipe, plain or gzip;
//! each row becomes the [`Draft`](record::Draft)s of what people said in it. Reading is streaming:
//! no more than one row is in memory, and a row may have at most [`MAX_ROW_BYTES`].
//!
//! The drafts of a file are the same, in the same order, each time it is read. Whoever was
//! interrupted after `n` drafts reads again and skips the first `n`. What people wrote (prompts,
//! responses, explanations, and where in a text they point) is always sealed, never in a body.
//!
//! It is *not* what writes records or decides about errors: [`inspect()`] reads a file to its end
//! and says what is wrong with it, [`rows`] gives the drafts, the caller chooses.

mod error;
mod fields;
pub mod follow;
mod formats;
mod input;
mod inspect;
pub mod platforms;
mod pseudonyms;
mod rows;
mod split;
pub mod trainers;

pub use error::{Misfit, RowError};
pub use formats::{Format, Settings, UnknownFormat};
pub use input::FileFacts;
pub use inspect::{Inspection, MAX_KEPT_ERRORS, inspect};
pub use pseudonyms::Pseudonyms;
pub use rows::{Row, Rows, Source, rows};

/// The most bytes one row may have, in whatever encoding JSON allows: 16 MiB.
///
/// A missing quotation mark or bracket makes the rest of a file one row; this bound is what such a
/// file may cost in memory.
pub const MAX_ROW_BYTES: usize = 16 << 20;
