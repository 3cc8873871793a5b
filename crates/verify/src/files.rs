//! Every file under `tile/` of a directory is accounted for (invariant I10).
//!
//! Allowed are the tiles of the log's size, which the rest of the check reads, and partial tiles of
//! earlier sizes that were not removed, whose bytes must then be a prefix of what replaced them.
//! Everything else is a failure: an extra file is a place to hide things, and a tile beyond the
//! checkpoint says that an older checkpoint was put back, or that the ledger was stopped before it
//! published. Since a ledger may be writing while it is checked, what looks wrong is looked at twice.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tlog::{TileId, TileLevel, TreeSize};

use crate::VerifyError;
use crate::paths::{self, available, prefix_length};
use crate::report::{Check, Failure};
use crate::source::{MAX_ENTRY_BUNDLE_BYTES, MAX_TILE_BYTES, Source};

/// How long a writer has to publish what it has integrated, or to rename what it has written.
const GRACE: Duration = Duration::from_millis(1500);

/// What the walk found.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Partial tiles of earlier sizes, checked to be prefixes.
    pub(crate) stale: u64,
    /// Files of a newer checkpoint, published while this one was checked.
    pub(crate) newer: u64,
    /// What is wrong.
    pub(crate) failures: Vec<Failure>,
}

/// Walks `tile/` under `root`. `newer` gives the size of the checkpoint that is there now.
///
/// # Errors
///
/// [`VerifyError::Unavailable`] if a directory cannot be listed or a file cannot be read.
pub(crate) fn check(
    root: &Path,
    source: &Source,
    size: u64,
    newer: impl Fn() -> u64,
) -> Result<Files, VerifyError> {
    let mut files = Files::default();
    let mut odd = Vec::new();
    walk(root, "tile", &mut |path| {
        match classify(&path, size) {
            Class::Expected => {}
            Class::Stale(tile) => {
                files.stale += 1;
                files.failures.extend(stale(source, tile, size)?);
            }
            Class::Beyond | Class::Unexpected => odd.push(path),
        }
        Ok(())
    })?;
    if odd.is_empty() {
        return Ok(files);
    }
    thread::sleep(GRACE);
    let now = newer().max(size);
    for path in odd {
        if !root.join(&path).exists() {
            continue;
        }
        match classify(&path, now) {
            Class::Expected | Class::Stale(_) => files.newer += 1,
            Class::Beyond => files.failures.push(
                Failure::new(
                    Check::UnexpectedFile,
                    format!("no tile beyond the {now} entries of the checkpoint"),
                    "one: an older checkpoint was put back, or the ledger stopped before it \
                     published (start it once, and it will)",
                )
                .path(path),
            ),
            Class::Unexpected => files
                .failures
                .push(Failure::new(Check::UnexpectedFile, "no such file", "one").path(path)),
        }
    }
    Ok(files)
}

enum Class {
    Expected,
    Stale(TileId),
    Beyond,
    Unexpected,
}

fn classify(path: &str, size: u64) -> Class {
    let Ok(tile) = TileId::parse_path(path) else {
        return Class::Unexpected;
    };
    match available(tile, size) {
        has if has == tile.width() => Class::Expected,
        has if tile.width() < has => Class::Stale(tile),
        _ => Class::Beyond,
    }
}

/// Calls `each` with every file (or anything else that is no directory) below `root`/`path`.
fn walk(
    root: &Path,
    path: &str,
    each: &mut dyn FnMut(String) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let unavailable = |e: io::Error| VerifyError::Unavailable {
        what: root.join(path).display().to_string(),
        why: e.to_string(),
    };
    let entries = match fs::read_dir(root.join(path)) {
        Ok(entries) => entries,
        // Removed since its parent was listed, or a log without tiles.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return each(path.to_owned()),
        Err(e) => return Err(unavailable(e)),
    };
    for entry in entries {
        let entry = entry.map_err(unavailable)?;
        let below = format!("{path}/{}", entry.file_name().to_string_lossy());
        // A link is no directory here: following it could lead anywhere, and round in circles.
        if entry.file_type().map_err(unavailable)?.is_dir() {
            walk(root, &below, each)?;
        } else {
            each(below)?;
        }
    }
    Ok(())
}

/// Holds a partial tile left behind against the tile that replaced it (which is checked elsewhere).
fn stale(source: &Source, tile: TileId, size: u64) -> Result<Option<Failure>, VerifyError> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let limit = match tile.level() {
        TileLevel::Entries => MAX_ENTRY_BUNDLE_BYTES,
        TileLevel::Hashes(_) => MAX_TILE_BYTES,
    };
    let Some(wider) = TileId::in_tree(tile.level(), tile.index(), TreeSize(size)) else {
        return Ok(None);
    };
    // A ledger may tidy up while it is checked.
    if !source.read(&tile.path(), limit, &mut old)? {
        return Ok(None);
    }
    let length = match tile.level() {
        TileLevel::Hashes(_) => Some(usize::from(tile.width()) * 32),
        TileLevel::Entries => prefix_length(&old, tile.width()),
    };
    let good = length == Some(old.len())
        && paths::read(source, wider, limit, &mut new)?
        && new.starts_with(&old);
    Ok((!good).then(|| {
        Failure::new(
            Check::Partial,
            format!(
                "the first {} items of {wider}, which replaced it",
                tile.width()
            ),
            "something else",
        )
        .path(tile.path())
    }))
}

#[cfg(test)]
mod tests {
    use testkit::log::LogBuilder;

    use super::*;

    #[test]
    fn a_log_that_grows_while_it_is_checked() {
        let mut log = LogBuilder::new(1);
        for n in 0..700_u32 {
            log.push(n.to_be_bytes().into());
        }
        let dir = tempfile::tempdir().unwrap();
        log.write_to(dir.path()).unwrap();
        log.write_partial_tiles_of(dir.path(), 300).unwrap();
        let source = Source::Directory(dir.path().to_owned());
        let at = |size, now| check(dir.path(), &source, size, || now).unwrap();

        let still = at(700, 700);
        assert_eq!((still.failures.len(), still.newer), (0, 0), "{still:?}");
        assert_eq!(still.stale, 3, "partial tiles of 300 entries");
        let grown = at(300, 700);
        assert_eq!((grown.failures.len(), grown.newer), (0, 5), "{grown:?}");
        let not_published = at(300, 300);
        assert_eq!(not_published.failures.len(), 5, "{not_published:?}");
        assert_eq!(not_published.newer, 0);
    }
}
