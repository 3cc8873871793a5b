//! What the demo does to a *copy* of its log: flips one bit of one record, and lets `verify` find it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::outcome::Failure;

/// Copies the log's public files (checkpoint and tiles) to `to`.
pub(super) fn copy_log(from: &Path, to: &Path) -> Result<(), Failure> {
    let cannot = |path: &Path, e: std::io::Error| {
        Failure::unavailable(format!("cannot copy {}: {e}", path.display()))
    };
    fs::create_dir_all(to).map_err(|e| cannot(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| cannot(from, e))? {
        let entry = entry.map_err(|e| cannot(from, e))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_log(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(|e| cannot(&path, e))?;
        }
    }
    Ok(())
}

/// Turns a preference in the first full entry bundle of the log in `log` around: `"choice":"a"` becomes `"choice":"b"`
/// or the other way. Returns the file and the byte's place in it.
pub(super) fn turn_a_preference(log: &Path) -> Result<(PathBuf, usize), Failure> {
    let path = log.join("tile").join("entries").join("000");
    let mut bytes = fs::read(&path)
        .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))?;
    let needle = br#""choice":""#;
    let place = bytes
        .windows(needle.len() + 2)
        .position(|window| {
            window.starts_with(needle) && matches!(&window[needle.len()..], b"a\"" | b"b\"")
        })
        .map(|at| at + needle.len())
        .ok_or_else(|| Failure::unavailable("the demo's log holds no preference to turn around"))?;
    // ASCII `a` and `b` differ in their two lowest bits.
    bytes[place] ^= 0b11;
    fs::write(&path, &bytes)
        .map_err(|e| Failure::unavailable(format!("cannot write {}: {e}", path.display())))?;
    Ok((path, place))
}
