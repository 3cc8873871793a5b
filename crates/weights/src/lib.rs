//! What a saved model is made of: the SHA-256 of each file and of each tensor, in one [`Manifest`], and what two of them
//! have in common.
//!
//! Weights are hashed as they lie on the disk, on all cores, a few megabytes at a time: no file is read whole, nothing is
//! unpickled, no tensor is made. A file that changes while it is hashed is an error that names it.
//!
//! | file | what is hashed besides the whole of it |
//! |---|---|
//! | `*.safetensors` | its header, and each tensor's bytes |
//! | `*.pt`, `*.pth`, `*.bin`, `*.ckpt` that are zip archives of stored entries, as `torch.save` writes them | each entry: `archive/data/0` and so on are the storages; which tensor lies in which says `data.pkl`, which is hashed and not read |
//! | anything else: configuration, tokenizer, `trainer_state.json`, older torch files | – |
//!
//! What it is not: it judges no model, knows no log and no network, and reads no clock.

mod compare;
mod engine;
mod error;
mod file;
mod index;
mod lane;
mod layout;
mod manifest;
mod safetensors;
mod source;
mod torch;

use std::fmt;
use std::num::NonZeroUsize;
use std::thread;

pub use compare::{Comparison, Difference, FileDifference, PartChange, PartDifference};
pub use error::WeightsError;
pub use manifest::{
    Contents, Entry, FORMAT, MAX_MANIFEST_BYTES, Manifest, ManifestError, ManifestFile, Tensor,
};
pub use source::Source;

/// Whether tensors (and entries of torch archives) are hashed one by one besides their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tensors {
    /// Where it costs at most a fifth more time: there are cores to spare, since a file's own SHA-256 keeps only one of
    /// them busy, or there is little to hash. On two cores that is a model in one file, on many cores any.
    #[default]
    WhereCheap,
    /// All of them, at up to twice the time where the cores are busy with files already.
    Always,
    /// None of them.
    Never,
}

/// Told now and then how many bytes of how many are hashed; from several threads.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// How to hash.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Threads to use; all cores if not given.
    pub threads: Option<NonZeroUsize>,
    /// Whether tensors are hashed one by one.
    pub tensors: Tensors,
    /// For a progress bar.
    pub progress: Option<Progress<'a>>,
}

impl Options<'_> {
    fn threads(&self) -> NonZeroUsize {
        self.threads
            .or_else(|| thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("threads", &self.threads)
            .field("tensors", &self.tensors)
            .finish_non_exhaustive()
    }
}

/// A file that is not what its name says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name in the manifest.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// What [`examine`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Every file; one with a fault without its parts.
    pub manifest: Manifest,
    /// What is wrong with some of them.
    pub faults: Vec<Fault>,
}

/// Hashes a model that is whole: a safetensors file that is malformed, a torch archive that is cut off, an index that
/// names what is not there are errors, found before anything is hashed.
///
/// # Errors
///
/// [`WeightsError`], naming the file.
pub fn manifest(source: &Source, options: &Options<'_>) -> Result<Manifest, WeightsError> {
    let files = file::lay_out(source)?;
    if let Some(Fault { name, why }) = file::faults(&files).into_iter().next() {
        return Err(WeightsError::Malformed { name, why });
    }
    engine::hash(source, &files, options)
}

/// Hashes a model whatever state it is in, and says what is wrong with it: for holding it against a manifest.
///
/// # Errors
///
/// [`WeightsError`] where a file cannot be read, or changes meanwhile.
pub fn examine(source: &Source, options: &Options<'_>) -> Result<Examined, WeightsError> {
    let files = file::lay_out(source)?;
    let faults = file::faults(&files);
    Ok(Examined {
        manifest: engine::hash(source, &files, options)?,
        faults,
    })
}
