//! What training did: scores, updates, saved models, other files, metrics, evaluations.

use std::collections::BTreeMap;

use super::Spec;
use super::table::{body, object, words};
use crate::hash::{RecordHash, Sha256};
use crate::ids::RunId;
use crate::shape::{COUNT, Form, HASH, LONG_TEXT, Member, NUMBERS, Shape, TEXT, with, without};

body! {
    /// A reward model scored one response.
    RewardScored
    required {
        /// The score.
        reward: f64 = Shape::Number,
    }
    optional {
        /// What it is made of.
        components: BTreeMap<String, f64> = NUMBERS,
        /// An opaque name of what was scored, never derived from its content.
        item: String = TEXT,
        /// The reward model.
        reward_model: String = TEXT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// The step of training.
        step: u64 = COUNT,
    }
    sealed { "prompt": optional, "response": optional }
}

object! {
    /// The batch an update was computed from.
    Batch
    required {
        /// How many records it has.
        records: u64 = COUNT,
    }
    optional {
        /// The leaf hashes of the records it was made of. From version 2 on; more than 256 are in the attachment `batch`,
        /// one in base64 a line.
        members: Vec<RecordHash> = Shape::Array { item: &HASH, min: 1, max: 256 },
        /// The SHA-256 of what the producer makes of its batch; says nothing about single values.
        sha256: Sha256 = Shape::Form(Form::Sha256),
    }
}

words! {
    /// How norms of changes were come by.
    NormMethod {
        /// From the parameters before and after.
        Exact = "exact",
        /// From random projections of the parameters before and after.
        Projection = "projection",
    }
}

object! {
    /// How the norms in `module_norms` were come by.
    Norms
    required {
        /// How.
        method: NormMethod = NormMethod::SHAPE,
    }
    optional {
        /// The probability that an estimate is within `relative_error`, for each module.
        confidence: f64 = Shape::Number,
        /// The dimensions of the smallest projection.
        dimensions: u64 = COUNT,
        /// How many bytes were kept between two updates.
        memory_bytes: u64 = COUNT,
        /// The most that an estimate is off, as a fraction of the true norm.
        relative_error: f64 = Shape::Number,
        /// What the projection was drawn from.
        seed: u64 = COUNT,
        /// The step since which the change is measured.
        since: u64 = COUNT,
    }
}

body! {
    /// The policy was updated.
    PolicyUpdated
    required {
        /// The step of training.
        step: u64 = COUNT,
    }
    optional {
        /// What it was computed from.
        batch: Batch = Shape::Object(Batch::MEMBERS),
        /// The entropy of the policy, in nats.
        entropy: f64 = Shape::Number,
        /// The epoch; fractions say how far into it.
        epoch: f64 = Shape::Number,
        /// The norm of the gradient.
        gradient_norm: f64 = Shape::Number,
        /// The Kullback–Leibler divergence from the reference policy, in nats.
        kl: f64 = Shape::Number,
        /// The learning rate.
        learning_rate: f64 = Shape::Number,
        /// The loss.
        loss: f64 = Shape::Number,
        /// Other metrics by name.
        metrics: BTreeMap<String, f64> = NUMBERS,
        /// The norm of each module's change by the module's name.
        module_norms: BTreeMap<String, f64> = NUMBERS,
        /// How `module_norms` were come by. From version 2 on.
        norms: Norms = Shape::Object(Norms::MEMBERS),
        /// How many parameters the model has. From version 2 on.
        parameters: u64 = COUNT,
        /// The mean reward of the batch.
        reward_mean: f64 = Shape::Number,
        /// The standard deviation of the batch's rewards.
        reward_std: f64 = Shape::Number,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// How many of the parameters are trained. From version 2 on.
        trainable: u64 = COUNT,
    }
    sealed { "batch_sha256": optional }
}

/// `policy.updated` as it was in version 1.
pub(crate) const POLICY_UPDATED_V1: Spec = Spec {
    members: &with(
        without::<{ PolicyUpdated::MEMBERS.len() - 3 }>(
            PolicyUpdated::MEMBERS,
            &["norms", "parameters", "trainable"],
        ),
        Member {
            name: "batch",
            required: false,
            shape: Shape::Object(&BATCH_V1),
            doc: " What it was computed from.",
        },
    ),
    sealed: &[],
    sealed_members: &[],
    ..PolicyUpdated::SPEC
};

const BATCH_V1: [Member; Batch::MEMBERS.len() - 1] = without(Batch::MEMBERS, &["members"]);

object! {
    /// A file of a saved model.
    ModelFile
    required {
        /// How many bytes it has.
        bytes: u64 = COUNT,
        /// Its name within the model checkpoint.
        name: String = TEXT,
        /// The SHA-256 of its bytes.
        sha256: Sha256 = Shape::Form(Form::Sha256),
    }
    optional {}
}

body! {
    /// A model was saved.
    ModelCheckpoint
    required {
        /// Its files. From version 2 on there may be none here: where only the moment is recorded, or where there are
        /// more than 256 and the attachment `manifest` has them.
        files: Vec<ModelFile> = Shape::Array {
            item: &Shape::Object(ModelFile::MEMBERS),
            min: 0,
            max: 256,
        },
        /// Its name.
        name: String = TEXT,
    }
    optional {
        /// The epoch; fractions say how far into it.
        epoch: f64 = Shape::Number,
        /// Metrics at that time by name.
        metrics: BTreeMap<String, f64> = NUMBERS,
        /// How many parameters the model has.
        parameters: u64 = COUNT,
        /// The name of the model checkpoint it was trained from.
        parent: String = TEXT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// The step of training.
        step: u64 = COUNT,
    }
    sealed {}
}

/// `model.checkpoint` as it was in version 1: never without files.
pub(crate) const MODEL_CHECKPOINT_V1: Spec = Spec {
    members: &with(
        without::<{ ModelCheckpoint::MEMBERS.len() }>(ModelCheckpoint::MEMBERS, &[]),
        Member {
            name: "files",
            required: true,
            shape: Shape::Array {
                item: &Shape::Object(ModelFile::MEMBERS),
                min: 1,
                max: 256,
            },
            doc: " Its files.",
        },
    ),
    ..ModelCheckpoint::SPEC
};

body! {
    /// Metrics of training.
    MetricLogged
    required {
        /// The metrics by name.
        metrics: BTreeMap<String, f64> = NUMBERS,
    }
    optional {
        /// The epoch; fractions say how far into it.
        epoch: f64 = Shape::Number,
        /// The phase: `train`, `validation`, ….
        phase: String = TEXT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// The step of training.
        step: u64 = COUNT,
    }
    sealed {}
}

words! {
    /// What is no finite number.
    NotFinite {
        /// Not a number.
        Nan = "nan",
        /// Beyond every number.
        Infinity = "infinity",
        /// Below every number.
        MinusInfinity = "minus-infinity",
    }
}

impl NotFinite {
    /// What a value is, `None` where it is finite.
    pub fn of(value: f64) -> Option<Self> {
        match value {
            _ if value.is_nan() => Some(Self::Nan),
            f64::INFINITY => Some(Self::Infinity),
            f64::NEG_INFINITY => Some(Self::MinusInfinity),
            _ => None,
        }
    }
}

/// The only numbers that `metric.logged` cannot hold.
const NOT_FINITE: Shape = Shape::Map {
    value: &NotFinite::SHAPE,
    min: 1,
    max: 256,
};

body! {
    /// Metrics of training came out as no finite number.
    MetricDiverged
    required {
        /// What they are, by name.
        metrics: BTreeMap<String, NotFinite> = NOT_FINITE,
    }
    optional {
        /// The epoch; fractions say how far into it.
        epoch: f64 = Shape::Number,
        /// The phase: `train`, `validation`, ….
        phase: String = TEXT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// The step of training.
        step: u64 = COUNT,
    }
    sealed {}
}

body! {
    /// A file that a run made was handed over: its digest. Its place among the run's files is in the
    /// clear or sealed.
    ArtifactLogged
    required {
        /// How many bytes it has.
        bytes: u64 = COUNT,
        /// The SHA-256 of its bytes.
        sha256: Sha256 = Shape::Form(Form::Sha256),
    }
    optional {
        /// Its media type.
        media_type: String = TEXT,
        /// Its place among the run's files, with `/` between folders.
        path: String = LONG_TEXT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
    }
    sealed { "path": optional }
}

body! {
    /// A model was evaluated.
    EvaluationCompleted
    required {
        /// The results by name.
        metrics: BTreeMap<String, f64> = NUMBERS,
        /// The evaluation's name.
        name: String = TEXT,
    }
    optional {
        /// The name of the data set it was evaluated on.
        dataset: String = TEXT,
        /// The name of the model checkpoint that was evaluated.
        model: String = TEXT,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
        /// On how many samples.
        samples: u64 = COUNT,
        /// The step of training.
        step: u64 = COUNT,
    }
    sealed {}
}
