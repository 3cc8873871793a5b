//! Content under names that follow from it.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use store::StoreError;

use crate::error::BackupError;
use crate::key::{Name, hex, unhex};
use crate::place::Place;

/// Content that is longer is cut into blobs of this many bytes.
pub(crate) const BLOB_BYTES: usize = 4 << 20;
const PREFIX: &str = "data";

/// Where a blob lies.
fn path(name: &Name) -> String {
    let name = hex(name);
    format!("{PREFIX}/{}/{name}", &name[..2])
}

/// The blobs of a place, and what was written to it.
pub(crate) struct Blobs<'a> {
    place: &'a Place,
    known: Mutex<HashSet<Name>>,
    pub(crate) written: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
}

impl<'a> Blobs<'a> {
    /// Those that are there.
    pub(crate) fn of(place: &'a Place) -> Result<Self, BackupError> {
        let keys = place.objects.list(PREFIX)?;
        let names = keys.iter().filter_map(|key| unhex(key.rsplit('/').next()?));
        Ok(Self {
            place,
            known: Mutex::new(names.collect()),
            written: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        })
    }

    pub(crate) fn has(&self, name: &Name) -> bool {
        self.known().contains(name)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<Name>> {
        self.known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Writes content, unless it is there; durable once this returns.
    pub(crate) fn put(&self, content: &[u8]) -> Result<Name, BackupError> {
        let name = self.place.key.name(content);
        if self.has(&name) {
            return Ok(name);
        }
        let path = path(&name);
        let bytes = self.place.key.seal(&name, &path, content);
        match self.place.objects.put(&path, &bytes) {
            // What is there under this name is not what was written: it is mended.
            Err(StoreError::Conflict { .. }) => self.place.objects.replace(&path, &bytes)?,
            other => other?,
        }
        self.known().insert(name);
        self.written.fetch_add(1, Ordering::Relaxed);
        self.written_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(name)
    }

    /// Writes all that `source` has; gives its blobs and how many bytes it had.
    pub(crate) fn put_all(&self, source: &mut dyn Read) -> Result<(Vec<Name>, u64), BackupError> {
        let (mut names, mut bytes) = (Vec::new(), 0);
        loop {
            let mut piece = Vec::new();
            Read::take(&mut *source, BLOB_BYTES as u64)
                .read_to_end(&mut piece)
                .map_err(StoreError::Source)?;
            if piece.is_empty() {
                return Ok((names, bytes));
            }
            bytes += piece.len() as u64;
            names.push(self.put(&piece)?);
        }
    }
}

/// A blob's content.
pub(crate) fn get(place: &Place, name: &Name) -> Result<Vec<u8>, BackupError> {
    let path = path(name);
    let Some(bytes) = place.objects.get(&path)? else {
        return Err(BackupError::Missing { what: path });
    };
    place
        .key
        .open(name, &path, bytes)
        .ok_or_else(|| BackupError::Damaged {
            what: path,
            reason: "its bytes are not those that were written".to_owned(),
        })
}

/// Content of several blobs, one after the other.
pub(crate) struct Joined<'a> {
    place: &'a Place,
    names: std::slice::Iter<'a, Name>,
    piece: std::io::Cursor<Vec<u8>>,
    /// Why it ended early: readers have no room for it.
    pub(crate) failed: Option<BackupError>,
}

impl<'a> Joined<'a> {
    pub(crate) fn new(place: &'a Place, names: &'a [Name]) -> Self {
        Self {
            place,
            names: names.iter(),
            piece: std::io::Cursor::default(),
            failed: None,
        }
    }
}

impl Read for Joined<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.piece.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            let Some(name) = self.names.next() else {
                return Ok(0);
            };
            match get(self.place, name) {
                Ok(content) => self.piece = std::io::Cursor::new(content),
                Err(error) => {
                    let told = error.to_string();
                    self.failed = Some(error);
                    return Err(std::io::Error::other(told));
                }
            }
        }
    }
}
