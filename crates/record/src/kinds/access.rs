//! Who may do what, and what auditors have read.

use super::table::{body, object, words};
use crate::ids::RunId;
use crate::shape::{COUNT, Form, SLUG, Shape};
use crate::time::Timestamp;

words! {
    /// What can be read of a run.
    ReadPart {
        /// Numbers over many records: what runs there are, how far they and their streams are.
        Aggregates = "aggregates",
        /// Model cards.
        Documents = "documents",
        /// Records, with their attachments.
        Records = "records",
        /// Sealed values.
        Sealed = "sealed",
    }
}

words! {
    /// What became of a token.
    AccessChange {
        /// An admin approved of what another had asked for.
        Approved = "approved",
        /// It was made.
        Created = "created",
        /// An admin refused what another had asked for.
        Rejected = "rejected",
        /// An admin asked for what needs another's approval.
        Requested = "requested",
        /// It was ended before its time.
        Revoked = "revoked",
    }
}

object! {
    /// A stretch of the log.
    ReadSpan
    required {
        /// How many indices.
        count: u64 = COUNT,
        /// The first of them.
        first: u64 = COUNT,
    }
    optional {}
}

body! {
    /// An auditor read. Written by the server, in the scope `ledger`; reads of one part of one run within some seconds are one record.
    AccessRead
    required {
        /// Whose token it was, by its id.
        by: String = SLUG,
        /// When it first read.
        first: Timestamp = Shape::Form(Form::Time),
        /// When it last read.
        last: Timestamp = Shape::Form(Form::Time),
        /// Which part.
        part: ReadPart = ReadPart::SHAPE,
        /// How many answers it was given.
        reads: u64 = COUNT,
    }
    optional {
        /// The run; without it the answers were of several, or of none.
        run: RunId = Shape::Form(Form::RunId),
        /// Among which records, where single ones or pages were read; a bundle has all of its run's.
        spans: Vec<ReadSpan> = Shape::Array {
            item: &Shape::Object(ReadSpan::MEMBERS),
            min: 1,
            max: 64,
        },
    }
    sealed {}
}

body! {
    /// Who may do what has changed, or is to change. Written by the server, in the scope `ledger`.
    AccessChanged
    required {
        /// What became of it.
        change: AccessChange = AccessChange::SHAPE,
        /// What may be done: a role's name, or `key-rotation`.
        role: String = SLUG,
    }
    optional {
        /// Whose doing it was: a token's id, or `local`.
        by: String = SLUG,
        /// When it ends by itself.
        expires: Timestamp = Shape::Form(Form::Time),
        /// What an auditor may read.
        parts: Vec<ReadPart> = Shape::Array { item: &ReadPart::SHAPE, min: 1, max: 4 },
        /// What was asked for, by its id.
        request: String = SLUG,
        /// Of which runs, if not of all.
        runs: Vec<RunId> = Shape::Array { item: &Shape::Form(Form::RunId), min: 1, max: 256 },
        /// The token, by its id.
        token: String = SLUG,
    }
    sealed {}
}
