//! An export under way: which files are whole, and the one that is being written.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use record::{Kind, RunId, Scope};
use serde_json::json;
use store::{RemoteObjects, is_object_store};

use crate::csv_file::CsvFile;
use crate::error::{ExportError, WHOLE};
use crate::json_lines::JsonLines;
use crate::layout::{self, Format};
use crate::manifest::{
    CHECKPOINT, ExportedFile, MANIFEST, Manifest, PROGRESS, note, noted, sha256,
};
use crate::out::Out;
use crate::parquet_file::ParquetFile;
use crate::table::{Cell, Table};

/// How the export was begun, so that it is not gone on with otherwise.
const SETUP: &str = "_setup.json";

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

/// An export into a directory or an object store.
pub struct Export {
    out: Out,
    setup: Setup,
    checkpoint: Vec<u8>,
    files: Vec<ExportedFile>,
    kept: usize,
    part: Option<Part>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export")
            .field("out", &self.out.name())
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
        Self::begin_in(Out::dir(dir)?, setup, checkpoint)
    }

    /// As [`begin`](Self::begin), in a place as users name it: a directory, or an object store's URL, where each file is written in
    /// the system's directory for temporary files before it is sent. `options` say how to get at the store.
    ///
    /// # Errors
    /// As [`begin`](Self::begin); the store cannot be used.
    pub fn begin_at(
        place: &str,
        options: &[(String, String)],
        setup: Setup,
        checkpoint: &[u8],
    ) -> Result<Self, ExportError> {
        if !is_object_store(place) {
            return Self::begin(Path::new(place), setup, checkpoint);
        }
        let objects = Arc::new(RemoteObjects::open(place, options)?);
        Self::begin_in(Out::store(objects, place)?, setup, checkpoint)
    }

    fn begin_in(mut out: Out, setup: Setup, checkpoint: &[u8]) -> Result<Self, ExportError> {
        let dir = out.name();
        let occupied = |found: &str| {
            Err(ExportError::Occupied {
                dir: dir.clone(),
                found: found.to_owned(),
            })
        };
        if out.read(MANIFEST)?.is_some() {
            return occupied(WHOLE);
        }
        let mut begun = out.read(CHECKPOINT)?;
        if begun.is_none() && out.holds_others(&[SETUP, CHECKPOINT])? {
            return occupied("other files");
        }
        if !out.lock()? {
            return occupied("an export that is under way");
        }
        let checkpoint = if let Some(checkpoint) = begun.take() {
            if out.read(SETUP)? != Some(setup.described()) {
                return occupied("an export that was begun with other options");
            }
            checkpoint
        } else {
            out.write(SETUP, &setup.described())?;
            out.write(CHECKPOINT, checkpoint)?;
            checkpoint.to_vec()
        };
        let files = noted(&out)?;
        Ok(Self {
            out,
            setup,
            checkpoint,
            kept: files.len(),
            files,
            part: None,
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
        part.add(&self.out, self.setup.format, row)?;
        if part.records() >= self.setup.records_per_file
            && let Some(file) = part.finish(&self.out)?
        {
            self.files.push(file);
            note(&self.out, &self.files)?;
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
        let path = self.out.path(MANIFEST);
        let mut bytes =
            serde_json::to_vec_pretty(&manifest).map_err(|e| ExportError::table(&path, e))?;
        bytes.push(b'\n');
        self.out.write(MANIFEST, &bytes)?;
        // They say nothing that the manifest does not.
        for name in [PROGRESS, SETUP] {
            self.out.forget(name);
        }
        self.out.release();
        Ok(manifest)
    }

    fn finish_part(&mut self) -> Result<(), ExportError> {
        if let Some(mut part) = self.part.take()
            && let Some(file) = part.finish(&self.out)?
        {
            self.files.push(file);
            note(&self.out, &self.files)?;
        }
        Ok(())
    }
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

    fn add(&mut self, out: &Out, format: Format, row: &Row<'_>) -> Result<(), ExportError> {
        let cells = self.table.cells(row.index, row.bytes, row.opened)?;
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let name = layout::path(self.scope, self.table.kind, self.number, format);
                none.insert(OpenFile::new(out, name, format, &self.table, row.index)?)
            }
        };
        open.last_index = row.index;
        open.records += 1;
        open.writer
            .add(&self.table, cells)
            .map_err(|e| ExportError::table(&open.path, e))
    }

    /// Gives the file its name, where one is open.
    fn finish(&mut self, out: &Out) -> Result<Option<ExportedFile>, ExportError> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        open.writer
            .finish()
            .map_err(|e| ExportError::table(&open.path, e))?;
        let (bytes, sha256) = out.keep(&open.name)?;
        let file = ExportedFile {
            path: open.name,
            bytes,
            sha256,
            records: open.records,
            first_index: open.first_index,
            last_index: open.last_index,
        };
        self.number += 1;
        Ok(Some(file))
    }
}

impl OpenFile {
    fn new(
        out: &Out,
        name: String,
        format: Format,
        table: &Table,
        first_index: u64,
    ) -> Result<Self, ExportError> {
        let path = out.path(&name);
        let draft = out.draft(&name)?;
        let file = File::create(&draft).map_err(|e| ExportError::io(&draft, e))?;
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
