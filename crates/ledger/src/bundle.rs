//! Writing a run into one file with which it is verified offline. The frame is `verify::bundle`'s.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use record::kinds::ProducerEnrolled;
use record::{
    CommitmentKey, Filter, Kind, PublicKey, Record, RunId, Scope, Sha256, to_bundle_openings,
};
use verify::bundle::{Header, Writer};
use verify::{SealedField, SealedState};

use crate::LedgerError;
use crate::attachments::NAMES_ATTACHMENTS;
use crate::ledger::Ledger;
use crate::opener::Opener;
use crate::read::Published;

/// Takes a record and its index.
type ShowRecord<'a, E> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), E>;

const BUNDLE: u64 = 256;
const INDEX_PAGE: usize = 1_024;

/// What a bundle is to hold besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleParts {
    /// The keys and values of what is sealed, in the clear.
    pub openings: bool,
    /// The attachments that its records name, as far as they are there.
    pub attachments: bool,
}

impl Default for BundleParts {
    /// Everything but sealed values.
    fn default() -> Self {
        Self {
            openings: false,
            attachments: true,
        }
    }
}

/// What a bundle came to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleInfo {
    /// Records of the run, and of the ledger where they concern it.
    pub records: u64,
    /// Attachments that they name.
    pub attachments: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The size of the log whose checkpoint is in it.
    pub size: u64,
}

impl Ledger {
    /// Writes the bundle of a run: every published record of it, and the records of the scope
    /// `ledger` that name it or enrol its producers' keys. With openings, sealed values are in it
    /// in the clear, but those that were erased. An attachment that is not there is left out.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] if nothing of the run is published; a file cannot be read; `out`
    /// cannot be written.
    pub fn bundle(
        &self,
        run: RunId,
        parts: BundleParts,
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
        let (indices, run_end) = self.indices_of(run, size.0)?.ok_or_else(missing)?;
        // Witnesses' signatures convince more people than the records that came after them.
        let end = indices.last().map_or(0, |last| last + 1);
        let published = shared.reader.best_for(end, published).ok_or_else(missing)?;
        let size = published.checkpoint.size;
        let timestamp = self.timestamp_for(run_end, size)?;
        let attachments = if parts.attachments {
            self.attachments_of(&indices, size.0)?
        } else {
            BTreeMap::new()
        };
        let header = Header {
            run: run.to_string(),
            checkpoint: published.note.to_vec(),
            timestamps: timestamp.into_iter().collect(),
            attachments: attachments.len() as u32,
            proof: shared.reader.multiproof(size, &indices)?,
            entries: indices.len() as u64,
        };

        let mut counted = Counted { out, bytes: 0 };
        let io = |source| LedgerError::Io {
            path: "the bundle".into(),
            source,
        };
        let mut writer = Writer::begin(&mut counted, &header).map_err(io)?;
        let opener = parts.openings.then(|| self.opener());
        self.entries::<LedgerError>(&indices, size.0, &mut |index, record| {
            let openings = match &opener {
                Some(opener) => opened(opener, index, record)?,
                None => Vec::new(),
            };
            writer.entry(index, record, &openings).map_err(io)
        })?;
        for (sha256, bytes) in &attachments {
            let mut object = self.attachment(sha256)?.ok_or_else(|| {
                LedgerError::corrupt(format!("attachment {sha256}"), "it was there a moment ago")
            })?;
            writer
                .attachment(sha256.0, *bytes, &mut object.reader)
                .map_err(io)?;
        }
        writer.finish().map_err(io)?;
        Ok(BundleInfo {
            records: indices.len() as u64,
            attachments: attachments.len() as u64,
            bytes: counted.bytes,
            size: size.0,
        })
    }

    /// Shows what a run's bundle holds of the log as it was published: every record of the run, and those of the scope
    /// `ledger` that name it or enrol its producers' keys, by ascending index.
    ///
    /// # Errors
    /// The index or a file cannot be read; those of `show` end it.
    pub fn run_records<E: From<LedgerError>>(
        &self,
        run: RunId,
        published: &Published,
        show: ShowRecord<'_, E>,
    ) -> Result<(), E> {
        let size = published.checkpoint.size.0;
        match self.indices_of(run, size)? {
            Some((indices, _)) => self.entries(&indices, size, show),
            None => Ok(()),
        }
    }

    /// The indices of all that a run's bundle holds in a log of `size` records, ascending, and the end of the run's own;
    /// nothing where it has none.
    fn indices_of(&self, run: RunId, size: u64) -> Result<Option<(Vec<u64>, u64)>, LedgerError> {
        let mut indices = Vec::new();
        self.spans(Scope::Run(run), size, |first, count| {
            indices.extend(first..first + count);
        })?;
        let Some(last) = indices.iter().max().copied() else {
            return Ok(None);
        };
        indices.extend(self.concerning(run, size)?);
        indices.sort_unstable();
        Ok(Some((indices, last + 1)))
    }

    /// Shows the records of these indices, which ascend.
    fn entries<E: From<LedgerError>>(
        &self,
        indices: &[u64],
        size: u64,
        show: ShowRecord<'_, E>,
    ) -> Result<(), E> {
        for chunk in indices.chunk_by(|a, b| a / BUNDLE == b / BUNDLE) {
            let bundle = chunk.first().map_or(0, |first| first / BUNDLE);
            let mut shown = Ok(());
            self.shared().reader.bundle(bundle, size, |at, bytes| {
                let index = bundle * BUNDLE + at as u64;
                if shown.is_ok() && chunk.binary_search(&index).is_ok() {
                    shown = show(index, bytes);
                }
            })?;
            shown?;
        }
        Ok(())
    }

    /// The attachments that records name and that are there, with their sizes. They are announced before the first
    /// record, so the records are read twice.
    fn attachments_of(
        &self,
        indices: &[u64],
        size: u64,
    ) -> Result<BTreeMap<Sha256, u64>, LedgerError> {
        let mut named = BTreeMap::new();
        self.entries::<LedgerError>(indices, size, &mut |_, bytes| {
            if bytes.starts_with(NAMES_ATTACHMENTS) {
                let record = Record::parse_envelope(bytes)?;
                named.extend(
                    record
                        .attachments()
                        .map(|(_, bytes, sha256)| (sha256, bytes)),
                );
            }
            Ok(())
        })?;
        let mut there = BTreeMap::new();
        for (sha256, bytes) in named {
            match self.attachment(&sha256)? {
                Some(object) if object.bytes == bytes => {
                    there.insert(sha256, bytes);
                }
                _ => {
                    tracing::warn!(%sha256, "an attachment is not there; the bundle is without it");
                }
            }
        }
        Ok(there)
    }

    /// Indices of published records of the scope `ledger` that concern a run. Only those bundles are read that have a
    /// record of a kind that may: the server signs its own stream every second, and of that there is no end.
    fn concerning(&self, run: RunId, size: u64) -> Result<Vec<u64>, LedgerError> {
        let shared = self.shared();
        let keys: HashSet<PublicKey> = self.streams(run)?.iter().map(|head| head.key).collect();
        let may_concern = |kind: &&Kind| kind.names_run() || **kind == Kind::ProducerEnrolled;
        let kinds = Kind::ALL.iter().filter(may_concern);
        let kinds: Vec<&str> = kinds.map(|kind| kind.name()).collect();
        let mut bundles = Vec::new();
        loop {
            let from = bundles.last().map_or(0, |last| last + 1);
            let scope = Some(Scope::Ledger.as_str());
            let page = shared
                .meta
                .bundles_with_kinds(scope, &kinds, from, INDEX_PAGE)?;
            if page.is_empty() {
                break;
            }
            bundles.extend(page);
        }
        let filter = Filter::new(Some(Scope::Ledger), None);
        let mut found = Vec::new();
        for bundle in bundles.into_iter().filter(|bundle| bundle * BUNDLE < size) {
            let mut failed = None;
            shared.reader.bundle(bundle, size, |at, bytes| {
                match concerns(&filter, bytes, run, &keys) {
                    Ok(true) => found.push(bundle * BUNDLE + at as u64),
                    Ok(false) => {}
                    Err(error) => failed = Some(error),
                }
            })?;
            failed.map_or(Ok(()), Err)?;
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

/// Whether it is a record of the scope `ledger` that concerns a run.
fn concerns(
    filter: &Filter,
    bytes: &[u8],
    run: RunId,
    keys: &HashSet<PublicKey>,
) -> Result<bool, LedgerError> {
    let Some(record) = filter.pick(bytes)? else {
        return Ok(false);
    };
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
