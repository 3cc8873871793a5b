//! What an export holds: the checkpoint, and every file with its digest.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use record::RunId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::ExportError;

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

/// The name of a file until it is whole: readers of a folder pass over names that begin with a dot.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    path.with_file_name(format!(".{}.unfinished", name.unwrap_or_default()))
}

/// Writes a file such that it is there whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let unfinished = unfinished(path);
    let written = File::create(&unfinished).and_then(|mut file| file.write_all(bytes));
    written.map_err(|e| ExportError::io(&unfinished, e))?;
    persist(path)
}

/// Gives a file that is written its name.
pub(crate) fn persist(path: &Path) -> Result<(), ExportError> {
    let unfinished = unfinished(path);
    let synced = File::open(&unfinished).and_then(|file| file.sync_all());
    synced.map_err(|e| ExportError::io(&unfinished, e))?;
    fs::rename(&unfinished, path).map_err(|e| ExportError::io(path, e))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| ExportError::io(folder, e))
}

/// Size and SHA-256 of a file; `None` where there is none.
pub(crate) fn digest(path: &Path) -> Result<Option<(u64, String)>, ExportError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ExportError::io(path, e)),
    };
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|e| ExportError::io(path, e))?;
        if read == 0 {
            return Ok(Some((bytes, hex(&hasher.finalize()))));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn line(path: &Path, file: &ExportedFile) -> Result<Vec<u8>, ExportError> {
    let mut line = serde_json::to_vec(file).map_err(|e| ExportError::table(path, e))?;
    line.push(b'\n');
    Ok(line)
}

/// Notes that a file is whole.
pub(crate) fn note(dir: &Path, file: &ExportedFile) -> Result<(), ExportError> {
    let path = dir.join(PROGRESS);
    let line = line(&path, file)?;
    let opened = OpenOptions::new().create(true).append(true).open(&path);
    let noted = opened.and_then(|mut progress| {
        progress.write_all(&line)?;
        progress.sync_all()
    });
    noted.map_err(|e| ExportError::io(&path, e))
}

/// The files that were noted and are as they were. From the first that is not, they are written again.
pub(crate) fn noted(dir: &Path) -> Result<Vec<ExportedFile>, ExportError> {
    let path = dir.join(PROGRESS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(ExportError::io(&path, e)),
    };
    let (mut files, mut lines) = (Vec::new(), Vec::new());
    for noted in text.lines() {
        // One that is half there is of a file that is not known to be whole.
        let Ok(file) = serde_json::from_str::<ExportedFile>(noted) else {
            break;
        };
        let there = digest(&dir.join(&file.path))?;
        if there != Some((file.bytes, file.sha256.clone())) {
            break;
        }
        lines.extend(line(&path, &file)?);
        files.push(file);
    }
    if lines != text.as_bytes() {
        write_whole(&path, &lines)?;
    }
    Ok(files)
}
