//! Subject keys.

use rusqlite::{OptionalExtension, Row, params};

use super::{Fault, SqliteMeta, at_most, fixed};
use crate::error::{Result, StoreError};
use crate::meta::{SubjectKey, SubjectKeyRow, SubjectKeyStore};

const COLUMNS: &str = "SELECT scope, subject, id, wrapped FROM subject_keys";

type Columns = (String, String, Vec<u8>, Option<Vec<u8>>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn subject_key((scope, subject, id, wrapped): Columns) -> Result<SubjectKeyRow, Fault> {
    Ok(SubjectKeyRow {
        scope,
        subject,
        key: SubjectKey {
            id: fixed(id)?,
            wrapped,
        },
    })
}

impl SubjectKeyStore for SqliteMeta {
    fn subject_key(&self, scope: &str, subject: &str) -> Result<Option<SubjectKey>> {
        self.read("read a subject's key", |transaction| {
            let row = transaction
                .prepare_cached(&format!("{COLUMNS} WHERE scope = ?1 AND subject = ?2"))?
                .query_row([scope, subject], columns)
                .optional()?;
            row.map(|row| subject_key(row).map(|row| row.key))
                .transpose()
        })
    }

    fn subject_key_by_id(&self, id: &[u8; 16]) -> Result<Option<SubjectKeyRow>> {
        self.read("read a subject's key", |transaction| {
            let row = transaction
                .prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?
                .query_row([id], columns)
                .optional()?;
            row.map(subject_key).transpose()
        })
    }

    fn list_subject_keys(
        &self,
        after: Option<&[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SubjectKeyRow>> {
        self.read("list subjects' keys", |transaction| {
            let after = after.map(<[u8; 16]>::as_slice).unwrap_or_default();
            let mut query = transaction
                .prepare_cached(&format!("{COLUMNS} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
            let rows = query.query_map(params![after, at_most(limit)], columns)?;
            rows.map(|row| subject_key(row?)).collect()
        })
    }

    fn insert_subject_keys(&self, rows: &[SubjectKeyRow]) -> Result<()> {
        self.write("write subjects' keys", |transaction| {
            let mut taken = transaction.prepare_cached(&format!(
                "{COLUMNS} WHERE id = ?1 OR (scope = ?2 AND subject = ?3)"
            ))?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO subject_keys (scope, subject, id, wrapped) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for row in rows {
                let found = taken
                    .query_row(params![row.key.id, row.scope, row.subject], columns)
                    .optional()?;
                match found.map(subject_key).transpose()? {
                    None => {
                        insert.execute(params![
                            row.scope,
                            row.subject,
                            row.key.id,
                            row.key.wrapped
                        ])?;
                    }
                    Some(found) if found == *row => {}
                    Some(_) => {
                        let what = format!("the key of `{}` in `{}`", row.subject, row.scope);
                        return Err(StoreError::Conflict { what }.into());
                    }
                }
            }
            Ok(())
        })
    }

    fn rewrap_subject_keys(&self, keys: &[SubjectKey]) -> Result<()> {
        self.write("rewrap subjects' keys", |transaction| {
            let mut update = transaction.prepare_cached(
                "UPDATE subject_keys SET wrapped = ?2 WHERE id = ?1 AND wrapped IS NOT NULL",
            )?;
            for key in keys {
                update.execute(params![key.id, key.wrapped])?;
            }
            Ok(())
        })?;
        self.empty_log()
    }

    fn destroy_subject_key(&self, id: &[u8; 16]) -> Result<bool> {
        let destroyed = self.write("destroy a subject's key", |transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE subject_keys SET wrapped = NULL WHERE id = ?1 AND wrapped IS NOT NULL",
                )?
                .execute([id])?;
            Ok(changed > 0)
        })?;
        // Even if it was destroyed before: that call may have failed after its commit.
        self.empty_log()?;
        Ok(destroyed)
    }
}

impl SqliteMeta {
    /// Moves the write-ahead log into the database and cuts it to nothing: it holds older versions of pages.
    fn empty_log(&self) -> Result<()> {
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let busy: i64 = writer
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| self.fault("empty the write-ahead log", error.into()))?;
        if busy != 0 {
            let error = rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                Some("a reader was in the way; try again".to_owned()),
            );
            return Err(self.fault("empty the write-ahead log", error.into()));
        }
        Ok(())
    }
}
