//! `[backup]` and `[export]`: where jobs of these kinds put what they make.

use std::path::{Path, PathBuf};

use jobs::{BackupPlan, ExportPlan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Told, flat};
use crate::commands::backup::read_key;
use crate::location::object_options;
use crate::outcome::Failure;

/// Where backups go, and what they are encrypted under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BackupEntry {
    /// A directory, or an object store's URL
    to: String,
    /// The key that `rlhf-audit key generate` wrote
    key_file: Option<PathBuf>,
    /// Nothing is encrypted, private keys included
    #[serde(default)]
    plain: bool,
    /// Files of the installation, and directories of such, that go into it; this file always does
    #[serde(default)]
    with: Vec<PathBuf>,
}

/// Where exports go, and what they are written as.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ExportEntry {
    /// A directory, or an object store's URL: each export gets a folder in it
    to: String,
    /// `parquet`, `csv` or `jsonl`
    #[serde(default = "parquet")]
    format: String,
}

fn parquet() -> String {
    "parquet".to_owned()
}

impl BackupEntry {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.key_file.is_some() == self.plain {
            return Err(
                "[backup] wants key-file = \"…\", or plain = true to encrypt nothing, private keys included"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The plan; reads the key.
    pub(super) fn plan(&self, configuration: Option<&Path>) -> Result<BackupPlan, Failure> {
        self.check().map_err(Failure::input)?;
        let key = match &self.key_file {
            Some(path) => read_key(path)?,
            None => backup::Key::plain(),
        };
        let mut with = self.with.clone();
        with.extend(configuration.map(Path::to_owned));
        Ok(BackupPlan {
            place: self.to.clone(),
            options: object_options(),
            key,
            with,
        })
    }
}

impl ExportEntry {
    pub(super) fn check(&self) -> Result<(), String> {
        let format: Result<export::Format, _> = self.format.parse();
        format
            .map(drop)
            .map_err(|error| format!("export.format: {error}"))
    }

    pub(super) fn plan(&self) -> Result<ExportPlan, Failure> {
        Ok(ExportPlan {
            place: self.to.clone(),
            options: object_options(),
            format: self.format.parse().map_err(Failure::input)?,
        })
    }
}

/// What the file says of them.
pub(super) fn told(
    backup: Option<&BackupEntry>,
    export: Option<&ExportEntry>,
    told: &mut Vec<Told>,
) {
    let mut values = Vec::new();
    if let Some(backup) = backup {
        flat(
            "backup",
            &serde_json::to_value(backup).unwrap_or_default(),
            &mut values,
        );
    }
    if let Some(export) = export {
        flat(
            "export",
            &serde_json::to_value(export).unwrap_or_default(),
            &mut values,
        );
    }
    told.extend(values.into_iter().map(|(key, value)| Told {
        key,
        value,
        secret: false,
        given: true,
    }));
}
