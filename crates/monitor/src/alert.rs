//! What a look found, as data.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Two checkpoints, both signed as the policy asks, of which neither has grown from the other.
    Fork,
    /// An older checkpoint is served in place of a newer one.
    Rollback,
    /// What is served as checkpoint is not signed as the policy asks.
    Checkpoint,
    /// The hash tiles do not give the signed root.
    Tiles,
    /// The entries do not give the signed root.
    Entries,
    /// Records break a rule: canonical form, schema, chain, signature, run, seal.
    Records,
    /// Nothing newer was shown for too long.
    Stale,
    /// Nothing could be shown at all for too long.
    Unavailable,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fork,
        Self::Rollback,
        Self::Checkpoint,
        Self::Tiles,
        Self::Entries,
        Self::Records,
        Self::Stale,
        Self::Unavailable,
    ];

    /// The name in JSON, metrics and directories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Rollback => "rollback",
            Self::Checkpoint => "checkpoint",
            Self::Tiles => "tiles",
            Self::Entries => "entries",
            Self::Records => "records",
            Self::Stale => "stale",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that somebody has to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What is wrong; or what was, if `resolved`.
    pub kind: Kind,
    /// It is no longer so.
    pub resolved: bool,
    /// When it was found.
    pub time: String,
    /// The log's address.
    pub url: String,
    /// The log's origin, once it is known.
    pub origin: Option<String>,
    /// The size of the last checkpoint that was shown to be good.
    pub size: Option<u64>,
    /// What was found, in words.
    pub summary: String,
    /// Where the evidence is kept, if there is any.
    pub evidence: Option<PathBuf>,
}

/// What one look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Everything asked for was shown, and holds.
    True,
    /// Something is false.
    False,
    /// What is shown holds, and is older than it may be.
    Stale,
    /// What was asked for could not be had, so that nothing is known.
    Unavailable,
}

/// One look at the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Look {
    /// When.
    pub time: String,
    /// The answer.
    pub status: Status,
    /// The size of the last checkpoint that was shown to be good.
    pub size: Option<u64>,
    /// How many entries were read and checked, where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Records of kinds that this version does not know: their meaning was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<u64>,
    /// Why, where it is not true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is new since the last look.
    pub alerts: Vec<Alert>,
}
