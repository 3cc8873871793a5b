//! What annotators said. Everything they read or wrote is sealed.

use super::Spec;
use super::table::{annotation, body, object, words};
use crate::hash::RecordHash;
use crate::ids::{Pseudonym, RunId};
use crate::shape::{COUNT, Form, HASH, INTEGER, Member, Shape, TEXT, with};
use crate::time::Timestamp;

object! {
    /// Where in a data set something was read.
    Source
    required {
        /// The name under which it was registered (`dataset.registered`).
        dataset: String = TEXT,
        /// The row, counted from 0.
        row: u64 = COUNT,
    }
    optional {
        /// Which of the records that the row became, counted from 0.
        part: u64 = COUNT,
    }
}

object! {
    /// The ends of a rating scale, both included.
    Scale
    required {
        /// The lowest value.
        min: f64 = Shape::Number,
        /// The highest value.
        max: f64 = Shape::Number,
    }
    optional {}
}

words! {
    /// Which of two responses is better.
    Choice {
        /// The first.
        A = "a",
        /// The second.
        B = "b",
        /// Neither, or both alike.
        NoPreference = "no_preference",
    }
}

words! {
    /// Who or what an annotator is.
    AnnotatorType {
        /// Somebody paid or asked to annotate.
        Human = "human",
        /// Somebody who knows the field.
        Expert = "expert",
        /// Somebody found through a crowd-working platform.
        Crowd = "crowd",
        /// Somebody who used the model and said what they thought of it.
        User = "user",
        /// A model.
        Model = "model",
        /// A program that follows rules: tests, a verifier, a heuristic.
        Rule = "rule",
    }
}

annotation! {
    /// Which of two responses an annotator preferred.
    AnnotationPreference
    required {
        /// The choice.
        choice: Choice = Choice::SHAPE,
    }
    optional {
        /// How strongly, on the producer's scale.
        strength: f64 = Shape::Number,
    }
    sealed {
        "annotator_id": optional, "prompt": optional, "rationale": optional,
        "response_a": required, "response_b": required,
    }
}

annotation! {
    /// How an annotator rated one response.
    AnnotationRating
    required {
        /// The rating.
        value: f64 = Shape::Number,
    }
    optional {
        /// The scale; absent where it has no ends, which version 1 does not know.
        scale: Scale = Shape::Object(Scale::MEMBERS),
    }
    sealed {
        "annotator_id": optional, "prompt": optional, "rationale": optional, "response": required,
    }
}

/// `annotation.rating` as it was in version 1: always on a scale with two ends.
pub(crate) const ANNOTATION_RATING_V1: Spec = Spec {
    members: &with(
        AnnotationRating::MEMBERS_V1,
        Member {
            name: "scale",
            required: true,
            shape: Shape::Object(Scale::MEMBERS),
            doc: " The scale.",
        },
    ),
    ..AnnotationRating::V1
};

annotation! {
    /// How an annotator ranked several responses.
    AnnotationRanking
    required {
        /// The rank of each response in the order in which they are sealed; equal ranks are ties,
        /// 1 is best.
        ranks: Vec<i64> = Shape::Array { item: &INTEGER, min: 2, max: 256 },
    }
    optional {}
    sealed {
        "annotator_id": optional, "prompt": optional, "rationale": optional, "responses": required,
    }
}

annotation! {
    /// A response as an annotator would have had it.
    AnnotationCorrection
    required {}
    optional {}
    sealed {
        "annotator_id": optional, "corrected": required, "original": optional, "prompt": optional,
        "rationale": optional,
    }
}

annotation! {
    /// What an annotator found in a response.
    AnnotationCritique
    required {
        /// The kind of finding, from the producer's list.
        category: String = TEXT,
    }
    optional {
        /// Which response it is about, where there are several.
        target: String = TEXT,
    }
    sealed {
        "annotator_id": optional, "critique": required, "prompt": optional, "response": optional,
    }
}

annotation! {
    /// A response that an annotator wrote.
    AnnotationDemonstration
    required {}
    optional {}
    sealed { "annotator_id": optional, "prompt": optional, "response": required }
}

body! {
    /// An annotation is replaced.
    AnnotationSuperseded
    required {
        /// The leaf hash of the record that no longer counts.
        record: RecordHash = HASH,
    }
    optional {
        /// The annotator's pseudonym.
        annotator: Pseudonym = Shape::Form(Form::Pseudonym),
        /// When that was decided.
        at: Timestamp = Shape::Form(Form::Time),
        /// The leaf hash of the record that counts instead.
        by: RecordHash = HASH,
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
    }
    sealed { "reason": optional }
}

body! {
    /// An annotation is taken back.
    AnnotationWithdrawn
    required {
        /// The leaf hash of the record that no longer counts.
        record: RecordHash = HASH,
    }
    optional {
        /// The annotator's pseudonym.
        annotator: Pseudonym = Shape::Form(Form::Pseudonym),
        /// When that was decided.
        at: Timestamp = Shape::Form(Form::Time),
        /// The run, in records of the scope `ledger` that came after it was sealed.
        run: RunId = Shape::Form(Form::RunId),
    }
    sealed { "reason": optional }
}
