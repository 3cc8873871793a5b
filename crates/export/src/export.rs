//! An export under way: which files are whole, and the one that is being written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use record::{Kind, RunId, Scope};
use serde_json::json;

use crate::csv_file::CsvFile;
use crate::error::ExportError;
use crate::json_lines::JsonLines;
use crate::layout::{self, Format};
use crate::manifest::{
    CHECKPOINT, ExportedFile, MANIFEST, Manifest, PROGRESS, digest, note, noted, persist, sha256,
    unfinished, write_whole,
};
use crate::parquet_file::ParquetFile;
use crate::table::{Cell, Table};

/// How the export was begun, so that it is not gone on with otherwise.
const SETUP: &str = "_setup.json";
/// Held by whoever exports into the directory.
const LOCK: &str = "_lock";

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What tables are written as.
    pub format: Format,
    /// Sealed values that rows bring get columns.
    pub openings: bool,
    /// The records of this run alone.
    pub run: Option<RunId>,
    /// The most records of a file.
    pub records_per_file: u64,
}

impl Setup {
    fn described(&self) -> Vec<u8> {
        let described = json!({
            "format": self.format.name(),
            "openings": self.openings,
            "run": self.run,
            "records_per_file": self.records_per_file,
        });
        format!("{described}\n").into_bytes()
    }
}

/// A record to be exported.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Its index in the log.
    pub index: u64,
    /// Its canonical bytes.
    pub bytes: &'a [u8],
    /// What was opened of what it sealed: JSON by field.
    pub opened: &'a BTreeMap<String, String>,
}

/// An export into a directory.
pub struct Export {
    dir: PathBuf,
    setup: Setup,
    checkpoint: Vec<u8>,
    files: Vec<ExportedFile>,
    kept: usize,
    part: Option<Part>,
    /// Keeps others out while it lives.
    _lock: File,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export")
            .field("dir", &self.dir)
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

impl Export {
    /// Begins an export at this checkpoint, or goes on with one that was interrupted, at *its* checkpoint.
    ///
    /// # Errors
    /// [`ExportError::Occupied`] where the directory holds a whole export, one begun otherwise, or anything else.
    pub fn begin(dir: &Path, setup: Setup, checkpoint: &[u8]) -> Result<Self, ExportError> {
        fs::create_dir_all(dir).map_err(|e| ExportError::io(dir, e))?;
        let occupied = |found: &str| {
            Err(ExportError::Occupied {
                dir: dir.to_path_buf(),
                found: found.to_owned(),
            })
        };
        if dir.join(MANIFEST).exists() {
            return occupied("a whole export");
        }
        let begun = dir.join(CHECKPOINT).exists();
        if !begun && holds_others(dir)? {
            return occupied("other files");
        }
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(|e| ExportError::io(&path, e))?;
        if lock.try_lock().is_err() {
            return occupied("an export that is under way");
        }
        let path = dir.join(CHECKPOINT);
        let checkpoint = if begun {
            if fs::read(dir.join(SETUP)).ok() != Some(setup.described()) {
                return occupied("an export that was begun with other options");
            }
            fs::read(&path).map_err(|e| ExportError::io(&path, e))?
        } else {
            write_whole(&dir.join(SETUP), &setup.described())?;
            write_whole(&path, checkpoint)?;
            checkpoint.to_vec()
        };
        let files = noted(dir)?;
        Ok(Self {
            dir: dir.to_path_buf(),
            setup,
            checkpoint,
            kept: files.len(),
            files,
            part: None,
            _lock: lock,
        })
    }

    /// The checkpoint that it is at.
    pub fn checkpoint(&self) -> &[u8] {
        &self.checkpoint
    }

    /// How many files were whole already, and the records in them.
    pub fn kept(&self) -> (usize, u64) {
        let kept = &self.files[..self.kept];
        (kept.len(), kept.iter().map(|file| file.records).sum())
    }

    /// Begins with the records of a run and kind: the index after which they are wanted.
    ///
    /// # Errors
    /// The file before cannot be finished.
    pub fn table(&mut self, scope: Scope, kind: Kind) -> Result<Option<u64>, ExportError> {
        self.finish_part()?;
        let folder = layout::folder(scope, kind);
        let mut whole = self
            .files
            .iter()
            .filter(|file| file.path.starts_with(&folder));
        let (number, last) = (whole.clone().count(), whole.next_back());
        self.part = Some(Part {
            scope,
            table: Table::new(kind, self.setup.openings),
            number,
            open: None,
        });
        Ok(last.map(|file| file.last_index))
    }

    /// Adds a record of the run and kind that were begun with.
    ///
    /// # Errors
    /// It is of another kind, or cannot be written.
    pub fn add(&mut self, row: &Row<'_>) -> Result<(), ExportError> {
        let Some(part) = &mut self.part else {
            return Err(ExportError::Record {
                index: row.index,
                reason: "no table was begun with".to_owned(),
            });
        };
        part.add(&self.dir, self.setup.format, row)?;
        if part.records() >= self.setup.records_per_file {
            self.files.extend(part.finish(&self.dir)?);
        }
        Ok(())
    }

    /// Writes the manifest, of all files.
    ///
    /// # Errors
    /// The last file, or the manifest, cannot be written.
    pub fn finish(mut self, origin: &str, log_size: u64) -> Result<Manifest, ExportError> {
        self.finish_part()?;
        let manifest = Manifest {
            v: 1,
            format: self.setup.format.name().to_owned(),
            origin: origin.to_owned(),
            log_size,
            checkpoint_sha256: sha256(&self.checkpoint),
            openings: self.setup.openings,
            run: self.setup.run,
            records: self.files.iter().map(|file| file.records).sum(),
            files: self.files,
        };
        let path = self.dir.join(MANIFEST);
        let mut bytes =
            serde_json::to_vec_pretty(&manifest).map_err(|e| ExportError::table(&path, e))?;
        bytes.push(b'\n');
        write_whole(&path, &bytes)?;
        for name in [PROGRESS, SETUP, LOCK] {
            // They say nothing that the manifest does not; one that stays does no harm.
            let _ = fs::remove_file(self.dir.join(name));
        }
        Ok(manifest)
    }

    fn finish_part(&mut self) -> Result<(), ExportError> {
        if let Some(mut part) = self.part.take() {
            self.files.extend(part.finish(&self.dir)?);
        }
        Ok(())
    }
}

/// Whether a directory holds what no export begins with.
fn holds_others(dir: &Path) -> Result<bool, ExportError> {
    let first = [LOCK, SETUP].map(|name| dir.join(name));
    let first = [unfinished(&first[1]), unfinished(&dir.join(CHECKPOINT))]
        .into_iter()
        .chain(first);
    let first: Vec<PathBuf> = first.collect();
    let entries = fs::read_dir(dir).map_err(|e| ExportError::io(dir, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| ExportError::io(dir, e))?;
        if !first.contains(&entry.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The records of a run and kind, a file after the other.
struct Part {
    scope: Scope,
    table: Table,
    number: usize,
    open: Option<OpenFile>,
}

struct OpenFile {
    name: String,
    path: PathBuf,
    writer: Writer,
    records: u64,
    first_index: u64,
    last_index: u64,
}

enum Writer {
    Parquet(Box<ParquetFile>),
    Csv(Box<CsvFile>),
    JsonLines(JsonLines),
}

impl Part {
    fn records(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.records)
    }

    fn add(&mut self, dir: &Path, format: Format, row: &Row<'_>) -> Result<(), ExportError> {
        let cells = self.table.cells(row.index, row.bytes, row.opened)?;
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let name = layout::path(self.scope, self.table.kind, self.number, format);
                none.insert(OpenFile::new(dir, name, format, &self.table, row.index)?)
            }
        };
        open.last_index = row.index;
        open.records += 1;
        open.writer
            .add(&self.table, cells)
            .map_err(|e| ExportError::table(&open.path, e))
    }

    /// Gives the file its name, where one is open, and notes it.
    fn finish(&mut self, dir: &Path) -> Result<Option<ExportedFile>, ExportError> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        open.writer
            .finish()
            .map_err(|e| ExportError::table(&open.path, e))?;
        persist(&open.path)?;
        let (bytes, sha256) = digest(&open.path)?.unwrap_or_default();
        let file = ExportedFile {
            path: open.name,
            bytes,
            sha256,
            records: open.records,
            first_index: open.first_index,
            last_index: open.last_index,
        };
        note(dir, &file)?;
        self.number += 1;
        Ok(Some(file))
    }
}

impl OpenFile {
    fn new(
        dir: &Path,
        name: String,
        format: Format,
        table: &Table,
        first_index: u64,
    ) -> Result<Self, ExportError> {
        let path = dir.join(&name);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).map_err(|e| ExportError::io(folder, e))?;
        let file = File::create(unfinished(&path)).map_err(|e| ExportError::io(&path, e))?;
        let writer = Writer::new(file, format, table).map_err(|e| ExportError::table(&path, e))?;
        Ok(Self {
            name,
            path,
            writer,
            records: 0,
            first_index,
            last_index: first_index,
        })
    }
}

/// What a library says of a file that cannot be written.
type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Writer {
    fn new(file: File, format: Format, table: &Table) -> Result<Self, Fault> {
        Ok(match format {
            Format::Parquet => Self::Parquet(Box::new(ParquetFile::new(file, table)?)),
            Format::Csv => Self::Csv(Box::new(CsvFile::new(file, table)?)),
            Format::JsonLines => Self::JsonLines(JsonLines::new(file)),
        })
    }

    fn add(&mut self, table: &Table, cells: Vec<Cell>) -> Result<(), Fault> {
        match self {
            Self::Parquet(file) => Ok(file.add(cells)?),
            Self::Csv(file) => Ok(file.add(&cells)?),
            Self::JsonLines(file) => Ok(file.add(table, &cells)?),
        }
    }

    fn finish(self) -> Result<(), Fault> {
        match self {
            Self::Parquet(file) => Ok(file.finish()?),
            Self::Csv(file) => Ok(file.finish()?),
            Self::JsonLines(file) => Ok(file.finish()?),
        }
    }
}
