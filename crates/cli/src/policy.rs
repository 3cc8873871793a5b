//! Whom to trust, from a file.

use std::path::Path;

use tlog::{Policy, VerifierKey};

use crate::outcome::Failure;

/// Reads a policy file, or a file with one verifier key.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))?;
    parse(path, &bytes)
}

/// A policy from the bytes of the file at `path`: a policy file or one verifier key.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Policy, Failure> {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    let policy = match text.parse::<VerifierKey>() {
        Ok(key) => Policy::from_vkeys(&[key]),
        Err(_) => Policy::parse(bytes),
    };
    policy.map_err(|e| {
        Failure::input(format!("{}: {e}", path.display())).with_hint(
            "expected a policy as of c2sp.org/tlog-policy, or one verifier key (name+id+base64)",
        )
    })
}
