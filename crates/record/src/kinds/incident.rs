//! What went wrong or looks odd.

use super::table::{body, words};
use crate::hash::RecordHash;
use crate::ids::{ProducerName, RunId, StreamName};
use crate::shape::{COUNT, Form, HASH, SLUG, Shape};

words! {
    /// How much a finding matters.
    Severity {
        /// Worth knowing.
        Info = "info",
        /// Worth a look.
        Warning = "warning",
        /// Worth stopping for.
        Critical = "critical",
    }
}

body! {
    /// Something in the log looks odd; the evidence is named.
    FindingRaised
    required {
        /// What: `clock-skew`, ….
        finding: String = SLUG,
    }
    optional {
        /// More precisely, from the finding's list.
        detail: String = SLUG,
        /// The log indices of the records that show it.
        evidence: Vec<u64> = Shape::Array { item: &COUNT, min: 1, max: 256 },
        /// The run it is about.
        run: RunId = Shape::Form(Form::RunId),
        /// How much it matters.
        severity: Severity = Severity::SHAPE,
        /// The stream it is about.
        stream: StreamName = Shape::Form(Form::Stream),
    }
    sealed {}
}

body! {
    /// Something went wrong that the log has to know of.
    IncidentReported
    required {
        /// What: `conflicting-resend`, `stream-abandoned`, ….
        incident: String = SLUG,
    }
    optional {
        /// More precisely, from the incident's list.
        detail: String = SLUG,
        /// The leaf hash of the record that is in the log.
        logged: RecordHash = HASH,
        /// Whose doing it was.
        producer: ProducerName = Shape::Form(Form::Producer),
        /// The leaf hash of the record that was refused.
        refused: RecordHash = HASH,
        /// The run it is about.
        run: RunId = Shape::Form(Form::RunId),
        /// The seq it is about.
        seq: u64 = COUNT,
        /// The stream it is about.
        stream: StreamName = Shape::Form(Form::Stream),
    }
    sealed { "description": optional }
}
