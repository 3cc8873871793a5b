//! Tokens.

use rusqlite::{OptionalExtension, Row, params};

use super::{Fault, SqliteMeta, fixed};
use crate::error::{Result, StoreError};
use crate::meta::{TokenRow, TokenStore};

const COLUMNS: &str = "SELECT id, name, role, hash, created, expires, revoked FROM tokens";

type Columns = (
    String,
    String,
    String,
    Vec<u8>,
    i64,
    Option<i64>,
    Option<i64>,
);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
    ))
}

fn token((id, name, role, hash, created, expires, revoked): Columns) -> Result<TokenRow, Fault> {
    Ok(TokenRow {
        id,
        name,
        role,
        hash: fixed(hash)?,
        created,
        expires,
        revoked,
    })
}

impl TokenStore for SqliteMeta {
    fn insert_token(&self, new: &TokenRow) -> Result<()> {
        self.write("write a token", |transaction| {
            let found = transaction
                .prepare_cached(&format!("{COLUMNS} WHERE id = ?1 OR hash = ?2"))?
                .query_row(params![new.id, new.hash], columns)
                .optional()?;
            match found.map(token).transpose()? {
                None => {}
                Some(found) if found == *new => return Ok(()),
                Some(_) => {
                    return Err(StoreError::Conflict {
                        what: format!("token `{}`", new.id),
                    }
                    .into());
                }
            }
            transaction
                .prepare_cached(
                    "INSERT INTO tokens (id, name, role, hash, created, expires, revoked)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    new.id,
                    new.name,
                    new.role,
                    new.hash,
                    new.created,
                    new.expires,
                    new.revoked
                ])?;
            Ok(())
        })
    }

    fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>> {
        self.read("read a token", |transaction| {
            let row = transaction
                .prepare_cached(&format!("{COLUMNS} WHERE hash = ?1"))?
                .query_row([hash], columns)
                .optional()?;
            row.map(token).transpose()
        })
    }

    fn list_tokens(&self) -> Result<Vec<TokenRow>> {
        self.read("list tokens", |transaction| {
            let mut query =
                transaction.prepare_cached(&format!("{COLUMNS} ORDER BY created, rowid"))?;
            let rows = query.query_map([], columns)?;
            rows.map(|row| token(row?)).collect()
        })
    }

    fn revoke_token(&self, id: &str, at: i64) -> Result<bool> {
        self.write("revoke a token", |transaction| {
            let changed = transaction
                .prepare_cached("UPDATE tokens SET revoked = coalesce(revoked, ?2) WHERE id = ?1")?
                .execute(params![id, at])?;
            Ok(changed > 0)
        })
    }
}
