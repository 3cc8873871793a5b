//! The rules, by name.

use record::kinds::Severity;
use serde::{Deserialize, Serialize};

macro_rules! rules {
    ($($(#[doc = $doc:literal])* $rule:ident = $name:literal $severity:ident,)*) => {
        /// A rule: what a finding is called.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Rule {
            $($(#[doc = $doc])* #[serde(rename = $name)] $rule,)*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$rule,)*];

            /// The name in the member `finding`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$rule => $name,)*
                }
            }

            /// From its name.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$rule),)*
                    _ => None,
                }
            }

            /// How much a finding of it matters.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$rule => Severity::$severity,)*
                }
            }
        }
    };
}

rules! {
    /// The divergence from the reference policy has left its course.
    KlDrift = "kl-drift" Warning,
    /// The mean reward has left its course.
    RewardDrift = "reward-drift" Warning,
    /// The reward has risen while a held-out evaluation has fallen.
    RewardEvaluation = "reward-evaluation-divergence" Critical,
    /// Responses have become short within a few updates.
    LengthCollapse = "length-collapse" Warning,
    /// The policy's entropy has gone within a few updates.
    EntropyCollapse = "entropy-collapse" Warning,
    /// Annotators agree less than they did.
    AgreementFalling = "agreement-falling" Warning,
    /// An annotator decides faster than anybody can read.
    AnnotatorSpeed = "annotator-speed" Warning,
    /// An annotator always prefers the same side.
    AnnotatorSide = "annotator-side" Warning,
    /// A run that trains has not been heard of for long.
    RunStalled = "run-stalled" Info,
}
