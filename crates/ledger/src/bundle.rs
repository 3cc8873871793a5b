//! Writing a run into one file with which it is verified offline. The frame is `verify::bundle`'s.

use std::collections::HashSet;
use std::io::Write;

use record::kinds::ProducerEnrolled;
use record::{CommitmentKey, Kind, PublicKey, Record, RunId, Scope, to_bundle_openings};
use verify::{SealedField, SealedState};

use crate::LedgerError;
use crate::ledger::Ledger;
use crate::opener::Opener;

const BUNDLE: u64 = 256;
const INDEX_PAGE: usize = 1_024;

/// What a bundle came to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleInfo {
    /// Records of the run, and of the ledger where they concern it.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The size of the log whose checkpoint is in it.
    pub size: u64,
}

impl Ledger {
    /// Writes the bundle of a run: every published record of it, and the records of the scope
    /// `ledger` that name it or enrol its producers' keys. With `openings`, sealed values are in it
    /// in the clear, but those that were erased.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] if nothing of the run is published; a file cannot be read; `out`
    /// cannot be written.
    pub fn bundle(
        &self,
        run: RunId,
        openings: bool,
        out: &mut dyn Write,
    ) -> Result<BundleInfo, LedgerError> {
        let shared = self.shared();
        let published = shared.reader.shown().filter(|p| p.checkpoint.size.0 > 0);
        let missing = || LedgerError::NotFound {
            what: "published run",
            seen: run.to_string(),
        };
        let published = published.ok_or_else(missing)?;
        let size = published.checkpoint.size;
        let mut indices = Vec::new();
        self.spans(Scope::Run(run), size.0, |first, count| {
            indices.extend(first..first + count);
        })?;
        if indices.is_empty() {
            return Err(missing());
        }
        let run_end = indices.iter().max().map_or(0, |last| last + 1);
        indices.extend(self.concerning(run, size.0)?);
        indices.sort_unstable();
        // Witnesses' signatures convince more people than the records that came after them.
        let end = indices.last().map_or(0, |last| last + 1);
        let published = shared.reader.best_for(end, published).ok_or_else(missing)?;
        let size = published.checkpoint.size;
        let timestamp = self.timestamp_for(run_end, size)?;
        let proof = shared.reader.multiproof(size, &indices)?;

        let mut counted = Counted { out, bytes: 0 };
        let io = |source| LedgerError::Io {
            path: "the bundle".into(),
            source,
        };
        let mut writer = verify::bundle::Writer::with_timestamps(
            &mut counted,
            run.as_str(),
            &published.note,
            timestamp.as_slice(),
            &proof,
            indices.len() as u64,
        )
        .map_err(io)?;
        let opener = openings.then(|| self.opener());
        for chunk in indices.chunk_by(|a, b| a / BUNDLE == b / BUNDLE) {
            let bundle = chunk.first().map_or(0, |first| first / BUNDLE);
            let mut records = Vec::with_capacity(chunk.len());
            shared.reader.bundle(bundle, size.0, |at, bytes| {
                if chunk.binary_search(&(bundle * BUNDLE + at as u64)).is_ok() {
                    records.push(bytes.to_vec());
                }
            })?;
            for (index, record) in chunk.iter().zip(&records) {
                let openings = match &opener {
                    Some(opener) => opened(opener, *index, record)?,
                    None => Vec::new(),
                };
                writer.entry(*index, record, &openings).map_err(io)?;
            }
        }
        writer.finish().map_err(io)?;
        Ok(BundleInfo {
            records: indices.len() as u64,
            bytes: counted.bytes,
            size: size.0,
        })
    }

    /// Indices of published records of the scope `ledger` that concern a run.
    fn concerning(&self, run: RunId, size: u64) -> Result<Vec<u64>, LedgerError> {
        let shared = self.shared();
        let keys: HashSet<PublicKey> = self.streams(run)?.iter().map(|head| head.key).collect();
        let mut spans = Vec::new();
        self.spans(Scope::Ledger, size, |first, count| {
            spans.push(first..first + count);
        })?;
        let mut found = Vec::new();
        let mut done = 0;
        for span in spans {
            for bundle in (span.start / BUNDLE).max(done)..=(span.end - 1) / BUNDLE {
                done = bundle + 1;
                let mut failed = None;
                shared.reader.bundle(bundle, size, |at, bytes| {
                    match concerns(bytes, run, &keys) {
                        Ok(true) => found.push(bundle * BUNDLE + at as u64),
                        Ok(false) => {}
                        Err(error) => failed = Some(error),
                    }
                })?;
                failed.map_or(Ok(()), Err)?;
            }
        }
        Ok(found)
    }

    /// Shows where the published records of a scope are.
    fn spans(
        &self,
        scope: Scope,
        size: u64,
        mut visit: impl FnMut(u64, u64),
    ) -> Result<(), LedgerError> {
        let mut from = 0;
        loop {
            let page = self.shared().meta.spans(scope.as_str(), from, INDEX_PAGE)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            from = last.first_index + last.count;
            for span in page {
                let end = (span.first_index + span.count).min(size);
                if span.first_index < end {
                    visit(span.first_index, end - span.first_index);
                }
            }
        }
    }
}

fn concerns(bytes: &[u8], run: RunId, keys: &HashSet<PublicKey>) -> Result<bool, LedgerError> {
    let record = Record::parse_envelope(bytes)?;
    if record.scope() != Scope::Ledger {
        return Ok(false);
    }
    if record.is(Kind::ProducerEnrolled) {
        return Ok(keys.contains(&record.decode::<ProducerEnrolled>()?.key));
    }
    Ok(record.named_run() == Some(run))
}

fn opened(opener: &Opener, index: u64, record: &[u8]) -> Result<Vec<u8>, LedgerError> {
    let mut open = Vec::new();
    for SealedField { field, state } in opener.one(index, record)? {
        match state {
            SealedState::Opened { key, value } => open.push((field, CommitmentKey(key), value)),
            SealedState::Erased => {}
            SealedState::Broken(reason) => {
                return Err(LedgerError::Sealed {
                    index,
                    reason: format!("{field}: {reason}"),
                });
            }
        }
    }
    if open.is_empty() {
        return Ok(Vec::new());
    }
    Ok(to_bundle_openings(
        open.iter()
            .map(|(field, key, value)| (&**field, key, &**value)),
    ))
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
