//! Where a stream is appended to: the end of its last segment.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::dir::{create, sync_dir};
use super::error::SpoolError;
use super::options::Durability;
use super::segments::{self, Segment};

/// The end of the last segment. One thread at a time, in the one process that holds the stream's lock.
#[derive(Debug)]
pub(super) struct Tail {
    dir: PathBuf,
    durability: Durability,
    /// A segment that has so many bytes gets no further frame.
    segment_bytes: u64,
    open: Option<Open>,
    /// Why nothing can be appended any more.
    broken: Option<String>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    segment: Segment,
    /// Something may stand behind the good bytes.
    torn: bool,
}

impl Tail {
    /// The end of what is in the directory, behind `last` where there is a segment.
    pub(super) fn new(
        dir: PathBuf,
        last: Option<Segment>,
        durability: Durability,
        segment_bytes: u64,
    ) -> Result<Self, SpoolError> {
        let open = match last {
            None => None,
            Some(segment) => {
                let path = segments::path(&dir, segment.first_seq);
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&path)
                    .map_err(SpoolError::disk("open", &path))?;
                Some(Open {
                    file,
                    path,
                    segment,
                    torn: false,
                })
            }
        };
        Ok(Self {
            dir,
            durability,
            segment_bytes,
            open,
            broken: None,
        })
    }

    /// Appends a frame whose first record has `first_seq`, and gives the segment as it is then. After an error the file
    /// is as it was; if that cannot be made sure of, nothing more is taken.
    pub(super) fn append(&mut self, frame: &[u8], first_seq: u64) -> Result<Segment, SpoolError> {
        if let Some(why) = &self.broken {
            return Err(SpoolError::Closed {
                what: format!("the stream in {}", self.dir.display()),
                why: why.clone(),
            });
        }
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.segment.bytes >= self.segment_bytes && !open.torn)
        {
            self.open = None;
        }
        let durability = self.durability;
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::create(&self.dir, first_seq, durability)?),
        };
        let written = open.append(frame);
        if written.is_ok() && durability == Durability::Machine {
            // What a failed sync left behind is not known, and trying again would show it as good.
            if let Err(error) = open.file.sync_data() {
                open.segment.bytes -= frame.len() as u64;
                let _ = open.cut();
                self.broken = Some(format!(
                    "syncing {} failed ({error}); open the spool again",
                    open.path.display()
                ));
                return Err(SpoolError::disk("sync", &open.path)(error));
            }
        }
        written.map(|()| open.segment)
    }

    /// Takes the last frame back, which begins at `bytes` of its segment.
    pub(super) fn take_back(&mut self, bytes: u64) -> Result<(), SpoolError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        open.segment.bytes = bytes;
        open.torn = true;
        open.cut()
    }

    /// Forgets the last segment, which is to be deleted: what comes next begins another.
    pub(super) fn let_go(&mut self) {
        self.open = None;
    }

    /// The last segment, where there is one.
    pub(super) fn segment(&self) -> Option<Segment> {
        self.open.as_ref().map(|open| open.segment)
    }
}

impl Open {
    fn create(dir: &Path, first_seq: u64, durability: Durability) -> Result<Self, SpoolError> {
        let path = segments::path(dir, first_seq);
        let file = match create(&path) {
            // An earlier try found room for the name alone.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => OpenOptions::new()
                .read(true)
                .write(true)
                .truncate(true)
                .open(&path),
            created => created,
        };
        let file = file.map_err(SpoolError::disk("create", &path))?;
        if durability == Durability::Machine {
            sync_dir(dir)?;
        }
        Ok(Self {
            file,
            path,
            segment: Segment {
                first_seq,
                bytes: 0,
            },
            torn: false,
        })
    }

    fn append(&mut self, frame: &[u8]) -> Result<(), SpoolError> {
        if self.torn {
            self.cut()?;
        }
        if let Err(error) = self.file.write_all_at(frame, self.segment.bytes) {
            self.torn = true;
            let _ = self.cut();
            return Err(SpoolError::disk("write to", &self.path)(error));
        }
        self.segment.bytes += frame.len() as u64;
        Ok(())
    }

    /// Cuts off what stands behind the good bytes.
    fn cut(&mut self) -> Result<(), SpoolError> {
        self.file
            .set_len(self.segment.bytes)
            .map_err(SpoolError::disk("cut", &self.path))?;
        self.torn = false;
        Ok(())
    }
}
