//! A run's beginning and end, what becomes known of it in between, and what it belongs to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::table::{body, object, words};
use crate::hash::{PublicKey, RecordHash, SignatureBytes};
use crate::ids::{RunId, StreamName};
use crate::shape::{COUNT, Form, HASH, SCALARS, Shape, TEXT};

body! {
    /// A run begins: the second record of the run's first stream.
    RunStarted
    required {
        /// The run's name, for people; need not be unique.
        name: String = TEXT,
        /// The Ed25519 public key of the stream that may seal the run.
        owner: PublicKey = HASH,
    }
    optional {
        /// The configuration: names and texts, numbers or booleans. Nothing personal.
        config: BTreeMap<String, Value> = SCALARS,
        /// The experiment it belongs to.
        experiment: String = TEXT,
        /// The model that is trained.
        model: String = TEXT,
    }
    sealed { "description": optional }
}

body! {
    /// What became known of a run after it had begun: settings, and marks that people put on it.
    RunDescribed
    required {}
    optional {
        /// Settings that `run.started` does not have. One that has a value keeps it.
        config: BTreeMap<String, Value> = SCALARS,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// Marks. The latest of a name counts.
        tags: BTreeMap<String, Value> = SCALARS,
    }
    sealed { "config": optional, "datasets": optional, "tags": optional }
}

body! {
    /// An experiment: what runs belong to that say its name. In the scope `ledger`.
    ExperimentRegistered
    required {
        /// Its name.
        name: String = TEXT,
    }
    optional {}
    sealed { "tags": optional }
}

words! {
    /// How a run ended.
    RunStatus {
        /// It did what it was to do.
        Completed = "completed",
        /// It failed.
        Failed = "failed",
        /// It was stopped.
        Aborted = "aborted",
    }
}

object! {
    /// Where a stream ended.
    StreamEnd
    required {
        /// Its name.
        stream: StreamName = Shape::Form(Form::Stream),
        /// The seq of its last record.
        seq: u64 = COUNT,
        /// The leaf hash of its last record.
        head: RecordHash = HASH,
    }
    optional {}
}

/// No member is a float.
impl Eq for StreamEnd {}

/// The most streams a run may have, such that its `run.sealed` fits into a record.
pub const MAX_STREAMS: usize = 400;

body! {
    /// A run ends: signed by its owner, lists every stream of the run as it stood before this record.
    RunSealed
    required {
        /// How it ended.
        status: RunStatus = RunStatus::SHAPE,
        /// Every stream of the run, sorted by name; this record's own stream as it stood before.
        streams: Vec<StreamEnd> = Shape::Array {
            item: &Shape::Object(StreamEnd::MEMBERS),
            min: 1,
            max: MAX_STREAMS,
        },
        /// The owner's Ed25519 signature over the text of docs/spec/streams.md.
        signature: SignatureBytes = Shape::Form(Form::Base64x64),
    }
    optional {}
    sealed { "reason": optional }
}
