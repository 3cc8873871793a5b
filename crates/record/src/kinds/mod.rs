//! The kinds of record, one table each: from it come the typed body, the shape the parser walks,
//! the JSON Schema and the fields that may or must be sealed.
//!
//! A body's bytes are final once logged. A kind that has to change gets a new version beside the
//! old one, never a changed table.

mod access;
mod annotation;
mod dataset;
mod incident;
mod key;
mod ledger;
mod oversight;
mod run;
mod stream;
mod table;
mod training;

pub use access::*;
pub use annotation::*;
pub use dataset::*;
pub use incident::*;
pub use key::*;
pub use ledger::*;
pub use oversight::*;
pub use run::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
pub use stream::*;
pub use training::*;

use crate::cursor::Cursor;
use crate::shape::{self, Member};

/// The typed body of one kind of record.
pub trait Body: Serialize + DeserializeOwned {
    /// The kind it is the body of.
    const KIND: Kind;
}

/// What there is to know about a kind.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) doc: &'static str,
    pub(crate) members: &'static [Member],
    /// Field name and whether it is required; sorted by name.
    pub(crate) sealed: &'static [(&'static str, bool)],
    /// The same as a table for the parser.
    pub(crate) sealed_members: &'static [Member],
}

impl Spec {
    /// Whether some field has to be sealed.
    pub(crate) fn must_seal(&self) -> bool {
        self.sealed.iter().any(|(_, required)| *required)
    }

    /// Whether a body and the names of what is sealed beside it have a place here.
    fn holds(&self, body: &[u8], sealed: &[&str]) -> bool {
        sealed
            .iter()
            .all(|field| self.sealed.iter().any(|(known, _)| known == field))
            && Cursor::from_bytes(body).is_ok_and(|mut cursor| {
                shape::object(&mut cursor, self.members).is_ok() && cursor.end().is_ok()
            })
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $name:literal,)*) => {
        /// The kinds of record. The name stands in the member `kind`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl Kind {
            /// Every kind, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The name in the member `kind`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// From the name, `None` where there is no such kind.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$kind),)*
                    _ => None,
                }
            }

            pub(crate) fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$kind => &$kind::SPEC,)*
                }
            }
        }
    };
}

kinds! {
    /// See [`struct@RunStarted`].
    RunStarted = "run.started",
    /// See [`struct@RunDescribed`].
    RunDescribed = "run.described",
    /// See [`struct@RunSealed`].
    RunSealed = "run.sealed",
    /// See [`struct@StreamOpened`].
    StreamOpened = "stream.opened",
    /// See [`struct@StreamSigned`].
    StreamSigned = "stream.signed",
    /// See [`struct@ProducerEnrolled`].
    ProducerEnrolled = "producer.enrolled",
    /// See [`struct@ExperimentRegistered`].
    ExperimentRegistered = "experiment.registered",
    /// See [`struct@DatasetRegistered`].
    DatasetRegistered = "dataset.registered",
    /// See [`struct@GuidelineRegistered`].
    GuidelineRegistered = "guideline.registered",
    /// See [`struct@ConsentRecorded`].
    ConsentRecorded = "consent.recorded",
    /// See [`struct@AnnotationPreference`].
    AnnotationPreference = "annotation.preference",
    /// See [`struct@AnnotationRating`].
    AnnotationRating = "annotation.rating",
    /// See [`struct@AnnotationRanking`].
    AnnotationRanking = "annotation.ranking",
    /// See [`struct@AnnotationCorrection`].
    AnnotationCorrection = "annotation.correction",
    /// See [`struct@AnnotationCritique`].
    AnnotationCritique = "annotation.critique",
    /// See [`struct@AnnotationDemonstration`].
    AnnotationDemonstration = "annotation.demonstration",
    /// See [`struct@AnnotationSuperseded`].
    AnnotationSuperseded = "annotation.superseded",
    /// See [`struct@AnnotationWithdrawn`].
    AnnotationWithdrawn = "annotation.withdrawn",
    /// See [`struct@RewardScored`].
    RewardScored = "reward.scored",
    /// See [`struct@PolicyUpdated`].
    PolicyUpdated = "policy.updated",
    /// See [`struct@ModelCheckpoint`].
    ModelCheckpoint = "model.checkpoint",
    /// See [`struct@MetricLogged`].
    MetricLogged = "metric.logged",
    /// See [`struct@MetricDiverged`].
    MetricDiverged = "metric.diverged",
    /// See [`struct@ArtifactLogged`].
    ArtifactLogged = "artifact.logged",
    /// See [`struct@EvaluationCompleted`].
    EvaluationCompleted = "evaluation.completed",
    /// See [`struct@OversightApproved`].
    OversightApproved = "oversight.approved",
    /// See [`struct@OversightRejected`].
    OversightRejected = "oversight.rejected",
    /// See [`struct@OversightStopped`].
    OversightStopped = "oversight.stopped",
    /// See [`struct@FindingRaised`].
    FindingRaised = "finding.raised",
    /// See [`struct@DocumentIssued`].
    DocumentIssued = "document.issued",
    /// See [`struct@AccessRead`].
    AccessRead = "access.read",
    /// See [`struct@AccessChanged`].
    AccessChanged = "access.changed",
    /// See [`struct@IncidentReported`].
    IncidentReported = "incident.reported",
    /// See [`struct@KeyRotated`].
    KeyRotated = "key.rotated",
    /// See [`struct@LedgerContinued`].
    LedgerContinued = "ledger.continued",
    /// See [`struct@LedgerClosed`].
    LedgerClosed = "ledger.closed",
}

impl Kind {
    /// The version of the schema that is written now, which is also the newest that is read.
    pub fn version(self) -> u16 {
        match self {
            Self::KeyRotated
            | Self::AnnotationPreference
            | Self::AnnotationRating
            | Self::AnnotationRanking
            | Self::AnnotationCorrection
            | Self::AnnotationCritique
            | Self::AnnotationDemonstration
            | Self::DatasetRegistered
            | Self::ModelCheckpoint
            | Self::PolicyUpdated => 2,
            _ => 1,
        }
    }

    /// The oldest version that is still written, where it can say what is to be said: the newer ones
    /// only add to it, so that a record means the same to whoever knows nothing newer.
    fn oldest_written(self) -> u16 {
        match self {
            // Version 1 has no force.
            Self::KeyRotated => 2,
            _ => 1,
        }
    }

    /// The oldest version of those still written that has room for this body and these sealed fields;
    /// the newest where none has, whose complaint is the one to hear.
    pub(crate) fn version_for(self, body: &[u8], sealed: &[&str]) -> u16 {
        (self.oldest_written()..self.version())
            .find(|version| self.spec_of(*version).holds(body, sealed))
            .unwrap_or(self.version())
    }

    /// Every kind in every version that is read.
    pub fn all_versions() -> impl Iterator<Item = (Self, u16)> {
        Self::ALL
            .iter()
            .flat_map(|kind| (1..=kind.version()).map(move |version| (*kind, version)))
    }

    /// Whether records of it may name a run in their body: see [`Record::named_run`](crate::Record::named_run).
    pub fn names_run(self) -> bool {
        (1..=self.version()).any(|version| {
            let members = self.spec_of(version).members;
            members.iter().any(|member| member.name == "run")
        })
    }

    /// The tables of a version that is read, 1 to [`Kind::version`].
    pub(crate) fn spec_of(self, version: u16) -> &'static Spec {
        match (self, version) {
            (Self::KeyRotated, 1) => &KEY_ROTATED_V1,
            (Self::AnnotationPreference, 1) => &AnnotationPreference::V1,
            (Self::AnnotationRating, 1) => &ANNOTATION_RATING_V1,
            (Self::AnnotationRanking, 1) => &AnnotationRanking::V1,
            (Self::AnnotationCorrection, 1) => &AnnotationCorrection::V1,
            (Self::AnnotationCritique, 1) => &AnnotationCritique::V1,
            (Self::AnnotationDemonstration, 1) => &AnnotationDemonstration::V1,
            (Self::DatasetRegistered, 1) => &DATASET_REGISTERED_V1,
            (Self::ModelCheckpoint, 1) => &MODEL_CHECKPOINT_V1,
            (Self::PolicyUpdated, 1) => &POLICY_UPDATED_V1,
            _ => self.spec(),
        }
    }

    /// Whether a chain looks at no more of such a record than its place: it opens, signs, begins and ends nothing.
    pub fn is_ordinary(self) -> bool {
        !matches!(
            self,
            Self::StreamOpened
                | Self::StreamSigned
                | Self::RunStarted
                | Self::RunSealed
                | Self::KeyRotated
                | Self::LedgerContinued
                | Self::LedgerClosed
        )
    }

    /// The fields that may be sealed in a record of this kind, by name, each with whether it must.
    pub fn sealed_fields(self) -> &'static [(&'static str, bool)] {
        self.spec().sealed
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    fn assert_sorted(members: &[Member]) {
        assert!(members.is_sorted_by(|a, b| a.name < b.name), "{members:?}");
        for member in members {
            let shape = match member.shape {
                Shape::Array { item, .. } => *item,
                shape => shape,
            };
            if let Shape::Object(inner) = shape {
                assert_sorted(inner);
            }
        }
    }

    #[test]
    fn tables_are_sorted_and_named() {
        for (kind, version) in Kind::all_versions() {
            let spec = kind.spec_of(version);
            assert_sorted(spec.members);
            assert!(spec.sealed.is_sorted_by(|a, b| a.0 < b.0), "{kind}");
            assert!(!spec.doc.trim().is_empty(), "{kind}");
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
    }
}
