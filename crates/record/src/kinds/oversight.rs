//! What people decided about a run, and documents made from the log.

use super::table::{body, object};
use crate::hash::{RecordHash, Sha256};
use crate::ids::{Pseudonym, RunId};
use crate::shape::{COUNT, Form, HASH, SLUG, Shape, TEXT};
use crate::time::Timestamp;

macro_rules! decision {
    ($(#[doc = $doc:literal])* $name:ident) => {
        body! {
            $(#[doc = $doc])*
            $name
            required {
                /// What was decided on: a release, a model checkpoint, a run.
                subject: String = TEXT,
            }
            optional {
                /// When it was decided.
                at: Timestamp = Shape::Form(Form::Time),
                /// The leaf hash of the record that it is about.
                record: RecordHash = HASH,
                /// The pseudonym of who decided.
                reviewer: Pseudonym = Shape::Form(Form::Pseudonym),
                /// The run, in records of the scope `ledger` that came after it was sealed.
                run: RunId = Shape::Form(Form::RunId),
                /// The step of training.
                step: u64 = COUNT,
            }
            sealed { "reason": optional, "reviewer_id": optional }
        }
    };
}

decision! {
    /// A person approved.
    OversightApproved
}
decision! {
    /// A person rejected.
    OversightRejected
}
decision! {
    /// A person stopped what was going on.
    OversightStopped
}

object! {
    /// A file of a document.
    DocumentFile
    required {
        /// How many bytes it has.
        bytes: u64 = COUNT,
        /// Its media type.
        media_type: String = TEXT,
        /// Its name.
        name: String = TEXT,
        /// The SHA-256 of its bytes.
        sha256: Sha256 = Shape::Form(Form::Sha256),
    }
    optional {}
}

body! {
    /// A document was made from the log. Written by the server, in the scope `ledger`.
    DocumentIssued
    required {
        /// The kind of document: `model-card`.
        document: String = SLUG,
        /// Its files.
        files: Vec<DocumentFile> = Shape::Array {
            item: &Shape::Object(DocumentFile::MEMBERS),
            min: 1,
            max: 64,
        },
        /// The size of the log it was made from.
        log_size: u64 = COUNT,
        /// The root of the log at that size, base64.
        root: RecordHash = HASH,
        /// The run it is about.
        run: RunId = Shape::Form(Form::RunId),
    }
    optional {}
    sealed {}
}
