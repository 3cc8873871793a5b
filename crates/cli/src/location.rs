//! Where a ledger is kept: a directory, or a database and an object store that several servers share.

use std::path::PathBuf;

use ledger::{Ledger, Location, Options};

use crate::outcome::Failure;
use crate::place::{ledger_failure, ledger_options};

/// Variables with these beginnings say who may use an object store, as its own tools have them.
const OBJECT_VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Where the ledger is kept.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LocationArgs {
    /// The ledger's directory; with --database-url it holds the keys alone
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./audit-data",
        env = "RLHF_AUDIT_DATA_DIR"
    )]
    pub(crate) data_dir: PathBuf,
    /// Keep journal, checkpoint and index in this PostgreSQL database, which several servers may share
    #[arg(
        long,
        value_name = "postgres://USER:PASSWORD@HOST/DATABASE",
        env = "RLHF_AUDIT_DATABASE_URL",
        hide_env_values = true
    )]
    pub(crate) database_url: Option<String>,
    /// Keep tiles, sealed values and documents in this object store, whose credentials the variables AWS_…, GOOGLE_… or
    /// AZURE_… give
    #[arg(
        long,
        value_name = "s3|gs|az://BUCKET/PREFIX",
        env = "RLHF_AUDIT_OBJECTS"
    )]
    pub(crate) objects: Option<String>,
}

impl LocationArgs {
    /// The place these arguments name.
    pub(crate) fn location(&self) -> Location {
        Location {
            dir: self.data_dir.clone(),
            database_url: self.database_url.clone(),
            objects_url: self.objects.clone(),
            object_options: object_options(),
        }
    }

    /// Opens the ledger.
    pub(crate) fn open(&self) -> Result<Ledger, Failure> {
        self.open_with(ledger_options())
    }

    /// Opens the ledger with options of one's own.
    pub(crate) fn open_with(&self, options: Options) -> Result<Ledger, Failure> {
        Ledger::open_at(&self.location(), options).map_err(ledger_failure)
    }

    /// Makes a ledger where there is none, and opens it.
    pub(crate) fn create(&self, options: Options) -> Result<Ledger, Failure> {
        Ledger::create_at(&self.location(), options).map_err(ledger_failure)
    }

    /// Whether there is a ledger.
    pub(crate) fn exists(&self) -> Result<bool, Failure> {
        self.location().holds_ledger().map_err(ledger_failure)
    }
}

/// What the environment says of object stores, by variable.
pub(crate) fn object_options() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| OBJECT_VARIABLES.iter().any(|start| name.starts_with(start)))
        .collect()
}
