//! What a log promised and did not keep, written down.

use std::path::PathBuf;

use super::core::Core;
use super::dir::make_dir;
use super::error::SpoolError;

/// Writes the pieces and why they were kept into a directory of their own, and gives it. The same pieces go to the same
/// place.
pub(super) fn write(core: &Core, what: &str, pieces: &[(&str, String)]) -> PathBuf {
    let told: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
    let digest = record::Sha256(tlog::sha256(told.as_bytes())).to_string();
    let dir = core.layout.evidence().join(&digest[..16]);
    let lay_down = || -> Result<(), SpoolError> {
        make_dir(&dir)?;
        for (name, text) in pieces {
            core.layout.write(&dir.join(name), text.as_bytes(), true)?;
        }
        let why = format!("{what}\n");
        core.layout.write(&dir.join("why"), why.as_bytes(), true)
    };
    if let Err(error) = lay_down() {
        core.report().last_error = Some(format!(
            "{what} (the evidence could not be written: {error})"
        ));
    }
    dir
}
