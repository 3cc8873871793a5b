//! The keys in the data directory: there, nobody else's, and usable without somebody at a terminal.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Finding, Patient};
use crate::passphrase;

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let dir = &patient.location.data_dir;
    let keys = dir.join("keys");
    if !keys.exists() {
        return vec![Finding::ok(format!("no keys in {} yet", dir.display()))];
    }
    let paths = match ledger::keys::paths(dir) {
        Ok(paths) => paths,
        Err(error) => {
            return vec![Finding::failed(
                error.to_string(),
                "run this as the user that the server runs as",
            )];
        }
    };
    let mut findings: Vec<Finding> = std::iter::once((keys.as_path(), 0o700))
        .chain(paths.iter().map(|path| (path.as_path(), 0o600)))
        .filter_map(|(path, mode)| open_to_others(path, mode))
        .collect();
    if paths.is_empty() {
        findings.push(Finding::failed(
            format!("{} holds no key", keys.display()),
            "restore the keys from their backup: without them the ledger cannot be opened",
        ));
    }
    if findings.is_empty() {
        findings.push(usable(&paths));
    }
    findings
}

/// Others may read it, or it is somebody else's.
fn open_to_others(path: &Path, wanted: u32) -> Option<Finding> {
    let shown = path.display();
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            return Some(Finding::failed(
                format!("{shown}: {error}"),
                "run this as the user that the server runs as",
            ));
        }
    };
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Some(Finding::failed(
            format!("{shown} has mode {mode:04o}: others may read it"),
            format!(
                "chmod {wanted:o} {shown}, and rotate the keys if others could log in (rlhf-audit key rotate)"
            ),
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    (found.uid() != user && user != 0).then(|| {
        Finding::failed(
            format!(
                "{shown} belongs to user {}, and this runs as {user}",
                found.uid()
            ),
            format!("chown it to the user that the server runs as: chown {user} {shown}"),
        )
    })
}

/// They can be read without somebody at a terminal.
fn usable(paths: &[std::path::PathBuf]) -> Finding {
    let count = paths.len();
    let encrypted = paths
        .iter()
        .filter(|path| ledger::keys::is_encrypted(path).unwrap_or(false))
        .count();
    match (encrypted, passphrase::at_hand()) {
        (0, _) => Finding::ok(format!(
            "{count} keys, readable by their owner alone, not encrypted (rlhf-audit key encrypt)"
        )),
        (_, None) => Finding::warning(
            format!("{encrypted} of {count} keys are encrypted, and no passphrase is at hand"),
            "a server that starts by itself needs RLHF_AUDIT_KEY_PASSPHRASE_FILE",
        ),
        (_, Some(given)) => match first_opened(paths, &given) {
            Ok(()) => Finding::ok(format!(
                "{count} keys, {encrypted} encrypted; the passphrase opens them"
            )),
            Err(error) => Finding::failed(
                error,
                "give the passphrase that the keys were encrypted under",
            ),
        },
    }
}

fn first_opened(
    paths: &[std::path::PathBuf],
    given: &ledger::keys::Passphrase,
) -> Result<(), String> {
    let first = paths
        .iter()
        .find(|path| ledger::keys::is_encrypted(path).unwrap_or(false));
    let Some(first) = first else { return Ok(()) };
    let opened = ledger::keys::read_with(first, given);
    opened.map(drop).map_err(|error| error.to_string())
}
