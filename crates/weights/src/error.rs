//! What can keep a model from being hashed.

use std::io;
use std::path::{Path, PathBuf};

/// A model could not be hashed. Nothing is known of it then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no file in it.
    #[error("{} holds no file; name the folder that a model was saved to", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// A file's name is not text.
    #[error("the name of {} is not UTF-8; rename it", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Two files are to have one name.
    #[error("two files are to be named {name}; give each its own name")]
    Twice {
        /// The name.
        name: String,
    },
    /// Something that is neither file nor directory.
    #[error("{} is {what}, and a model is made of files; take it out of the folder", path.display())]
    Special {
        /// Where it is.
        path: PathBuf,
        /// A pipe, a socket, a device.
        what: &'static str,
    },
    /// A link that leads back to where it is.
    #[error("{} leads in a circle; take the link out of the folder", path.display())]
    Circle {
        /// The link, or a directory below it.
        path: PathBuf,
    },
    /// More than any model has.
    #[error("{} has more than {limit} files or directories in it; is it a model's folder?", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The most there may be.
        limit: usize,
    },
    /// A file changed while it was hashed, or came or went: what was read is no state that the model ever had.
    #[error(
        "{name} changed while it was hashed ({what}); wait until the model is saved, then hash it again"
    )]
    Changed {
        /// The file.
        name: String,
        /// What was seen of it.
        what: String,
    },
    /// A file is not what its name says.
    #[error("{name} is malformed: {why}; save the model again")]
    Malformed {
        /// The file.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl WeightsError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn changed(name: &str, what: impl Into<String>) -> Self {
        Self::Changed {
            name: name.to_owned(),
            what: what.into(),
        }
    }
}
