//! A log checked as it grows: each entry is read once, and what is known of streams and runs is kept
//! from one look to the next.
//!
//! The entries are held against the signed root of each new size through the right edge of the tree that
//! they build, so that a log that was not merely added to gives another root. Hash tiles above level 0
//! are not read; who wants them checked verifies the whole log ([`crate::log`]).

use serde::{Deserialize, Serialize};
use tlog::{Checkpoint, Frontier, Hash, TreeSize};

use crate::chains::{self, Chains};
use crate::log::{Batch, LogWork};
use crate::pipeline;
use crate::report::{Check, Counts, Failure, Report, Subject};
use crate::signatures::SignatureJob;
use crate::{Options, Source, VerifyError};

/// Of what is saved: another version reads the log again.
const FORMAT: &str = concat!("follower/1 ", env!("CARGO_PKG_VERSION"));

#[derive(Serialize, Deserialize)]
struct Saved {
    format: String,
    size: u64,
    peaks: Vec<String>,
    chains: chains::Saved,
    counts: Counts,
}

/// Everything known of a log up to some entry.
pub struct Follower<'a> {
    options: &'a Options<'a>,
    chains: Chains<'a>,
    tree: Frontier,
    /// What all looks came to. Failures are handed out at each.
    report: Report,
    /// The entries did not give a signed root: what follows from them is worth nothing.
    spoiled: bool,
}

/// What a look at a log's new entries came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// What is wrong, as far as it is kept by name.
    pub failures: Vec<Failure>,
    /// How many things are.
    pub failures_total: u64,
    /// The entries are not those of the signed root; the next look begins at the first entry again.
    pub spoiled: bool,
}

impl<'a> Follower<'a> {
    /// Knows nothing yet.
    pub fn new(options: &'a Options<'a>) -> Self {
        Self {
            options,
            chains: Chains::new(options),
            tree: Frontier::new(),
            report: Report::new(Subject::Log, ""),
            spoiled: false,
        }
    }

    /// Everything known, for [`Follower::restore`]. `None` where something was wrong: a follower begins
    /// anew then.
    pub fn save(&self) -> Option<Vec<u8>> {
        if self.spoiled || self.report.failures_total > 0 {
            return None;
        }
        let saved = Saved {
            format: FORMAT.to_owned(),
            size: self.size(),
            peaks: self.tree.peaks().iter().map(Hash::to_string).collect(),
            chains: self.chains.save()?,
            counts: self.report.counts.clone(),
        };
        let json = serde_json::to_vec(&saved).ok()?;
        let digest = Hash::from(tlog::sha256(&json)).to_string();
        Some([digest.as_bytes(), b"\n", &json].concat())
    }

    /// A follower as [`Follower::save`] left it; `None` if the bytes are not whole, or another version's.
    /// They are believed: whoever can write them decides what was known.
    pub fn restore(options: &'a Options<'a>, bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (digest, json) = (&bytes[..end], &bytes[end + 1..]);
        let digest: Hash = std::str::from_utf8(digest).ok()?.parse().ok()?;
        if Hash::from(tlog::sha256(json)) != digest {
            return None;
        }
        let saved: Saved = serde_json::from_slice(json).ok()?;
        if saved.format != FORMAT {
            return None;
        }
        let peaks = saved.peaks.iter().map(|peak| peak.parse().ok());
        let peaks = peaks.collect::<Option<Vec<Hash>>>()?;
        let mut follower = Self::new(options);
        follower.tree = Frontier::from_peaks(TreeSize(saved.size), peaks).ok()?;
        follower.chains = Chains::restore(options, &saved.chains)?;
        follower.report.counts = saved.counts;
        Some(follower)
    }

    /// How many entries have been read.
    pub fn size(&self) -> u64 {
        self.tree.size().get()
    }

    /// How many things were wrong so far.
    pub fn failures_total(&self) -> u64 {
        self.report.failures_total
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.report.counts
    }

    /// Reads the entries up to `checkpoint`, which the caller has found to be signed as it must be.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] if an entry bundle cannot be had. What was read until then is kept, and the next
    /// look goes on there.
    pub fn advance(
        &mut self,
        source: &Source,
        checkpoint: &Checkpoint,
    ) -> Result<Advance, VerifyError> {
        if self.spoiled {
            *self = Self::new(self.options);
        }
        let (from, size) = (self.size(), checkpoint.size.get());
        let before = self.report.failures_total;
        if size < from {
            return Err(VerifyError::Usage(format!(
                "{from} entries were read already, more than the checkpoint's {size}"
            )));
        }
        let Self {
            options,
            chains,
            tree,
            report,
            spoiled,
        } = self;
        let work = LogWork::new(source, from, size, options);
        let mut signatures = Vec::new();
        // Signatures are checked as they come: jobs handed back would be lost where a look breaks off.
        let consume = |batch: Batch, _: &mut Vec<SignatureJob>| {
            // What is not there may come: whether it is right is unknown.
            if let Some(missing) = batch
                .failures
                .iter()
                .find(|f| f.check == Check::MissingFile)
            {
                return Err(VerifyError::Unavailable {
                    what: missing.path.clone().unwrap_or_default(),
                    why: "there is no such file".into(),
                });
            }
            let leaves = batch.leaves;
            *spoiled |= leaves.computed.len() < leaves.width || leaves.stored.is_some();
            let known = from.saturating_sub(batch.first) as usize;
            report.counts.entries += batch.entries.saturating_sub(known as u64);
            report.counts.bytes += batch.bytes;
            report.counts.files += batch.files;
            batch
                .failures
                .into_iter()
                .for_each(|failure| report.fail(failure));
            for leaf in leaves.computed.iter().skip(known) {
                tree.push(*leaf)
                    .map_err(|e| VerifyError::Usage(e.to_string()))?;
            }
            if !*spoiled {
                chains.admit(batch.meaning, report, &mut signatures);
                for job in signatures.drain(..) {
                    work.signatures.check(&job);
                }
            }
            Ok(())
        };
        // A log that did not grow has its last bundle looked at all the same: it may have been changed.
        let outcome = if size == 0 {
            Ok(())
        } else {
            pipeline::run(&work, work.threads(), consume)
        };
        let checked = report.counts.signatures;
        work.signatures.finish(report);
        report.counts.signatures += checked;
        if outcome.is_ok() && tree.root() != checkpoint.root {
            *spoiled = true;
            report.fail(Failure::new(
                Check::Root,
                format!("{}, the signed root of {size} entries", checkpoint.root),
                format!("{}, what the entries hash to", tree.root()),
            ));
        }
        let advance = Advance {
            failures: std::mem::take(&mut report.failures),
            failures_total: report.failures_total - before,
            spoiled: *spoiled,
        };
        match outcome {
            // What was found must not be lost to what could not be read.
            Err(error) if advance.failures_total == 0 => Err(error),
            _ => Ok(advance),
        }
    }
}
