//! Who asks: the holder of a token, the operator, or the server itself.
//!
//! Not who *made* a record: that is the producer, and its key proves it.

use std::fmt;
use std::str::FromStr;

/// What a token lets its holder do. Each role is a superset of none other: an admin may do
/// everything, a producer may append to its own runs and read them, a reader may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything: any run, tokens, reindexing.
    Admin,
    /// Starts runs and appends to the runs it started.
    Producer,
    /// Reads all runs.
    Reader,
}

impl Role {
    /// The role's name in requests and in the token table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Producer => "producer",
            Self::Reader => "reader",
        }
    }

    /// Whether a holder of this role may append at all.
    pub fn may_append(self) -> bool {
        matches!(self, Self::Admin | Self::Producer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = crate::LedgerError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "admin" => Ok(Self::Admin),
            "producer" => Ok(Self::Producer),
            "reader" => Ok(Self::Reader),
            other => Err(crate::LedgerError::UnknownRole {
                seen: other.to_owned(),
            }),
        }
    }
}

/// Who asks, as established by whoever authenticated the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The token's id, or `local` for a process that holds the data directory itself.
    pub id: String,
    /// What it may do.
    pub role: Role,
}

impl Principal {
    /// The operator at the machine: whoever can open the data directory may do everything.
    pub fn local() -> Self {
        Self {
            id: "local".to_owned(),
            role: Role::Admin,
        }
    }
}
