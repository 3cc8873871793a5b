//! Sealed values held against the records whose commitments they open.

use record::Record;
use tlog::TileId;

use super::{Check, Fault};
use crate::LedgerError;
use crate::sealing::file;
use crate::tree::sealed_key;

impl Check<'_> {
    /// The sealed values beside a bundle, of which these are the entries.
    pub(super) fn sealed(&mut self, id: TileId, entries: &[&[u8]]) -> Result<(), LedgerError> {
        let before = self.report.findings.len() + self.unlisted;
        self.values(id, entries)?;
        if self.report.findings.len() + self.unlisted > before {
            self.broken_sealed.insert(id.index());
        }
        Ok(())
    }

    fn values(&mut self, id: TileId, entries: &[&[u8]]) -> Result<(), LedgerError> {
        let mut file = None;
        for id in [id, id.full()] {
            if let Some(bytes) = self.place.objects.get(&sealed_key(id))? {
                file = Some((sealed_key(id), bytes, usize::from(id.width())));
                break;
            }
        }
        let Some((key, bytes, width)) = file else {
            let fields = entries.iter().enumerate().flat_map(|(at, entry)| {
                fields(entry)
                    .into_iter()
                    .map(move |field| (id.first_leaf() + at as u64, field))
            });
            let lost: Vec<_> = fields.collect();
            if let Some((index, field)) = lost.first() {
                let detail = format!(
                    "it is not there, and {} values were sealed in it, the first record {index}'s `{field}`",
                    lost.len()
                );
                self.found(Fault::SealedMissing, sealed_key(id), detail);
            }
            return Ok(());
        };
        let values = match file::split(&bytes, width) {
            Ok(values) => values,
            Err(error) => {
                self.found(Fault::SealedDamaged, key, error);
                return Ok(());
            }
        };
        let mut any = false;
        for (at, (entry, sealed)) in entries.iter().zip(&values).enumerate() {
            any |= **sealed != file::NONE;
            self.entry(&key, id.first_leaf() + at as u64, &fields(entry), sealed)?;
        }
        if !any && width == entries.len() {
            let detail = "none of the records beside it seals anything";
            self.found(Fault::SealedSurplus, key, detail);
        }
        Ok(())
    }

    /// The sealed values of one record that seals `fields`.
    fn entry(
        &mut self,
        key: &str,
        index: u64,
        fields: &[String],
        sealed: &[u8],
    ) -> Result<(), LedgerError> {
        let what = format!("{key}, record {index}");
        let values = match file::read(sealed) {
            Ok(values) => values,
            Err(error) => {
                self.found(Fault::SealedDamaged, what, error);
                return Ok(());
            }
        };
        for field in fields {
            if !values.iter().any(|value| value.field == field) {
                let detail = format!("there is no value for the commitment `{field}`");
                self.found(Fault::SealedMissing, what.clone(), detail);
            }
        }
        for value in &values {
            if !fields.iter().any(|field| field == value.field) {
                let detail = format!("the record has no commitment `{}`", value.field);
                self.found(Fault::SealedSurplus, what.clone(), detail);
                continue;
            }
            self.report.sealed_values += 1;
            if self.keys.contains(&value.key_id) {
                continue;
            }
            if self.place.meta.subject_key_by_id(&value.key_id)?.is_some() {
                self.keys.insert(value.key_id);
            } else {
                let detail = format!(
                    "the key of the value `{}` is not in the database",
                    value.field
                );
                self.found(Fault::SubjectKeyMissing, what.clone(), detail);
            }
        }
        Ok(())
    }
}

/// What a record seals. One that cannot be read is `verify`'s to speak of.
fn fields(entry: &[u8]) -> Vec<String> {
    Record::parse_envelope(entry)
        .map(|record| record.sealed().map(|(field, _)| field.to_owned()).collect())
        .unwrap_or_default()
}
