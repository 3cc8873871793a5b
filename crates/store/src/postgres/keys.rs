//! Subject keys.

use tokio_postgres::Row;

use super::session::Session;
use super::{Concern, Fault, PgMeta};
use crate::error::{Result, StoreError};
use crate::meta::{SubjectKey, SubjectKeyRow, SubjectKeyStore};
use crate::rows::fixed;

fn subject_key(row: &Row) -> Result<SubjectKeyRow, Fault> {
    Ok(SubjectKeyRow {
        scope: row.try_get(0)?,
        subject: row.try_get(1)?,
        key: SubjectKey {
            id: fixed(row.try_get(2)?)?,
            wrapped: row.try_get(3)?,
        },
    })
}

impl SubjectKeyStore for PgMeta {
    fn subject_key(&self, scope: &str, subject: &str) -> Result<Option<SubjectKey>> {
        let asked = (scope.to_owned(), subject.to_owned());
        self.database
            .read(Concern::Keys, "read a subject's key", move |session| {
                let (scope, subject) = asked.clone();
                async move {
                    let row = session
                        .query_opt(
                            "SELECT scope, subject, id, wrapped FROM subject_keys WHERE scope = $1 AND subject = $2",
                            &[&scope, &subject],
                        )
                        .await?;
                    row.map(|row| subject_key(&row).map(|row| row.key)).transpose()
                }
            })
    }

    fn subject_key_by_id(&self, id: &[u8; 16]) -> Result<Option<SubjectKeyRow>> {
        let id = *id;
        self.database.read(
            Concern::Keys,
            "read a subject's key",
            move |session| async move {
                let row = session
                    .query_opt(
                        "SELECT scope, subject, id, wrapped FROM subject_keys WHERE id = $1",
                        &[&&id[..]],
                    )
                    .await?;
                row.as_ref().map(subject_key).transpose()
            },
        )
    }

    fn list_subject_keys(
        &self,
        after: Option<&[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SubjectKeyRow>> {
        let after: Vec<u8> = after.map(|id| id.to_vec()).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.database
            .read(Concern::Keys, "list subjects' keys", move |session| {
                let after = after.clone();
                async move {
                    let rows = session
                        .query(
                            "SELECT scope, subject, id, wrapped FROM subject_keys
                             WHERE id > $1 ORDER BY id LIMIT $2",
                            &[&after, &limit],
                        )
                        .await?;
                    rows.iter().map(subject_key).collect()
                }
            })
    }

    fn insert_subject_keys(&self, rows: &[SubjectKeyRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let rows = rows.to_vec();
        self.database
            .write(Concern::Keys, "write subjects' keys", move |session| {
                let rows = rows.clone();
                async move { insert(&session, &rows).await }
            })
    }

    fn rewrap_subject_keys(&self, keys: &[SubjectKey]) -> Result<()> {
        let keys = keys.to_vec();
        self.database
            .write(Concern::Keys, "rewrap subjects' keys", move |session| {
                let keys = keys.clone();
                async move {
                    let ids: Vec<_> = keys.iter().map(|key| &key.id[..]).collect();
                    let wrapped: Vec<_> = keys.iter().map(|key| key.wrapped.as_deref()).collect();
                    session
                        .execute(
                            "UPDATE subject_keys SET wrapped = new.wrapped
                             FROM unnest($1::bytea[], $2::bytea[]) AS new (id, wrapped)
                             WHERE subject_keys.id = new.id AND subject_keys.wrapped IS NOT NULL",
                            &[&ids, &wrapped],
                        )
                        .await?;
                    Ok(())
                }
            })
    }

    /// The row no longer has the key, and its table is written anew, so that no file of the table has it once this
    /// returns. That is all that can be said here: PostgreSQL keeps the older row for a transaction that is older than
    /// this (a dump, say) until the next `VACUUM` after it, and the write-ahead log, standbys, archives and backups hold
    /// the wrapped key for as long as their operator keeps them. It is worth nothing without the deployment's key.
    fn destroy_subject_key(&self, id: &[u8; 16]) -> Result<bool> {
        let id = *id;
        let destroyed = self.database.write(
            Concern::Keys,
            "destroy a subject's key",
            move |session| async move {
                let changed = session
                    .execute(
                        "UPDATE subject_keys SET wrapped = NULL WHERE id = $1 AND wrapped IS NOT NULL",
                        &[&&id[..]],
                    )
                    .await?;
                Ok(changed > 0)
            },
        )?;
        // Even if it was destroyed before: that call may have failed after its commit.
        self.database
            .run("destroy a subject's key", |session| async move {
                session.batch("VACUUM (FULL) subject_keys").await
            })?;
        Ok(destroyed)
    }
}

async fn insert(session: &Session, rows: &[SubjectKeyRow]) -> Result<(), Fault> {
    let ids: Vec<_> = rows.iter().map(|row| &row.key.id[..]).collect();
    let scopes: Vec<_> = rows.iter().map(|row| &*row.scope).collect();
    let subjects: Vec<_> = rows.iter().map(|row| &*row.subject).collect();
    let wrapped: Vec<_> = rows.iter().map(|row| row.key.wrapped.as_deref()).collect();
    let inserted = session
        .execute(
            "INSERT INTO subject_keys (id, scope, subject, wrapped)
             SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::bytea[]) ON CONFLICT DO NOTHING",
            &[&ids, &scopes, &subjects, &wrapped],
        )
        .await?;
    if inserted == rows.len() as u64 {
        return Ok(());
    }
    // Some were there. In what has been written now, each has to be found as it was given.
    let found = session
        .query(
            "SELECT scope, subject, id, wrapped FROM subject_keys WHERE id = ANY($1)",
            &[&ids],
        )
        .await?;
    let found: Vec<_> = found.iter().map(subject_key).collect::<Result<_, _>>()?;
    for row in rows {
        if !found.contains(row) {
            let what = format!("the key of `{}` in `{}`", row.subject, row.scope);
            return Err(StoreError::Conflict { what }.into());
        }
    }
    Ok(())
}
