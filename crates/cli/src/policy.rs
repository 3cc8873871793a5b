//! Whom to trust, from a file.

use std::path::Path;

use tlog::Policy;

use crate::commands::verify::parse_policy;
use crate::outcome::Failure;

/// Reads a policy file, or a file with one verifier key.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))?;
    parse_policy(path, &bytes)
}
