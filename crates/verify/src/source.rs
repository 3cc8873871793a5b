//! Where the files of a log come from: a directory, or a web server that serves one.
//!
//! Both answer one question, "the bytes at this path, if there are any", with a limit on how many.
//! Not here: what the bytes mean.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::VerifyError;

/// A checkpoint note with some dozens of cosignatures stays far below this.
pub(crate) const MAX_CHECKPOINT_BYTES: usize = 1 << 20;
/// 256 hashes.
pub(crate) const MAX_TILE_BYTES: usize = 256 * 32;
/// 256 entries of 65,535 bytes, each behind its two-byte length.
pub(crate) const MAX_ENTRY_BUNDLE_BYTES: usize = 256 * (2 + 65_535);

/// A log to be checked.
#[derive(Clone, Debug)]
pub enum Source {
    /// A directory that holds `checkpoint` and `tile/`.
    Directory(PathBuf),
    /// A URL prefix under which `checkpoint` and `tile/…` are served.
    #[cfg(feature = "url")]
    Url(crate::url::UrlSource),
}

impl Source {
    /// A directory: a data directory (then its `log/` is meant) or a log directory itself.
    ///
    /// # Errors
    ///
    /// [`VerifyError::NoCheckpoint`] if neither holds a `checkpoint`.
    pub fn directory(path: impl AsRef<Path>) -> Result<Self, VerifyError> {
        let path = path.as_ref();
        let inside = path.join("log");
        if inside.join("checkpoint").is_file() {
            return Ok(Self::Directory(inside));
        }
        if path.join("checkpoint").is_file() {
            return Ok(Self::Directory(path.to_owned()));
        }
        Err(VerifyError::NoCheckpoint {
            source_name: path.display().to_string(),
        })
    }

    /// A URL, `http://` or `https://`, with or without a final slash, and the bearer token that
    /// the server asks for before it hands out entry bundles.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Usage`] if it is neither `http` nor `https`.
    #[cfg(feature = "url")]
    pub fn url(prefix: &str, token: Option<&str>) -> Result<Self, VerifyError> {
        crate::url::UrlSource::new(prefix, token).map(Self::Url)
    }

    /// The name for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            #[cfg(feature = "url")]
            Self::Url(url) => url.prefix().to_owned(),
        }
    }

    /// The file at `path` below the log, if there is one.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Unavailable`] if it cannot be read, or is longer than `limit`.
    pub fn file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, VerifyError> {
        let mut bytes = Vec::new();
        if !self.read(path, limit, &mut bytes)? {
            return Ok(None);
        }
        if bytes.len() > limit {
            return Err(VerifyError::Unavailable {
                what: format!("{}/{path}", self.name()),
                why: format!("it has more than {limit} bytes"),
            });
        }
        Ok(Some(bytes))
    }

    /// An attachment, if it can be had from where the log is: `attachments/` beside the `log/` of a data directory, a
    /// server's `/v1/attachments/` beside its `/log`. Whether it is what its name says is not looked at.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Unavailable`] if it is there and cannot be read, or the server does not answer.
    pub(crate) fn attachment(
        &self,
        sha256: &record::Sha256,
    ) -> Result<Option<Box<dyn Read + Send>>, VerifyError> {
        let name = sha256.to_string();
        match self {
            Self::Directory(root) => {
                if root.file_name().is_none_or(|name| name != "log") {
                    return Ok(None);
                }
                let path = root
                    .with_file_name("attachments")
                    .join(&name[..2])
                    .join(&name);
                match File::open(&path) {
                    Ok(file) => Ok(Some(Box::new(file))),
                    Err(e) if is_absent(&e) => Ok(None),
                    Err(e) => Err(VerifyError::Unavailable {
                        what: path.display().to_string(),
                        why: e.to_string(),
                    }),
                }
            }
            #[cfg(feature = "url")]
            Self::Url(url) => url.attachment(&name),
        }
    }

    /// The log's checkpoint note, unread.
    ///
    /// # Errors
    ///
    /// As [`Source::file`].
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, VerifyError> {
        self.file("checkpoint", MAX_CHECKPOINT_BYTES)
    }

    /// The directory whose files can be listed, if it is one.
    #[cfg_attr(
        not(feature = "url"),
        expect(clippy::unnecessary_wraps, reason = "a URL has none")
    )]
    pub(crate) fn root(&self) -> Option<&Path> {
        match self {
            Self::Directory(root) => Some(root),
            #[cfg(feature = "url")]
            Self::Url(_) => None,
        }
    }

    /// Puts the bytes at `path` into `into` (replacing what it held); false if there is no such file.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Unavailable`] if it is there and cannot be read, or is over `limit` bytes:
    /// `into` then holds `limit` + 1 bytes, and the caller's own length check speaks of it.
    pub(crate) fn read(
        &self,
        path: &str,
        limit: usize,
        into: &mut Vec<u8>,
    ) -> Result<bool, VerifyError> {
        into.clear();
        match self {
            Self::Directory(root) => read_file(&root.join(path), limit, into).map_err(|source| {
                VerifyError::Unavailable {
                    what: root.join(path).display().to_string(),
                    why: source.to_string(),
                }
            }),
            #[cfg(feature = "url")]
            Self::Url(url) => url.read(path, limit, into),
        }
    }
}

/// Whether there is no such file. One where a directory belongs is a tile that is missing, too.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn read_file(path: &Path, limit: usize, into: &mut Vec<u8>) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if is_absent(&e) => return Ok(false),
        Err(e) => return Err(e),
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(false);
    }
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    into.reserve(length.min(limit) + 1);
    file.take(limit as u64 + 1).read_to_end(into)?;
    Ok(true)
}
