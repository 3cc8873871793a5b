//! Whether a store does what is relied on.

use std::hash::{BuildHasher, RandomState};

use object_store::{Error, ObjectStoreExt, PutMode, PutPayload};

use super::Inner;
use crate::error::{Result, StoreError};

const ACTION: &str = "probe";
/// What the keys of probes begin with. One that was left behind, by a process that was killed, is nobody's object.
pub(super) const PROBES: &str = "probe/";
const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"other";

/// Writes an object, and then other bytes under its key on the condition that there is none: this has to fail.
pub(super) async fn probe(inner: &Inner) -> Result<()> {
    // Nobody else has this key, so what is found under it was written here.
    let unique = || RandomState::new().hash_one(std::process::id());
    let key = format!("{PROBES}{:016x}{:016x}", unique(), unique());
    inner.create(&key, PutPayload::from_static(FIRST)).await?;
    let outcome = overwrite(inner, &key).await;
    if let Err(error) = inner.client.delete(&inner.path(&key)).await {
        tracing::warn!(%error, key, "a probe was left behind");
    }
    outcome
}

async fn overwrite(inner: &Inner, key: &str) -> Result<()> {
    let path = inner.path(key);
    let ignored = || StoreError::ConditionIgnored {
        server: inner.server.clone(),
    };
    let mut attempts = inner.attempts(ACTION);
    loop {
        let second = PutPayload::from_static(SECOND);
        match inner
            .client
            .put_opts(&path, second, PutMode::Create.into())
            .await
        {
            Ok(_) => return Err(ignored()),
            Err(Error::AlreadyExists { .. }) => break,
            Err(failed) => attempts.again(failed).await?,
        }
    }
    match inner.read(key).await? {
        Some(found) if found == FIRST => Ok(()),
        // It said that it failed, and did it all the same; or it shows what it had before.
        Some(found) if found == SECOND => Err(ignored()),
        _ => Err(inner.unavailable(ACTION, "an object that was just written cannot be read")),
    }
}
