//! Reads a file of lines that another process writes, and knows afterwards how far it came: whoever was killed goes on
//! at the line after the last one that counted.
//!
//! A last line without its end is not there yet. What was read must stay as it was: a file that is shorter than what was
//! read of it, or has other bytes there, is an error. A file that was renamed (`log.1`, `log-20261127`) is read to its
//! end before the one that has its name now.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest line that is taken into memory: 16 MiB.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How much of what was read is looked at again.
const SEEN_BYTES: u64 = 4 << 10;

/// How far a file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes, all of them of whole lines.
    pub offset: u64,
    /// Lines.
    pub lines: u64,
    /// The SHA-256, in hexadecimal, of the 4,096 bytes before the offset, or of fewer where there are no more.
    pub seen: String,
    /// The file's device and inode: what it keeps when it is renamed.
    pub file: (u64, u64),
}

/// Why a file cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The system said no.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is shorter than what was read of it.
    #[error("{} was truncated: it has {bytes} bytes, of which {offset} had been read ({lines} lines)", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
        /// How far it was read.
        offset: u64,
        /// The same in lines.
        lines: u64,
    },
    /// It has other bytes where it was read.
    #[error("{} was written anew: the {lines} lines that had been read are no longer what they were", path.display())]
    Rewritten {
        /// The file.
        path: PathBuf,
        /// How many lines were read of it.
        lines: u64,
    },
    /// Another file has its name, and the one that was read is nowhere beside it.
    #[error(
        "{} is another file than the one of which {lines} lines had been read, and that one is not beside it",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// How many lines were read of it.
        lines: u64,
    },
}

impl FollowError {
    /// Whether what was read is no longer there, rather than that it cannot be read.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Which of its file, from 1.
    pub number: u64,
    /// Without its end; `None` where it is longer than [`MAX_LINE_BYTES`].
    pub bytes: Option<Vec<u8>>,
    /// Whether it has no end: it is the last one, of a file that nobody writes any more.
    pub open: bool,
}

/// A file that is followed.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    position: Position,
    /// What was read behind the position and is no whole line yet.
    ahead: Vec<u8>,
    /// How much of `ahead` holds no end of a line.
    searched: usize,
    /// So much of a line was given up that is too long.
    skipped: u64,
    last_look: Option<(u64, SystemTime)>,
    /// Up to where it was read when that was last marked, and the digest of what stands there.
    marked: (u64, String),
}

impl Follower {
    /// Follows the file at `path` from a position on, or from its beginning. It need not be there yet.
    pub fn new(path: impl Into<PathBuf>, position: Option<Position>) -> Self {
        let position = position.unwrap_or_default();
        Self {
            path: path.into(),
            file: None,
            marked: (position.offset, position.seen.clone()),
            position,
            ahead: Vec::new(),
            searched: 0,
            skipped: 0,
            last_look: None,
        }
    }

    /// How far it was read: behind the last line that [`Follower::next`] gave.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Looks at the file anew; whether it is there. To be called before lines are asked for, each time. Turns to the file
    /// that has its name now, where it was renamed and is read to its end.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn look(&mut self) -> Result<bool, FollowError> {
        loop {
            if self.file.is_none() && !self.open()? {
                return Ok(false);
            }
            let Some(file) = &self.file else {
                return Ok(false);
            };
            let metadata = file.metadata().map_err(self.cannot_read())?;
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let changed = Some((metadata.len(), modified));
            if self.last_look != changed {
                self.check(file, &metadata)?;
                self.last_look = changed;
            }
            if self.position.offset < metadata.len() {
                return Ok(true);
            }
            match self.successor()? {
                Some(next) => self.turn_to(&next)?,
                None => return Ok(true),
            }
        }
    }

    /// The next line. With `all`, also what is left of a file that has no end of its last line. `None` where there is no
    /// more, for now.
    ///
    /// # Errors
    /// [`FollowError::Read`].
    pub fn next(&mut self, all: bool) -> Result<Option<Line>, FollowError> {
        loop {
            let rest = self.ahead.get(self.searched..).unwrap_or_default();
            if let Some(end) = memchr::memchr(b'\n', rest) {
                let mut bytes: Vec<u8> = self.ahead.drain(..=self.searched + end).collect();
                bytes.pop();
                self.searched = 0;
                return Ok(Some(self.give(bytes, false)));
            }
            self.searched = self.ahead.len();
            if self.ahead.len() > MAX_LINE_BYTES {
                self.skipped += self.ahead.len() as u64;
                self.ahead.clear();
                self.searched = 0;
            }
            if self.fill()? {
                continue;
            }
            let is_open = !self.ahead.is_empty() || self.skipped > 0;
            // Nobody ends a line any more in a file that another has taken the place of.
            if is_open && (all || self.successor()?.is_some()) {
                return Ok(Some(self.give_open()));
            }
            return Ok(None);
        }
    }

    fn give_open(&mut self) -> Line {
        let bytes = std::mem::take(&mut self.ahead);
        self.searched = 0;
        self.give(bytes, true)
    }

    fn give(&mut self, bytes: Vec<u8>, open: bool) -> Line {
        let end = u64::from(!open);
        self.position.offset += self.skipped + bytes.len() as u64 + end;
        self.position.lines += 1;
        let too_long = self.skipped > 0 || bytes.len() > MAX_LINE_BYTES;
        self.skipped = 0;
        Line {
            number: self.position.lines,
            bytes: (!too_long).then_some(bytes),
            open,
        }
    }

    /// A position of this file, where lines were given up to, with what has to be known to go on from it another time.
    ///
    /// # Errors
    /// [`FollowError::Read`].
    pub fn mark(&mut self, position: &Position) -> Result<Position, FollowError> {
        let mut position = position.clone();
        if let Some(file) = &self.file {
            position.seen = seen(file, position.offset).map_err(self.cannot_read())?;
        }
        self.marked = (position.offset, position.seen.clone());
        Ok(position)
    }

    /// How long the file is, as last looked at.
    pub fn bytes(&self) -> u64 {
        self.last_look.map_or(0, |(bytes, _)| bytes)
    }

    /// Reads more; whether there was more.
    fn fill(&mut self) -> Result<bool, FollowError> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let at = self.position.offset + self.skipped + self.ahead.len() as u64;
        let before = self.ahead.len();
        self.ahead.resize(before + CHUNK_BYTES, 0);
        let read = loop {
            match file.read_at(self.ahead.get_mut(before..).unwrap_or_default(), at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.ahead.truncate(before + *read.as_ref().unwrap_or(&0));
        read.map(|read| read > 0).map_err(self.cannot_read())
    }

    /// Opens the file that the position is in; whether there is one.
    fn open(&mut self) -> Result<bool, FollowError> {
        let Some(file) = open(&self.path).map_err(self.cannot_read())? else {
            return match self.renamed()? {
                Some(path) => self.take(&path),
                None => Ok(false),
            };
        };
        let found = identity(&file.metadata().map_err(self.cannot_read())?);
        if self.position.offset > 0 && found != self.position.file {
            if let Some(path) = self.renamed()? {
                return self.take(&path);
            }
            // A copy of it will do as well, on another disk perhaps.
            let same = seen(&file, self.position.offset).map_err(self.cannot_read())?;
            if same != self.position.seen {
                return Err(FollowError::Gone {
                    path: self.path.clone(),
                    lines: self.position.lines,
                });
            }
        }
        self.position.file = found;
        self.file = Some(file);
        Ok(true)
    }

    fn take(&mut self, path: &Path) -> Result<bool, FollowError> {
        self.file = open(path).map_err(self.cannot_read())?;
        Ok(self.file.is_some())
    }

    fn check(&self, file: &File, metadata: &Metadata) -> Result<(), FollowError> {
        let Position { offset, lines, .. } = self.position;
        let read_to = offset + self.skipped + self.ahead.len() as u64;
        if metadata.len() < read_to {
            return Err(FollowError::Truncated {
                path: self.path.clone(),
                bytes: metadata.len(),
                offset: read_to,
                lines,
            });
        }
        let (marked, before) = &self.marked;
        let now = seen(file, *marked).map_err(self.cannot_read())?;
        if !before.is_empty() && now != *before {
            return Err(FollowError::Rewritten {
                path: self.path.clone(),
                lines,
            });
        }
        Ok(())
    }

    /// Where the file of the position is now, if it was renamed.
    fn renamed(&self) -> Result<Option<PathBuf>, FollowError> {
        if self.position.offset == 0 {
            return Ok(None);
        }
        let beside = beside(&self.path).map_err(self.cannot_read())?;
        let mut found = beside
            .into_iter()
            .filter(|(_, metadata)| identity(metadata) == self.position.file);
        Ok(found.next().map(|(path, _)| path))
    }

    /// The file that was begun after this one was renamed.
    fn successor(&self) -> Result<Option<PathBuf>, FollowError> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let current = match fs::metadata(&self.path) {
            Ok(metadata) if identity(&metadata) == self.position.file => return Ok(None),
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.cannot_read()(error)),
        };
        let written = |metadata: &Metadata| metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let own = written(&file.metadata().map_err(self.cannot_read())?);
        let beside = beside(&self.path).map_err(self.cannot_read())?;
        let later = beside.into_iter().filter(|(_, metadata)| {
            identity(metadata) != self.position.file && written(metadata) > own
        });
        let next = later
            .chain([(self.path.clone(), current)])
            .min_by_key(|(_, metadata)| written(metadata));
        Ok(next.map(|(path, _)| path))
    }

    fn turn_to(&mut self, path: &Path) -> Result<(), FollowError> {
        let Some(file) = open(path).map_err(self.cannot_read())? else {
            return Ok(());
        };
        let file_identity = identity(&file.metadata().map_err(self.cannot_read())?);
        *self = Self::new(self.path.clone(), None);
        self.position.file = file_identity;
        self.file = Some(file);
        Ok(())
    }

    fn cannot_read(&self) -> impl Fn(io::Error) -> FollowError + use<> {
        let path = self.path.clone();
        move |source| FollowError::Read {
            path: path.clone(),
            source,
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The digest of what stands before `offset`, or nothing where the file ends before.
fn seen(file: &File, offset: u64) -> io::Result<String> {
    let from = offset.saturating_sub(SEEN_BYTES);
    let mut bytes = vec![0; usize::try_from(offset - from).unwrap_or_default()];
    match file.read_exact_at(&mut bytes, from) {
        Ok(()) => Ok(record::Sha256(Sha256::digest(&bytes).into()).to_string()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The files that a log's older parts are renamed to: its name, a point or a hyphen, digits.
fn beside(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let suffix = file_name
            .to_str()
            .and_then(|file| file.strip_prefix(&name)?.strip_prefix(['.', '-']));
        let is_older = suffix.is_some_and(|suffix| {
            !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_older
            && let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            found.push((entry.path(), metadata));
        }
    }
    Ok(found)
}
