//! A segment file, as far as the journal writes it; tests put failing ones in its place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the journal asks of an open segment.
pub(super) trait SegmentFile: Send {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Gives the file blocks for the bytes from `from` to `to`, which then read as zeros. Only a
    /// convenience: whoever writes there succeeds without it too.
    fn reserve(&mut self, from: u64, to: u64) -> io::Result<()>;
    /// Makes what was written durable, as fdatasync does.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Cuts the file and makes its new length durable.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl SegmentFile for File {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn reserve(&mut self, from: u64, to: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        Ok(rustix::fs::fallocate(&*self, flags, from, to - from)?)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn reserve(&mut self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_all()
    }
}

/// Opens a segment for writing; `true` creates it, and it must be new.
pub(super) type Opener = Box<dyn Fn(&Path, bool) -> io::Result<Box<dyn SegmentFile>> + Send>;

pub(super) fn open_file(path: &Path, create: bool) -> io::Result<Box<dyn SegmentFile>> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(create)
        .mode(0o600)
        .open(path)?;
    Ok(Box::new(file))
}

/// A segment: its file holds groups from `first_index` up to the next segment's.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) first_index: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(dir: &Path, first_index: u64) -> Self {
        Self {
            first_index,
            path: dir.join(format!("{first_index:020}.journal")),
        }
    }

    /// All segments in a directory, ascending. Other files are not the journal's, and left alone.
    pub(super) fn list(dir: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in dir.read_dir()? {
            let name = entry?.file_name();
            let index = name
                .to_str()
                .and_then(|name| name.strip_suffix(".journal"))
                .filter(|index| index.len() == 20);
            if let Some(first_index) = index.and_then(|index| index.parse().ok()) {
                segments.push(Self {
                    first_index,
                    path: dir.join(&name),
                });
            }
        }
        segments.sort_unstable_by_key(|segment| segment.first_index);
        Ok(segments)
    }
}
