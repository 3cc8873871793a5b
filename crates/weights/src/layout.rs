//! Which bytes of a file are which part of it, as far as its form is known.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use record::Sha256;

use crate::{safetensors, torch};

/// A run of bytes that gets a digest of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name within the file.
    pub(crate) name: String,
    /// Where it begins and ends in the file.
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// For a tensor: the type of its elements, and its shape.
    pub(crate) tensor: Option<(String, Vec<u64>)>,
}

impl Part {
    pub(crate) fn bytes(&self) -> u64 {
        self.end - self.begin
    }
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Bytes.
    Plain,
    /// A safetensors file, with the digest of its header.
    Safetensors { header: Sha256 },
    /// A zip archive of stored entries.
    TorchZip,
}

/// A file's form and its parts, by where they begin, none over another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) form: Form,
    pub(crate) parts: Vec<Part>,
}

impl Layout {
    pub(crate) fn plain() -> Self {
        Self {
            form: Form::Plain,
            parts: Vec::new(),
        }
    }
}

/// Why a layout could not be had.
pub(crate) enum LayoutError {
    /// The file could not be read.
    Io(std::io::Error),
    /// It is not what its name says.
    Malformed(String),
}

impl From<std::io::Error> for LayoutError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

pub(crate) fn malformed<T>(why: impl Into<String>) -> Result<T, LayoutError> {
    Err(LayoutError::Malformed(why.into()))
}

/// Reads the layout of a file of `bytes` bytes from its name and its beginning (or end).
pub(crate) fn of(name: &str, file: &File, bytes: u64) -> Result<Layout, LayoutError> {
    match name.rsplit_once('.') {
        Some((_, "safetensors")) => safetensors::layout(file, bytes),
        Some((_, "pt" | "pth" | "bin" | "ckpt")) if begins_with(file, bytes, torch::MAGIC)? => {
            torch::layout(file, bytes)
        }
        _ => Ok(Layout::plain()),
    }
}

fn begins_with(file: &File, bytes: u64, magic: [u8; 4]) -> std::io::Result<bool> {
    if bytes < magic.len() as u64 {
        return Ok(false);
    }
    let mut begin = [0; 4];
    file.read_exact_at(&mut begin, 0)?;
    Ok(begin == magic)
}
