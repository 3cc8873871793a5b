//! The key that wraps subjects' keys and hooks' secrets: each is wrapped anew. Sealed values stay as they are.

use std::sync::Arc;

use record::PublicKey;
use record::kinds::{KeyPurpose, KeyRotated};

use super::{Rotated, Session};
use crate::LedgerError;
use crate::hooks;
use crate::keys::{self, fingerprint};
use crate::sealing::Sealing;

/// Keys wrapped in one write.
const PAGE: usize = 1_000;

pub(super) fn rotate(session: &Session<'_>) -> Result<Rotated, LedgerError> {
    let name = keys::DEPLOYMENT;
    let old = session.load(name)?;
    let ledger = session.open(None)?;
    let new = session.next(name)?;
    let (before, after) = (fingerprint(&old), fingerprint(&new));
    let body = KeyRotated::new(after, before, KeyPurpose::Deployment);
    let index = session.record(&ledger, body)?;
    Session::close(&ledger, index)?;

    let meta = &ledger.shared().meta;
    let sealing = |key: &keys::Seed| {
        Sealing::new(key, Arc::clone(meta), Arc::clone(&session.options.entropy))
    };
    let (old, new) = (sealing(&old), sealing(&new));
    let mut last = None;
    loop {
        let page = meta.list_subject_keys(last.as_ref(), PAGE)?;
        let Some(row) = page.last() else { break };
        last = Some(row.key.id);
        let mut rewrapped = Vec::with_capacity(page.len());
        for row in &page {
            rewrapped.extend(old.rewrap(&new, &row.key)?);
        }
        if !rewrapped.is_empty() {
            meta.rewrap_subject_keys(&rewrapped)?;
        }
    }
    hooks::rewrap(&**meta, &old, &new)?;
    // From here on nothing needs the old key.
    keys::take_place(session.dir(), name)?;
    let text = |key: PublicKey| vec![key.to_string()];
    Ok(session.rotated(index, text(before), text(after)))
}
