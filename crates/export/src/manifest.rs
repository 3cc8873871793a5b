//! What an export holds: the checkpoint, and every file with its digest.

use std::fmt::Write as _;
use std::path::Path;

use record::RunId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::ExportError;
use crate::out::Out;

/// The checkpoint's file: the signed note, as the log serves it.
pub(crate) const CHECKPOINT: &str = "_checkpoint";
/// The manifest's: once it is there the export is whole.
pub(crate) const MANIFEST: &str = "_manifest.json";
/// What is whole so far, a file a line.
pub(crate) const PROGRESS: &str = "_progress.jsonl";

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFile {
    /// Its path in the export's directory.
    pub path: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in 64 hexadecimal digits.
    pub sha256: String,
    /// How many records.
    pub records: u64,
    /// The first one's index in the log.
    pub first_index: u64,
    /// The last one's.
    pub last_index: u64,
}

/// All that an export holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The manifest's own form.
    pub v: u32,
    /// `parquet`, `csv` or `jsonl`.
    pub format: String,
    /// The log's origin.
    pub origin: String,
    /// How many records the checkpoint covers.
    pub log_size: u64,
    /// The SHA-256 of `_checkpoint`.
    pub checkpoint_sha256: String,
    /// Sealed values are in it, in the clear.
    pub openings: bool,
    /// The run whose records alone are in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// How many records it has.
    pub records: u64,
    /// The files, in the order in which they were written.
    pub files: Vec<ExportedFile>,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn lines(files: &[ExportedFile]) -> Result<Vec<u8>, ExportError> {
    let mut lines = Vec::new();
    for file in files {
        serde_json::to_writer(&mut lines, file)
            .map_err(|e| ExportError::table(Path::new(PROGRESS), e))?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Notes the files that are whole.
pub(crate) fn note(out: &Out, files: &[ExportedFile]) -> Result<(), ExportError> {
    out.write(PROGRESS, &lines(files)?)
}

/// The files that were noted and are as they were. From the first that is not, they are written again.
pub(crate) fn noted(out: &Out) -> Result<Vec<ExportedFile>, ExportError> {
    let Some(text) = out.read(PROGRESS)? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for noted in String::from_utf8_lossy(&text).lines() {
        // One that is half there is of a file that is not known to be whole.
        let Ok(file) = serde_json::from_str::<ExportedFile>(noted) else {
            break;
        };
        if !out.holds(&file)? {
            break;
        }
        files.push(file);
    }
    if lines(&files)? != text {
        note(out, &files)?;
    }
    Ok(files)
}
