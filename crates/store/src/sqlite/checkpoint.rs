//! The latest checkpoint and the settings.

use rusqlite::{OptionalExtension, Transaction, params};
use tlog::Hash;

use super::{Fault, SqliteMeta, fixed, loaded, stored};
use crate::error::{Result, StoreError};
use crate::meta::{CheckpointStore, SettingStore, StoredCheckpoint};

impl CheckpointStore for SqliteMeta {
    fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>> {
        self.read("read the latest checkpoint", latest)
    }

    fn swap_checkpoint(&self, expected: Option<(u64, Hash)>, new: &StoredCheckpoint) -> Result<()> {
        self.write("write the latest checkpoint", |transaction| {
            let found = latest(transaction)?;
            if found.as_ref().map(|found| (found.size, found.root)) != expected {
                return Err(StoreError::CheckpointMoved { found: found.map(Box::new) }.into());
            }
            if let Some((size, root)) = expected
                && (new.size < size || (new.size == size && new.root != root))
            {
                return Err(StoreError::CheckpointBackwards { latest: size, new: new.size }.into());
            }
            transaction
                .prepare_cached("INSERT OR REPLACE INTO checkpoint (id, size, root, note) VALUES (0, ?1, ?2, ?3)")?
                .execute(params![stored(new.size)?, new.root.as_bytes(), new.note])?;
            Ok(())
        })
    }
}

fn latest(transaction: &Transaction<'_>) -> Result<Option<StoredCheckpoint>, Fault> {
    let row = transaction
        .prepare_cached("SELECT size, root, note FROM checkpoint")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    row.map(|(size, root, note)| {
        Ok(StoredCheckpoint {
            size: loaded(size)?,
            root: Hash::from(fixed::<32>(root)?),
            note,
        })
    })
    .transpose()
}

impl SettingStore for SqliteMeta {
    fn kv_get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.read("read a setting", |transaction| {
            Ok(transaction
                .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
                .query_row([name], |row| row.get(0))
                .optional()?)
        })
    }

    fn kv_names(&self) -> Result<Vec<String>> {
        self.read("list settings", |transaction| {
            let mut query =
                transaction.prepare_cached("SELECT name FROM settings ORDER BY name")?;
            let names = query.query_map([], |row| row.get(0))?;
            Ok(names.collect::<rusqlite::Result<_>>()?)
        })
    }

    fn kv_put(&self, name: &str, value: &[u8]) -> Result<()> {
        self.write("write a setting", |transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)")?
                .execute(params![name, value])?;
            Ok(())
        })
    }
}
