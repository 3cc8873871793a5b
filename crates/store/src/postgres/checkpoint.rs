//! The latest checkpoint and the settings.

use tlog::Hash;

use super::session::Session;
use super::{Concern, Fault, PgMeta};
use crate::error::{Result, StoreError};
use crate::meta::{CheckpointStore, SettingStore, StoredCheckpoint};
use crate::rows::{fixed, loaded, stored};

impl CheckpointStore for PgMeta {
    fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>> {
        self.database.read(
            Concern::Checkpoint,
            "read the latest checkpoint",
            |session| async move { latest(&session).await },
        )
    }

    fn swap_checkpoint(&self, expected: Option<(u64, Hash)>, new: &StoredCheckpoint) -> Result<()> {
        let new = new.clone();
        self.database.write(
            Concern::Checkpoint,
            "write the latest checkpoint",
            move |session| {
                let new = new.clone();
                async move { swap(&session, expected, &new).await }
            },
        )
    }
}

async fn swap(
    session: &Session,
    expected: Option<(u64, Hash)>,
    new: &StoredCheckpoint,
) -> Result<(), Fault> {
    let found = latest(session).await?;
    if found.as_ref().map(|found| (found.size, found.root)) != expected {
        return Err(StoreError::CheckpointMoved {
            found: found.map(Box::new),
        }
        .into());
    }
    if let Some((size, root)) = expected
        && (new.size < size || (new.size == size && new.root != root))
    {
        return Err(StoreError::CheckpointBackwards {
            latest: size,
            new: new.size,
        }
        .into());
    }
    session
        .execute(
            "INSERT INTO checkpoint (id, size, root, note) VALUES (0, $1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET size = excluded.size, root = excluded.root, note = excluded.note",
            &[&stored(new.size)?, &&new.root.as_bytes()[..], &new.note],
        )
        .await?;
    Ok(())
}

async fn latest(session: &Session) -> Result<Option<StoredCheckpoint>, Fault> {
    let row = session
        .query_opt("SELECT size, root, note FROM checkpoint", &[])
        .await?;
    row.map(|row| {
        Ok(StoredCheckpoint {
            size: loaded(row.try_get(0)?)?,
            root: Hash::from(fixed::<32>(row.try_get(1)?)?),
            note: row.try_get(2)?,
        })
    })
    .transpose()
}

impl SettingStore for PgMeta {
    fn kv_get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let name = name.to_owned();
        self.database
            .read(Concern::Settings, "read a setting", move |session| {
                let name = name.clone();
                async move {
                    let row = session
                        .query_opt("SELECT value FROM settings WHERE name = $1", &[&name])
                        .await?;
                    Ok(row.map(|row| row.try_get(0)).transpose()?)
                }
            })
    }

    fn kv_names(&self) -> Result<Vec<String>> {
        self.database
            .read(Concern::Settings, "list settings", |session| async move {
                let rows = session
                    .query("SELECT name FROM settings ORDER BY name COLLATE \"C\"", &[])
                    .await?;
                rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
            })
    }

    fn kv_put(&self, name: &str, value: &[u8]) -> Result<()> {
        let new = (name.to_owned(), value.to_vec());
        self.database
            .write(Concern::Settings, "write a setting", move |session| {
                let (name, value) = new.clone();
                async move {
                    session
                        .execute(
                            "INSERT INTO settings (name, value) VALUES ($1, $2)
                             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                            &[&name, &value],
                        )
                        .await?;
                    Ok(())
                }
            })
    }
}
