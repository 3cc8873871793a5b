//! The configuration file and the environment.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::CommandFactory as _;

use super::{Finding, Patient};
use crate::Cli;
use crate::commands::config::strangers;
use crate::settings::{Keys, Settings, of_environment};

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let command = Cli::command();
    let keys = Keys::of(&command);
    let mut findings = match Settings::load(&command, patient.config.clone()) {
        Ok(settings) => {
            let mut findings = good(&settings, &keys);
            findings.extend(settings.parts.work().err().map(|failure| {
                Finding::failed(
                    failure.to_string(),
                    "correct what its table names: [[webhook]], [[mail]] or [backup]",
                )
            }));
            findings
        }
        Err(faults) => {
            let place = faults
                .path
                .as_deref()
                .map_or("the environment".into(), Path::to_string_lossy);
            let wrong = |fault: &String| {
                Finding::failed(
                    format!("{place}: {fault}"),
                    "correct it; the keys are in docs/operations/configuration.md",
                )
            };
            faults.all.iter().map(wrong).collect()
        }
    };
    findings.extend(of_environment(&keys).into_iter().map(|fault| {
        Finding::failed(
            fault,
            "set the variable to what `rlhf-audit config schema` says, or unset it",
        )
    }));
    let strange = strangers(&keys).into_iter();
    findings.extend(strange.map(|note| Finding::warning(note, "rename or unset the variable")));
    findings
}

fn good(settings: &Settings, keys: &Keys) -> Vec<Finding> {
    let Some(path) = &settings.path else {
        return vec![Finding::ok(
            "no file; options come from environment and command line",
        )];
    };
    let mode = std::fs::metadata(path).map_or(0, |found| found.permissions().mode());
    if mode & 0o077 != 0 && settings.tells_a_secret(keys) {
        return vec![Finding::warning(
            format!(
                "{} holds a secret and has mode {:04o}",
                path.display(),
                mode & 0o7777
            ),
            format!(
                "chmod 600 {}, or keep the secret in a file that a `…-file` key names",
                path.display()
            ),
        )];
    }
    vec![Finding::ok(format!(
        "{} gives {} options",
        path.display(),
        settings.len()
    ))]
}
