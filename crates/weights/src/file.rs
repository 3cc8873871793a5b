//! A file of a model on its way to its digests: opened, its layout read, watched for changes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use rustix::fs::OFlags;

use crate::Fault;
use crate::error::WeightsError;
use crate::layout::{self, Layout, LayoutError};
use crate::source::{Source, follow, regular};
use crate::{index, source};

/// A file with its layout.
pub(crate) struct Laid {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) state: State,
    pub(crate) layout: Layout,
    /// Why it is not what its name says.
    pub(crate) fault: Option<String>,
}

/// What shows that a file was written to, or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) bytes: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    fn of(found: &std::fs::Metadata) -> Self {
        Self {
            bytes: found.len(),
            device: found.dev(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// What is different in another state of what should be the same file.
    fn difference(&self, other: &Self) -> Option<String> {
        if (self.device, self.inode) != (other.device, other.inode) {
            return Some("it was replaced by another file".to_owned());
        }
        if self.bytes != other.bytes {
            return Some(format!(
                "it had {} bytes, and then {}",
                self.bytes, other.bytes
            ));
        }
        if self.modified != other.modified || self.changed != other.changed {
            return Some("it was written to".to_owned());
        }
        None
    }
}

/// Opens a model's files one after the other and reads their layouts. All of them are looked at before the first is
/// hashed, so that what is malformed is said at once.
pub(crate) fn lay_out(source: &Source) -> Result<Vec<Laid>, WeightsError> {
    let mut files = Vec::new();
    for (name, path) in source.list()? {
        let laid = lay_out_one(name, path)?;
        files.push(laid);
    }
    index::check(&mut files)?;
    Ok(files)
}

fn lay_out_one(name: String, path: PathBuf) -> Result<Laid, WeightsError> {
    let (file, state) = open(&path)?;
    let (layout, fault) = match layout::of(&name, &file, state.bytes) {
        Ok(layout) => (layout, None),
        Err(LayoutError::Malformed(why)) => (Layout::plain(), Some(why)),
        // It ends before it said it would: somebody cut it meanwhile.
        Err(LayoutError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(WeightsError::changed(&name, "it became shorter"));
        }
        Err(LayoutError::Io(error)) => return Err(WeightsError::io(&path, error)),
    };
    Ok(Laid {
        name,
        path,
        state,
        layout,
        fault,
    })
}

/// What is wrong with some of the files.
pub(crate) fn faults(files: &[Laid]) -> Vec<Fault> {
    let fault = |file: &Laid| {
        let why = file.fault.clone()?;
        let name = file.name.clone();
        Some(Fault { name, why })
    };
    files.iter().filter_map(fault).collect()
}

fn open(path: &std::path::Path) -> Result<(File, State), WeightsError> {
    regular(path, &follow(path)?)?;
    let io = |e| WeightsError::io(path, e);
    // What has become a pipe since must not keep anybody waiting.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(io)?;
    let found = file.metadata().map_err(io)?;
    regular(path, &found)?;
    Ok((file, State::of(&found)))
}

impl Laid {
    /// Opens it to be read from its beginning.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is not as it was.
    pub(crate) fn reopen(&self) -> Result<File, WeightsError> {
        let (file, state) = open(&self.path).map_err(|error| self.gone(error))?;
        self.same(&state)?;
        Ok(file)
    }

    /// Says whether it is still as it was, by the open file and by its path.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(crate) fn unchanged(&self, file: &File) -> Result<(), WeightsError> {
        // By its path first: whoever replaces or removes a file also changes the state of the one that is open.
        let found = source::follow(&self.path).map_err(|error| self.gone(error))?;
        self.same(&State::of(&found))?;
        let found = file
            .metadata()
            .map_err(|e| WeightsError::io(&self.path, e))?;
        self.same(&State::of(&found))
    }

    /// It was there a moment ago.
    fn gone(&self, error: WeightsError) -> WeightsError {
        match error {
            WeightsError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                WeightsError::changed(&self.name, "it is not there any more")
            }
            other => other,
        }
    }

    fn same(&self, now: &State) -> Result<(), WeightsError> {
        match self.state.difference(now) {
            Some(what) => Err(WeightsError::changed(&self.name, what)),
            None => Ok(()),
        }
    }
}
