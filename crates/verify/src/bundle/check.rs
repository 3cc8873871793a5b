//! A bundle held against the policy: every entry is in the log, the run is whole.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use record::RunId;
use tlog::multiproof;
use tlog::{Hash, LeafIndex, Policy, TreeSize, leaf_hash};

use super::format::{Entry, FormatError};
use super::reader::Reader;
use crate::attached::Attached;
use crate::chains::Chains;
use crate::commitments;
use crate::followed::Keys;
use crate::meaning::{Meaning, Wanted};
use crate::model::Models;
use crate::pipeline::{self, Work};
use crate::report::{Check, Failure, Report, SealedValues, Subject};
use crate::signatures::{SignatureJob, Signatures};
use crate::trust::{self, SignedRoot};
use crate::{Options, VerifyError, stamps};

/// Entries that are hashed and parsed in one go.
const CHUNK: usize = 256;

/// Checks the bundle at `path` against `policy`. Of `options`, `hashes_only` and `openings` do not
/// apply: a bundle is checked in full, with the openings that it holds.
///
/// # Errors
///
/// [`VerifyError`] if the file cannot be read. What is wrong with it is in the report.
pub fn bundle(
    path: impl AsRef<Path>,
    policy: &Policy,
    options: &Options<'_>,
) -> Result<Report, VerifyError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let file = File::open(path).map_err(|e| VerifyError::Unavailable {
        what: name.clone(),
        why: e.to_string(),
    })?;
    read(
        &name,
        BufReader::with_capacity(1 << 18, file),
        policy,
        options,
    )
}

/// [`bundle`] from bytes; `name` is what the report calls it.
///
/// # Errors
///
/// As [`bundle`].
pub fn read(
    name: &str,
    input: impl Read + Send,
    policy: &Policy,
    options: &Options<'_>,
) -> Result<Report, VerifyError> {
    let mut report = Report::new(Subject::Bundle, name);
    let mut reader = match Reader::new(input) {
        Ok(reader) => reader,
        Err(error) => {
            report.fail(broken(name, error)?);
            return Ok(report.finish());
        }
    };
    let header = reader.header();
    report.run = Some(header.run.clone());
    let Some(run) = RunId::parse(&header.run) else {
        report.fail(Failure::new(
            Check::Bundle,
            "a run: a ULID",
            format!("{:?}", header.run),
        ));
        return Ok(report.finish());
    };
    let keys = match &options.rotations {
        Some(source) => Some(Keys::follow(
            policy,
            &header.checkpoint,
            source,
            &mut report,
        )?),
        None => None,
    };
    let policy = keys.as_ref().map_or(policy, Keys::policy);
    let Some(signed) = trust::checkpoint(policy, &header.checkpoint, &mut report) else {
        return Ok(report.finish());
    };
    if let Some(note) = &options.since {
        since(note, policy, &signed, &mut report);
    }
    let total = header.entries;
    for stamp in &header.timestamps {
        stamps::check(stamp, &signed, options, None, &mut report);
    }
    stamps::expected(options, &mut report);
    let proof = reader.take_proof();

    let work = BundleWork {
        name,
        reader: Mutex::new(reader),
        broken: Mutex::new(None),
        signatures: Signatures::default(),
        models: options.model.is_some(),
    };
    let mut chains = Chains::of_run(options, run);
    let mut leaves: Vec<(LeafIndex, Hash)> = Vec::new();
    let mut done = 0;
    let mut attached = Attached::default();
    let mut models = Models::new(options.model);
    let consume = |mut chunk: Chunk, jobs: &mut Vec<SignatureJob>| {
        report.counts.bytes += chunk.bytes;
        report.counts.entries += chunk.leaves.len() as u64;
        if chunk.openings {
            report.sealed_values = SealedValues::Checked;
        }
        done += chunk.leaves.len() as u64;
        leaves.extend(chunk.leaves);
        attached.take(std::mem::take(&mut chunk.meaning.attachments));
        models.take(std::mem::take(&mut chunk.meaning.models));
        chains.admit(chunk.meaning, &mut report, jobs);
        if let Some(progress) = options.progress {
            progress(done, total);
        }
        Ok(())
    };
    pipeline::run(&work, options.threads(), consume)?;

    let (mut reader, broken) = (inner(work.reader), inner(work.broken));
    let broken = match broken {
        Some(failure) => Some(failure),
        None => attached
            .check_bundle(&mut reader, &models, &mut report)
            .map_or_else(|error| self::broken(name, error).map(Some), |()| Ok(None))?,
    };
    match broken {
        Some(failure) => report.fail(failure),
        None => included(&signed, leaves, proof, &mut report),
    }
    work.signatures.finish(&mut report);
    chains.finish(&mut report);
    whole(run, &mut report);
    models.finish(&mut report);
    Ok(report.finish())
}

fn inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the entries are in the tree that was signed.
fn included(
    signed: &SignedRoot,
    leaves: Vec<(LeafIndex, Hash)>,
    proof: Vec<[u8; 32]>,
    report: &mut Report,
) {
    let hashes = proof.into_iter().map(Hash::from);
    let found = match multiproof::root(TreeSize(signed.size), leaves, hashes) {
        Ok(root) if root == signed.hash => return,
        Ok(root) => format!("{root}: an entry or the proof is not what the log has"),
        Err(error) => error.to_string(),
    };
    report.fail(Failure::new(
        Check::Inclusion,
        format!("proof and entries to give the signed root {}", signed.hash),
        found,
    ));
}

/// Whether there is a run, and whether anything of it may be missing.
fn whole(run: RunId, report: &mut Report) {
    if report.counts.runs == 0 {
        report.fail(Failure::new(
            Check::Bundle,
            format!("the records of run {run}"),
            "none that starts it",
        ));
    } else if report.counts.sealed_runs == 0 {
        report.leave_unchecked("run not sealed: completeness not shown");
    }
}

/// Holds an earlier checkpoint against the bundle's, which a bundle allows at the same size only.
fn since(note: &[u8], policy: &Policy, signed: &SignedRoot, report: &mut Report) {
    match trust::since(policy, note, signed, report) {
        Some(since) if since.size == signed.size => {
            trust::hold_since(&since, Some(signed.hash), report);
        }
        Some(_) => report.leave_unchecked(
            "the earlier checkpoint: only a check of the whole log can show that it has grown from it",
        ),
        None => {}
    }
}

/// The failure that a broken bundle is; an error only if it could not be read.
fn broken(name: &str, error: FormatError) -> Result<Failure, VerifyError> {
    match error {
        FormatError::Io(error) => Err(VerifyError::Unavailable {
            what: name.to_owned(),
            why: error.to_string(),
        }),
        FormatError::Broken { expected, found } => Ok(Failure::new(Check::Bundle, expected, found)),
    }
}

struct Chunk {
    leaves: Vec<(LeafIndex, Hash)>,
    meaning: Meaning,
    bytes: u64,
    openings: bool,
}

struct BundleWork<'a, R> {
    name: &'a str,
    reader: Mutex<Reader<R>>,
    broken: Mutex<Option<Failure>>,
    signatures: Signatures,
    /// Records of saved models are asked for.
    models: bool,
}

impl<R: Read + Send> Work for BundleWork<'_, R> {
    type Piece = Vec<Entry>;
    type Item = Chunk;
    type Job = SignatureJob;
    type Scratch = ();

    fn claim(&self, _: u64) -> Result<Option<Vec<Entry>>, VerifyError> {
        let mut at_fault = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if at_fault.is_some() {
            return Ok(None);
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        while entries.len() < CHUNK {
            match reader.next_entry() {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => break,
                Err(error) => {
                    *at_fault = Some(broken(self.name, error)?);
                    break;
                }
            }
        }
        Ok((!entries.is_empty()).then_some(entries))
    }

    fn produce(&self, entries: Vec<Entry>, (): &mut ()) -> Result<Chunk, VerifyError> {
        let mut chunk = Chunk {
            leaves: Vec::with_capacity(entries.len()),
            meaning: Meaning::default(),
            bytes: 0,
            openings: false,
        };
        for (at, entry) in entries.iter().enumerate() {
            let leaf = leaf_hash(&entry.record);
            chunk.leaves.push((LeafIndex(entry.index), leaf));
            chunk.bytes += entry.record.len() as u64;
            let open = !entry.openings.is_empty();
            let wanted = Wanted {
                commitments: open,
                models: self.models,
            };
            chunk
                .meaning
                .read(at as u16, entry.index, &entry.record, leaf, None, wanted);
            if open {
                chunk.openings = true;
                commitments::check_given(&mut chunk.meaning, entry.index, &entry.openings);
            }
        }
        Ok(chunk)
    }

    fn job(&self, job: SignatureJob) {
        self.signatures.check(&job);
    }
}
