//! All files on all cores. A thread takes the largest file that nobody has and hashes it with its tensors; once every
//! file is taken, it takes the tensors of one over ([`crate::lane`]).

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use record::Sha256;
use sha2::Digest as _;

use crate::error::WeightsError;
use crate::file::Laid;
use crate::lane::{Buffers, Lane};
use crate::layout::{Form, Part};
use crate::manifest::{Contents, Entry, Manifest, ManifestFile, Tensor};
use crate::source::Source;
use crate::{Options, Progress, Tensors};

/// Where so little is hashed twice, it costs nobody anything: a quarter of a second.
const LITTLE_BYTES: u64 = 512 << 20;

/// Hashes a model's files.
pub(crate) fn hash(
    source: &Source,
    files: &[Laid],
    options: &Options<'_>,
) -> Result<Manifest, WeightsError> {
    let parts = match options.tensors {
        Tensors::Always => true,
        Tensors::Never => false,
        Tensors::WhereCheap => is_cheap(files, options.threads().get()),
    };
    let work = Work::new(files, parts, options.progress);
    thread::scope(|scope| {
        for _ in 1..options.threads().get() {
            scope.spawn(|| work.run());
        }
        work.run();
    });
    let hashed = work.finish()?;
    source.unchanged(files)?;
    Manifest::new(hashed).map_err(|error| WeightsError::Malformed {
        name: "the model".to_owned(),
        why: error.to_string(),
    })
}

/// Whether hashing all parts too would take at most a fifth longer. A file by itself cannot be spread over cores, so the
/// largest, and all of them over all cores, are what bounds the time either way.
fn is_cheap(files: &[Laid], threads: usize) -> bool {
    let all: u64 = files.iter().map(|file| file.state.bytes).sum();
    let largest = files.iter().map(|file| file.state.bytes).max().unwrap_or(0);
    let parts: u64 = files
        .iter()
        .flat_map(|file| &file.layout.parts)
        .map(Part::bytes)
        .sum();
    let time = |bytes: u64| largest.max(bytes / threads as u64);
    parts <= LITTLE_BYTES || time(all + parts) <= time(all) / 5 * 6
}

/// What is done, and what is left to do.
struct Work<'a> {
    files: &'a [Laid],
    /// One for each file; without parts where those are not wanted.
    lanes: Vec<Lane<'a>>,
    progress: Option<Progress<'a>>,
    /// By size, the largest first.
    order: Vec<usize>,
    next: AtomicUsize,
    done: AtomicU64,
    total: u64,
    stopped: AtomicBool,
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    files: Vec<ManifestFile>,
    error: Option<WeightsError>,
}

impl<'a> Work<'a> {
    fn new(files: &'a [Laid], parts: bool, progress: Option<Progress<'a>>) -> Self {
        let of = |file: &'a Laid| -> &'a [Part] { if parts { &file.layout.parts } else { &[] } };
        let mut order: Vec<usize> = (0..files.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(files[*at].state.bytes));
        Self {
            files,
            lanes: files.iter().map(|file| Lane::new(of(file))).collect(),
            progress,
            order,
            next: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            total: files.iter().map(|file| file.state.bytes).sum(),
            stopped: AtomicBool::new(false),
            outcome: Mutex::default(),
        }
    }

    /// What one thread does.
    fn run(&self) {
        let mut buffers = Buffers::new();
        while let Some(at) = self.order.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let hashed = self.file(*at, &mut buffers);
            let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match hashed {
                Ok(Some(file)) => outcome.files.push(file),
                Ok(None) => return,
                Err(error) => {
                    self.stopped.store(true, Ordering::Relaxed);
                    outcome.error.get_or_insert(error);
                    return;
                }
            }
        }
        for at in &self.order {
            self.lanes[*at].help();
        }
    }

    /// Hashes a file; `None` where another one failed meanwhile.
    fn file(&self, at: usize, buffers: &mut Buffers) -> Result<Option<ManifestFile>, WeightsError> {
        let (laid, lane) = (&self.files[at], &self.lanes[at]);
        let read = self.read(laid, lane, buffers);
        // Whatever came of it: whoever helps waits for more.
        lane.end();
        let digests = lane.digests();
        let Some(sha256) = read? else {
            return Ok(None);
        };
        Ok(Some(ManifestFile {
            name: laid.name.clone(),
            bytes: laid.state.bytes,
            sha256,
            contents: contents(laid, &digests),
        }))
    }

    /// Reads a file to its end, and says what it hashes to.
    fn read(
        &self,
        laid: &Laid,
        lane: &Lane<'_>,
        buffers: &mut Buffers,
    ) -> Result<Option<Sha256>, WeightsError> {
        let mut file = laid.reopen()?;
        let mut hasher = sha2::Sha256::new();
        let mut bytes = 0;
        for number in 0.. {
            if self.stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let shared = lane.free(buffers, number);
            let Some(buffer) = Arc::get_mut(shared) else {
                continue;
            };
            let length = fill(&mut file, buffer).map_err(|e| WeightsError::io(&laid.path, e))?;
            if length == 0 {
                break;
            }
            bytes += length as u64;
            if bytes > laid.state.bytes {
                break;
            }
            let own = lane.next(shared, length);
            hasher.update(&shared[..length]);
            if let Some(mut parts) = own {
                parts.update(&shared[..length]);
                lane.give_back(parts);
            }
            let done = self.done.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
            if let Some(progress) = self.progress {
                progress(done, self.total);
            }
        }
        laid.unchanged(&file)?;
        if bytes != laid.state.bytes {
            let what = format!("it had {} bytes, and {bytes} were read", laid.state.bytes);
            return Err(WeightsError::changed(&laid.name, what));
        }
        Ok(Some(Sha256(hasher.finalize().into())))
    }

    fn finish(self) -> Result<Vec<ManifestFile>, WeightsError> {
        let outcome = self
            .outcome
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        outcome.error.map_or(Ok(outcome.files), Err)
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// A file's parts with their digests, of which there are as many or none.
fn contents(laid: &Laid, digests: &[Sha256]) -> Contents {
    let parts = &laid.layout.parts;
    let known = digests.len() == parts.len();
    let pairs = || parts.iter().zip(digests);
    match &laid.layout.form {
        Form::Plain => Contents::Plain,
        Form::Safetensors { header } => Contents::Safetensors {
            header: *header,
            tensors: known.then(|| pairs().map(tensor).collect()),
        },
        Form::TorchZip => Contents::TorchZip {
            entries: known.then(|| pairs().map(entry).collect()),
        },
    }
}

fn tensor((part, sha256): (&Part, &Sha256)) -> Tensor {
    let (dtype, shape) = part.tensor.clone().unwrap_or_default();
    Tensor {
        bytes: part.bytes(),
        dtype,
        name: part.name.clone(),
        sha256: *sha256,
        shape,
    }
}

fn entry((part, sha256): (&Part, &Sha256)) -> Entry {
    Entry {
        bytes: part.bytes(),
        name: part.name.clone(),
        sha256: *sha256,
    }
}
