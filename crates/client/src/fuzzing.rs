//! For `crates/fuzz`: what reads the spool's own files. Not for anything else, and in no build of the binary.

use std::path::Path;

use crate::spool::fuzzing as spool;

/// What a start makes of the segments in a directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Segments {
    /// The seq after the last record.
    pub next_seq: u64,
    /// The lines of every record, with their newlines.
    pub lines: Vec<Vec<u8>>,
    /// Why the last segment is left as it is.
    pub damaged: Option<String>,
}

/// Takes the segments in a directory over, and reads them.
///
/// # Errors
/// They cannot be read, or one that is not the last is damaged.
pub fn take_over(dir: &Path) -> Result<Segments, String> {
    spool::take_over(dir)
}

/// Appends a frame of lines, given without their newlines, behind what [`take_over`] found.
///
/// # Errors
/// As system calls fail.
pub fn append(dir: &Path, found: &Segments, lines: &[&[u8]]) -> Result<(), String> {
    spool::append(dir, found.next_seq, lines)
}
