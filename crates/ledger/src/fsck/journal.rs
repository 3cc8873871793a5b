//! The journal: what it has in common with the published log, and what it has beyond it.

use store::StoreError;
use tlog::{EntryBundle, LeafIndex, TileId, TileLevel, leaf_hash};

use super::levels::Levels;
use super::survey::Survey;
use super::{BUNDLE, Check, Fault};
use crate::LedgerError;
use crate::sealing::file;
use crate::tree::{self, entries_id, locate};

/// The log as the next start will publish it: the last, partial bundle and what the journal holds beyond.
#[derive(Debug, Default)]
pub(super) struct Future {
    /// How many records it has.
    pub(super) size: u64,
    /// The index of the first of `entries`, where a bundle starts.
    first: u64,
    /// Record and sealed values of each.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    levels: Option<Levels>,
}

impl Future {
    /// The bytes that an object beyond the checkpoint has to have; `None` where there may be none.
    pub(super) fn object(&self, id: TileId, sealed: bool) -> Option<Vec<u8>> {
        if let TileLevel::Hashes(level) = id.level()
            && level > 0
        {
            return self.levels.as_ref()?.tile(id);
        }
        let first = usize::try_from((id.index() * BUNDLE).checked_sub(self.first)?).ok()?;
        let entries = self.entries.get(first..first + usize::from(id.width()))?;
        if sealed {
            if entries.iter().all(|(_, sealed)| *sealed == file::NONE) {
                return None;
            }
            return Some(
                entries
                    .iter()
                    .flat_map(|(_, sealed)| sealed.clone())
                    .collect(),
            );
        }
        if id.level() == TileLevel::Hashes(0) {
            let hashes = entries.iter().map(|(record, _)| leaf_hash(record));
            return Some(hashes.flat_map(|hash| *hash.as_bytes()).collect());
        }
        let entries: Vec<&[u8]> = entries.iter().map(|(record, _)| &**record).collect();
        tlog::tile::encode_entry_bundle(&entries).ok()
    }

    /// The records from `from` on.
    pub(super) fn records(&self, from: u64) -> impl Iterator<Item = &[u8]> {
        let skip = from.saturating_sub(self.first) as usize;
        self.entries.iter().skip(skip).map(|(record, _)| &**record)
    }
}

/// One entry bundle and the sealed values beside it, as published.
struct Published {
    bundle: u64,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Check<'_> {
    pub(super) fn journal(&mut self, survey: &Survey) -> Result<Future, LedgerError> {
        let size = survey.size;
        let mut future = Future {
            size,
            first: size / BUNDLE * BUNDLE,
            ..Future::default()
        };
        let mut known: Option<Published> = None;
        let mut beyond = Vec::new();
        let mut differing = Vec::new();
        let mut failed = None;
        let shown = (self.place.journal)(&mut |group| {
            for (index, frame) in (group.first_index..).zip(group.entries()) {
                let sealed = match frame.sealed {
                    [] => file::NONE.to_vec(),
                    sealed => sealed.to_vec(),
                };
                if index >= size {
                    beyond.push((frame.record.to_vec(), sealed));
                    continue;
                }
                let (bundle, at) = locate(LeafIndex(index));
                if !survey.is_sound(bundle) || failed.is_some() {
                    continue;
                }
                if known.as_ref().is_none_or(|known| known.bundle != bundle) {
                    match self.published(bundle, size) {
                        Ok(read) => known = Some(read),
                        Err(error) => failed = Some(error),
                    }
                }
                let published = known.as_ref().and_then(|known| known.entries.get(at));
                if let Some((record, values)) = published {
                    if *record != frame.record {
                        differing.push((index, "another record"));
                    } else if *values != sealed && !self.broken_sealed.contains(&bundle) {
                        differing.push((index, "other sealed values of the same record"));
                    }
                }
            }
            Ok(())
        });
        failed.map_or(Ok(()), Err)?;
        for (index, what) in differing {
            let detail = format!("the journal has {what} than was published");
            self.found(Fault::JournalDisagrees, format!("record {index}"), detail);
        }
        match shown {
            Ok(journal) => {
                let first = journal.first_index.unwrap_or(size);
                if first > size {
                    let detail = format!(
                        "the published log ends at {size} and the journal starts at {first}: acknowledged records are lost"
                    );
                    self.found(Fault::JournalDamaged, "journal", detail);
                    beyond.clear();
                }
                if journal.torn_bytes > 0 {
                    self.note(format!(
                        "{} bytes of a group that was never acknowledged are at the journal's end; the next start \
                         cuts them off",
                        journal.torn_bytes
                    ));
                }
            }
            Err(error @ StoreError::CorruptJournal { .. }) => {
                self.found(Fault::JournalDamaged, "journal", error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        self.report.unpublished = beyond.len() as u64;
        future.size += beyond.len() as u64;
        let last = size / BUNDLE;
        if size.is_multiple_of(BUNDLE) || survey.is_sound(last) {
            if !size.is_multiple_of(BUNDLE) {
                future.entries = self.published(last, size)?.entries;
            }
            future.levels = survey
                .levels
                .as_ref()
                .map(|levels| levels.extended(beyond.iter().map(|(record, _)| leaf_hash(record))));
            future.entries.extend(beyond);
        }
        Ok(future)
    }

    /// Entries and sealed values of a sound bundle.
    fn published(&self, bundle: u64, size: u64) -> Result<Published, LedgerError> {
        let objects = &*self.place.objects;
        let wanted = entries_id(bundle, size)?.width();
        let (bytes, width) = tree::read_entries(objects, bundle, size)?;
        let entries = EntryBundle::parse(&bytes, width)
            .map_err(|e| LedgerError::corrupt(format!("entry bundle {bundle}"), e))?;
        let sealed = tree::read_sealed(objects, bundle, size)?;
        let sealed: Vec<&[u8]> = sealed
            .as_ref()
            .and_then(|(bytes, width)| file::split(bytes, usize::from(*width)).ok())
            .unwrap_or_default();
        let entries = entries
            .iter()
            .take(usize::from(wanted))
            .enumerate()
            .map(|(at, entry)| {
                let sealed = sealed.get(at).copied().unwrap_or(&file::NONE);
                (entry.to_vec(), sealed.to_vec())
            })
            .collect();
        Ok(Published { bundle, entries })
    }
}
