//! A whole log, from its entries up to its signed root.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use tlog::{
    EntryBundle, Hash, Policy, PolicyError, TileId, TileLevel, TreeSize, leaf_hashes, tile_root,
};

use crate::attached::Attached;
use crate::chains::Chains;
use crate::followed::{self, Keys};
use crate::meaning::{Meaning, Wanted, locate};
use crate::model::Models;
use crate::pipeline::{self, Work};
use crate::report::{Check, Failure, Report, SealedValues, Subject};
use crate::signatures::{SignatureJob, Signatures};
use crate::source::{MAX_CHECKPOINT_BYTES, MAX_ENTRY_BUNDLE_BYTES, MAX_TILE_BYTES, Source};
use crate::tree::{Leaves, Tree, missing, wrong_length};
use crate::{Options, VerifyError, commitments, files, paths, stamps, trust};

/// Entry bundles that may be missing before the search ends: a checkpoint can be signed for more
/// entries than there ever were, and to look for all of them would take for ever.
const MAX_MISSING: u64 = 10_000;

/// Checks a log against `policy`.
///
/// Memory does not grow with the log's size: see `docs/what-verify-proves.md`.
///
/// # Errors
///
/// [`VerifyError`] if the log cannot be read. What is wrong with it is in the report.
pub fn log(source: &Source, policy: &Policy, options: &Options<'_>) -> Result<Report, VerifyError> {
    let mut report = Report::new(Subject::Log, source.name());
    report.hashes_only = options.hashes_only;
    let mut note = Vec::new();
    if !source.read("checkpoint", MAX_CHECKPOINT_BYTES, &mut note)? {
        return Err(VerifyError::NoCheckpoint {
            source_name: source.name(),
        });
    }
    let keys = Keys::follow(policy, &note, source, &mut report)?;
    let policy = keys.policy();
    let note = convincing(note, source, policy, &mut report)?;
    let Some(signed) = trust::checkpoint(policy, &note, &mut report) else {
        return Ok(report.finish());
    };
    let since = match &options.since {
        Some(note) => trust::since(&keys.of_note(note, source)?, note, &signed, &mut report),
        None => None,
    };
    if options.openings.is_some() && !options.hashes_only {
        report.sealed_values = SealedValues::Checked;
    }

    let size = signed.size;
    let work = LogWork::new(source, 0, size, options);
    let earlier = since.iter().map(|since| since.size);
    let mut tree = Tree::new(source, size, earlier.chain(keys.sizes()));
    let mut chains = Chains::new(options);
    let mut attached = Attached::default();
    let mut models = Models::new(options.model);
    let consume = |mut batch: Batch, jobs: &mut Vec<SignatureJob>| {
        report.counts.entries += batch.entries;
        report.counts.bytes += batch.bytes;
        report.counts.files += batch.files;
        batch
            .failures
            .into_iter()
            .for_each(|failure| report.fail(failure));
        tree.push(&batch.leaves)?;
        tree.failures
            .drain(..)
            .for_each(|failure| report.fail(failure));
        if !options.hashes_only {
            attached.take(std::mem::take(&mut batch.meaning.attachments));
            models.take(std::mem::take(&mut batch.meaning.models));
            chains.admit(batch.meaning, &mut report, jobs);
        }
        Ok(())
    };
    pipeline::run(&work, work.threads(), consume)?;

    tree.finish(signed.hash)?;
    tree.failures
        .drain(..)
        .for_each(|failure| report.fail(failure));
    report.counts.files += tree.files;
    report.conclusions = std::mem::take(&mut tree.conclusions);
    if let Some(since) = since {
        trust::hold_since(&since, tree.root_at(since.size), &mut report);
    }
    keys.hold(size, |size| tree.root_at(size), &mut report);
    if work.missing.into_inner() > MAX_MISSING {
        report.leave_unchecked(format!("what follows {MAX_MISSING} missing entry bundles"));
    }
    work.signatures.finish(&mut report);
    if options.hashes_only {
        if options.document.is_some() {
            report.leave_unchecked("the document: only hashes were asked for");
        }
        if options.model.is_some() {
            report.leave_unchecked("the model: only hashes were asked for");
        }
    } else {
        chains.finish(&mut report);
        attached.check_log(source, options, &models, &mut report)?;
        models.finish(&mut report);
    }
    stamps::check_all(source, &signed, options, &mut report)?;
    all_files(source, policy, size, &mut report)?;
    Ok(report.finish())
}

/// The checkpoint to check the log against: the latest, or, where only witnesses are missing there,
/// the latest that has them.
fn convincing(
    note: Vec<u8>,
    source: &Source,
    policy: &Policy,
    report: &mut Report,
) -> Result<Vec<u8>, VerifyError> {
    if !matches!(policy.check(&note), Err(PolicyError::Quorum { .. })) {
        return Ok(note);
    }
    let mut cosigned = Vec::new();
    let there = source.read("checkpoint.cosigned", MAX_CHECKPOINT_BYTES, &mut cosigned)?;
    if !there || policy.check(&cosigned).is_err() {
        return Ok(note);
    }
    if let Some(latest) = trust::size(policy, &note) {
        report.notes.push(format!(
            "the quorum has not cosigned the latest checkpoint, of {latest} entries; what was checked is the \
             latest that it has (checkpoint.cosigned)"
        ));
    }
    Ok(cosigned)
}

/// Accounts for every file, where files can be listed.
fn all_files(
    source: &Source,
    policy: &Policy,
    size: u64,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let Some(root) = source.root() else {
        report.notes.push(
            "files cannot be listed over HTTP: unexpected ones were not looked for".to_owned(),
        );
        return Ok(());
    };
    let newer = || {
        // The second is there where what is shown waits for witnesses.
        let sizes = ["checkpoint", "checkpoint.published"].map(|name| {
            let mut note = Vec::new();
            match source.read(name, MAX_CHECKPOINT_BYTES, &mut note) {
                Ok(true) => followed::size(policy, &note, source).unwrap_or(0),
                _ => 0,
            }
        });
        sizes.into_iter().max().unwrap_or(0)
    };
    let found = files::check(root, source, size, newer)?;
    report.counts.files += found.stale;
    if found.newer > 0 {
        report.notes.push(format!(
            "{} files of a newer checkpoint were not read: the log grew meanwhile, or that checkpoint \
             waits for witnesses",
            found.newer
        ));
    }
    found
        .failures
        .into_iter()
        .for_each(|failure| report.fail(failure));
    Ok(())
}

/// What one entry bundle came to.
pub(crate) struct Batch {
    /// Index of the bundle's first entry.
    pub(crate) first: u64,
    pub(crate) leaves: Leaves,
    pub(crate) meaning: Meaning,
    pub(crate) failures: Vec<Failure>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

#[derive(Default)]
pub(crate) struct Scratch {
    entries: Vec<u8>,
    tile: Vec<u8>,
}

/// Reading the entries of a log, bundle by bundle.
pub(crate) struct LogWork<'a> {
    source: &'a Source,
    /// The first entry whose meaning is wanted: those before have been read.
    from: u64,
    size: u64,
    options: &'a Options<'a>,
    done: AtomicU64,
    missing: AtomicU64,
    pub(crate) signatures: Signatures,
}

impl<'a> LogWork<'a> {
    pub(crate) fn new(source: &'a Source, from: u64, size: u64, options: &'a Options<'a>) -> Self {
        Self {
            source,
            from,
            size,
            options,
            done: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            signatures: Signatures::default(),
        }
    }

    /// More threads than bundles would have nothing to do.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        let bundles = (self.size - self.from / 256 * 256).div_ceil(256).max(1);
        NonZeroUsize::new(bundles.min(self.options.threads().get() as u64) as usize)
            .unwrap_or(NonZeroUsize::MIN)
    }
}

impl Work for LogWork<'_> {
    type Piece = TileId;
    type Item = Batch;
    type Job = SignatureJob;
    type Scratch = Scratch;

    fn claim(&self, number: u64) -> Result<Option<TileId>, VerifyError> {
        if self.missing.load(Ordering::Relaxed) > MAX_MISSING {
            return Ok(None);
        }
        Ok(TileId::entries(
            self.from / 256 + number,
            TreeSize(self.size),
        ))
    }

    fn produce(&self, bundle: TileId, scratch: &mut Scratch) -> Result<Batch, VerifyError> {
        let mut batch = Batch {
            first: bundle.first_leaf(),
            leaves: Leaves {
                width: bundle.width().into(),
                ..Leaves::default()
            },
            meaning: Meaning::default(),
            failures: Vec::new(),
            entries: 0,
            bytes: 0,
            files: 0,
        };
        let found = paths::read(
            self.source,
            bundle,
            MAX_ENTRY_BUNDLE_BYTES,
            &mut scratch.entries,
        )?;
        if found {
            batch.files += 1;
        } else {
            self.missing.fetch_add(1, Ordering::Relaxed);
            batch.failures.push(missing(&bundle.path()));
            scratch.entries.clear();
        }
        let entries = batch.hash(bundle, &scratch.entries, found);
        batch.compare(self.source, bundle, &mut scratch.tile, &entries)?;
        if !self.options.hashes_only {
            batch.mean(bundle, &entries, self.from, self.options);
        }
        if let Some(progress) = self.options.progress {
            let width = u64::from(bundle.width());
            progress(
                self.done.fetch_add(width, Ordering::Relaxed) + width,
                self.size,
            );
        }
        Ok(batch)
    }

    fn job(&self, job: SignatureJob) {
        self.signatures.check(&job);
    }
}

impl Batch {
    /// Hashes each entry; as many as the bytes yield.
    fn hash<'b>(&mut self, bundle: TileId, bytes: &'b [u8], found: bool) -> Vec<&'b [u8]> {
        let mut entries = Vec::with_capacity(bundle.width().into());
        let items = EntryBundle::new(bytes, bundle.width())
            .into_iter()
            .flatten();
        for entry in items {
            match entry {
                Ok(entry) => {
                    self.bytes += entry.len() as u64;
                    entries.push(entry);
                }
                Err(error) if found => self.failures.push(
                    Failure::new(
                        Check::EntryBundle,
                        format!("{} entries and nothing else", bundle.width()),
                        error.to_string(),
                    )
                    .path(bundle.path()),
                ),
                Err(_) => {}
            }
        }
        leaf_hashes(&entries, &mut self.leaves.computed);
        self.entries = entries.len() as u64;
        if self.leaves.computed.len() == 256 {
            self.leaves.root = Some(tile_root(&self.leaves.computed));
        }
        entries
    }

    /// Holds the leaves against the level-0 tile.
    fn compare(
        &mut self,
        source: &Source,
        bundle: TileId,
        buffer: &mut Vec<u8>,
        entries: &[&[u8]],
    ) -> Result<(), VerifyError> {
        let Some(tile) = TileId::in_tree(
            TileLevel::Hashes(0),
            bundle.index(),
            // The checkpoint's size is what makes the bundle as wide as it is.
            TreeSize(bundle.index() * 256 + u64::from(bundle.width())),
        ) else {
            return Ok(());
        };
        if !paths::read(source, tile, MAX_TILE_BYTES, buffer)? {
            self.failures.push(missing(&tile.path()));
            return Ok(());
        }
        self.files += 1;
        let width = self.leaves.width;
        let (held, rest) = buffer.as_chunks::<32>();
        if held.len() != width || !rest.is_empty() {
            self.failures
                .push(wrong_length(&tile.path(), width, buffer.len()));
            return Ok(());
        }
        let same = self.leaves.computed.len() == width
            && self
                .leaves
                .computed
                .iter()
                .zip(held)
                .all(|(leaf, held)| leaf.as_bytes() == held);
        if !same {
            let held = held.iter().map(|hash| Hash::new(*hash)).collect();
            self.differences(bundle, tile, held, entries);
        }
        Ok(())
    }

    /// Says which records differ from their leaves.
    #[cold]
    fn differences(&mut self, bundle: TileId, tile: TileId, held: Vec<Hash>, entries: &[&[u8]]) {
        // In a bundle that is framed wrongly everything after the fault differs: one is enough.
        let at_most = if self.failures.is_empty() {
            usize::MAX
        } else {
            1
        };
        let differing = self
            .leaves
            .computed
            .iter()
            .zip(&held)
            .enumerate()
            .filter(|(_, (leaf, held))| leaf != held)
            .take(at_most);
        for (at, (leaf, held)) in differing {
            let failure = Failure::new(
                Check::Leaf,
                format!("leaf hash {held}, as {tile} has it"),
                format!("{leaf}, the hash of this entry in {bundle}"),
            );
            let failure = failure
                .at(bundle.first_leaf() + at as u64)
                .path(bundle.path());
            self.failures.push(locate(failure, entries[at]));
        }
        self.leaves.stored = Some(held);
    }

    /// Reads what the entries from `from` on mean.
    fn mean(&mut self, bundle: TileId, entries: &[&[u8]], from: u64, options: &Options<'_>) {
        let first = bundle.first_leaf();
        let wanted = Wanted {
            commitments: options.openings.is_some(),
            models: options.model.is_some(),
        };
        let known = from.saturating_sub(first) as usize;
        for (at, entry) in entries.iter().enumerate().skip(known) {
            self.meaning.read(
                at as u16,
                first + at as u64,
                entry,
                self.leaves.computed[at],
                self.leaves.other(at),
                wanted,
            );
        }
        for at in entries.len()..self.leaves.width {
            self.meaning.lost.extend(self.leaves.best(at));
        }
        if let Some(openings) = options.openings {
            commitments::check(
                &mut self.meaning,
                bundle.index(),
                first,
                &self.leaves,
                openings,
            );
        }
    }
}
