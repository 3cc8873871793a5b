//! What a run works with: data sets, guidelines for annotators, consent.

use std::collections::BTreeMap;

use super::Spec;
use super::table::{body, object, words};
use crate::hash::Sha256;
use crate::ids::{Pseudonym, RunId};
use crate::shape::{COUNT, COUNTS, Form, LONG_TEXT, Shape, TEXT, without};
use crate::time::Timestamp;

object! {
    /// A file of a data set.
    DatasetFile
    required {
        /// How many bytes it has.
        bytes: u64 = COUNT,
        /// Its name within the data set.
        name: String = TEXT,
        /// The SHA-256 of its bytes.
        sha256: Sha256 = Shape::Form(Form::Sha256),
    }
    optional {}
}

body! {
    /// A data set as it was read: the digest of its bytes.
    DatasetRegistered
    required {
        /// How many bytes it has.
        bytes: u64 = COUNT,
        /// Its format.
        format: String = TEXT,
        /// Its name, by which annotations refer to it.
        name: String = TEXT,
        /// The SHA-256 of its bytes.
        sha256: Sha256 = Shape::Form(Form::Sha256),
    }
    optional {
        /// Its files, where it has several: `bytes` is then their sum, and `sha256` that of the lines that `sha256sum`
        /// prints for them, sorted by name. From version 2 on.
        files: Vec<DatasetFile> = Shape::Array {
            item: &Shape::Object(DatasetFile::MEMBERS),
            min: 1,
            max: 256,
        },
        /// What the library that loaded it calls this state of it. From version 2 on.
        fingerprint: String = TEXT,
        /// Its licence, by SPDX identifier where it has one.
        license: String = TEXT,
        /// How many rows it has.
        rows: u64 = COUNT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// Where it is from.
        source: String = LONG_TEXT,
        /// How many rows each split has.
        splits: BTreeMap<String, u64> = COUNTS,
    }
    sealed { "row_key": optional }
}

/// `dataset.registered` as it was in version 1.
pub(crate) const DATASET_REGISTERED_V1: Spec = Spec {
    members: &without::<{ DatasetRegistered::MEMBERS.len() - 2 }>(
        DatasetRegistered::MEMBERS,
        &["files", "fingerprint"],
    ),
    sealed: &[],
    sealed_members: &[],
    ..DatasetRegistered::SPEC
};

body! {
    /// Guidelines that annotators were given: the digest of their bytes.
    GuidelineRegistered
    required {
        /// How many bytes they have.
        bytes: u64 = COUNT,
        /// Their name.
        name: String = TEXT,
        /// The SHA-256 of their bytes.
        sha256: Sha256 = Shape::Form(Form::Sha256),
    }
    optional {
        /// Their language, a BCP 47 tag.
        language: String = TEXT,
        /// Their media type.
        media_type: String = TEXT,
        /// Their edition.
        revision: String = TEXT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
    }
    sealed {}
}

words! {
    /// What a person said.
    ConsentStatus {
        /// Yes.
        Granted = "granted",
        /// No longer.
        Withdrawn = "withdrawn",
    }
}

body! {
    /// An annotator gave consent or took it back.
    ConsentRecorded
    required {
        /// The annotator's pseudonym.
        annotator: Pseudonym = Shape::Form(Form::Pseudonym),
        /// What they said.
        status: ConsentStatus = ConsentStatus::SHAPE,
    }
    optional {
        /// When they said it.
        at: Timestamp = Shape::Form(Form::Time),
        /// The SHA-256 of the text they agreed to.
        document: Sha256 = Shape::Form(Form::Sha256),
        /// What it covers.
        purposes: Vec<String> = Shape::Array { item: &TEXT, min: 1, max: 32 },
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
    }
    sealed { "annotator_id": optional, "statement": optional }
}
