//! Names: which file a record goes to.

use std::fmt;
use std::str::FromStr;

use record::{Kind, Scope};

/// What tables are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet, compressed with Snappy.
    Parquet,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// One JSON object a line.
    JsonLines,
}

impl Format {
    /// The name it is asked for by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Parquet, Self::Csv, Self::JsonLines]
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| format!("`{name}` is no format; expected parquet, csv or jsonl"))
    }
}

/// The folder of a run's records of one kind, as Hive names partitions.
pub(crate) fn folder(scope: Scope, kind: Kind) -> String {
    format!("run={scope}/kind={kind}/")
}

/// A part of them.
pub(crate) fn path(scope: Scope, kind: Kind, part: usize, format: Format) -> String {
    format!("{}part-{part:05}.{format}", folder(scope, kind))
}
