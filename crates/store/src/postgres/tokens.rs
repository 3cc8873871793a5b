//! Tokens.

use tokio_postgres::Row;

use super::{Concern, Fault, PgMeta};
use crate::error::{Result, StoreError};
use crate::meta::{TokenRow, TokenStore};
use crate::rows::fixed;

fn token(row: &Row) -> Result<TokenRow, Fault> {
    Ok(TokenRow {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        role: row.try_get(2)?,
        hash: fixed(row.try_get(3)?)?,
        created: row.try_get(4)?,
        expires: row.try_get(5)?,
        revoked: row.try_get(6)?,
    })
}

impl TokenStore for PgMeta {
    fn insert_token(&self, new: &TokenRow) -> Result<()> {
        let new = new.clone();
        self.database
            .write(Concern::Tokens, "write a token", move |session| {
                let new = new.clone();
                async move {
                    let hash = &new.hash[..];
                    let found = session
                        .query(
                            "SELECT id, name, role, hash, created, expires, revoked FROM tokens
                             WHERE id = $1 OR hash = $2",
                            &[&new.id, &hash],
                        )
                        .await?;
                    if let Some(found) = found.first() {
                        if token(found)? == new {
                            return Ok(());
                        }
                        let what = format!("token `{}`", new.id);
                        return Err(StoreError::Conflict { what }.into());
                    }
                    session
                        .execute(
                            "INSERT INTO tokens (id, name, role, hash, created, expires, revoked)
                             VALUES ($1, $2, $3, $4, $5, $6, $7)",
                            &[
                                &new.id,
                                &new.name,
                                &new.role,
                                &hash,
                                &new.created,
                                &new.expires,
                                &new.revoked,
                            ],
                        )
                        .await?;
                    Ok(())
                }
            })
    }

    fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>> {
        let hash = *hash;
        self.database
            .read(Concern::Tokens, "read a token", move |session| async move {
                let row = session
                    .query_opt(
                        "SELECT id, name, role, hash, created, expires, revoked FROM tokens WHERE hash = $1",
                        &[&&hash[..]],
                    )
                    .await?;
                row.as_ref().map(token).transpose()
            })
    }

    fn list_tokens(&self) -> Result<Vec<TokenRow>> {
        self.database
            .read(Concern::Tokens, "list tokens", |session| async move {
                let rows = session
                    .query(
                        "SELECT id, name, role, hash, created, expires, revoked FROM tokens ORDER BY created, ordinal",
                        &[],
                    )
                    .await?;
                rows.iter().map(token).collect()
            })
    }

    fn revoke_token(&self, id: &str, at: i64) -> Result<bool> {
        let id = id.to_owned();
        self.database
            .write(Concern::Tokens, "revoke a token", move |session| {
                let id = id.clone();
                async move {
                    let changed = session
                        .execute(
                            "UPDATE tokens SET revoked = coalesce(revoked, $2) WHERE id = $1",
                            &[&id, &at],
                        )
                        .await?;
                    Ok(changed > 0)
                }
            })
    }
}
