//! Whether sealed values still open what their records are committed to. A value is seen here and told to nobody.

use record::{CommitmentKey, Record, open};
use tlog::TileId;
use verify::SealedState;

use crate::sealing::file::{self, Sealed};
use crate::{Ledger, LedgerError, opener};

/// A commitment that cannot be opened, though its subject was not erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unopened {
    /// The record's index.
    pub index: u64,
    /// The field that is sealed.
    pub field: String,
    /// In words, without the value.
    pub why: String,
}

impl Ledger {
    /// Opens the values that are sealed beside the bundle `id`, of which these are the entries, and says which do not
    /// open. `None`: the entries seal something, and the file with the values is not there.
    ///
    /// # Errors
    /// The stores cannot be read.
    pub fn unopened(
        &self,
        id: TileId,
        entries: &[&[u8]],
    ) -> Result<Option<Vec<Unopened>>, LedgerError> {
        let records: Vec<Option<Record<'_>>> = entries
            .iter()
            .map(|entry| Record::parse_envelope(entry).ok())
            .collect();
        let seals = |record: &Option<Record<'_>>| {
            record.as_ref().is_some_and(|r| r.sealed().next().is_some())
        };
        if !records.iter().any(seals) {
            return Ok(Some(Vec::new()));
        }
        let shared = self.shared();
        let Some((bytes, width)) = opener::read(&*shared.reader.objects, id)? else {
            return Ok(None);
        };
        let first = id.first_leaf();
        let unopened = |at: usize, field: &str, why: &str| Unopened {
            index: first + at as u64,
            field: field.to_owned(),
            why: why.to_owned(),
        };
        let values = match file::split(&bytes, width) {
            Ok(values) => values,
            // Whose it is cannot be said.
            Err(why) => return Ok(Some(vec![unopened(0, "", &why)])),
        };
        let mut found = Vec::new();
        for (at, (record, entry)) in records.iter().zip(entries).enumerate() {
            let Some(record) = record else {
                continue;
            };
            let values = match file::read(values.get(at).copied().unwrap_or(&file::NONE)) {
                Ok(values) => values,
                Err(why) => {
                    found.push(unopened(at, "", &why));
                    continue;
                }
            };
            let leaf = tlog::leaf_hash(entry);
            for (field, commitment) in record.sealed() {
                let value = values.iter().find(|value| value.field == field);
                let Some(value) = value else {
                    found.push(unopened(at, field, "there is no value"));
                    continue;
                };
                let why = match self.opened(&leaf, value)? {
                    Ok(SealedState::Erased) => None,
                    Ok(SealedState::Broken(why)) | Err(why) => Some(why),
                    Ok(SealedState::Opened { key, value }) => {
                        let good = open(&commitment, &CommitmentKey(key), field, &value);
                        (!good).then(|| "another value was sealed".to_owned())
                    }
                };
                found.extend(why.map(|why| unopened(at, field, &why)));
            }
        }
        Ok(Some(found))
    }

    /// What a value is; inside, why its key is none.
    fn opened(
        &self,
        leaf: &tlog::Hash,
        value: &Sealed<'_>,
    ) -> Result<Result<SealedState, String>, LedgerError> {
        let shared = self.shared();
        match shared.sealing.open_value(leaf, value) {
            Ok(state) => Ok(Ok(state)),
            Err(why) => {
                // A database that does not answer is no damage.
                shared.meta.subject_key_by_id(&value.key_id)?;
                Ok(Err(why))
            }
        }
    }
}
