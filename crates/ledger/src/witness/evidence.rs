//! What a log signed that does not go together, kept for whoever has to be convinced.

use super::home::{Home, Latest, origin_hash};
use super::judge::Claim;

/// The most pieces kept for one log: a log that has gone mad must not fill the disk.
const MOST: usize = 100;

/// Keeps the checkpoint known, and the request that does not follow from it. Best effort: the
/// refusal stands in any case.
pub(super) fn keep(home: &Home, claim: &Claim, kept: Option<&Latest>) {
    let Some(kept) = kept else {
        return;
    };
    // One piece for each statement of the log, however often it is sent.
    let statement = claim.checkpoint().map_or_else(
        || "0".to_owned(),
        |checkpoint| {
            let root: String = origin_hash(&checkpoint.root.to_string())
                .chars()
                .take(16)
                .collect();
            format!("{}-{root}", checkpoint.size)
        },
    );
    let logs = format!("evidence/{}", origin_hash(claim.origin()));
    let place = format!("{logs}/{}-{statement}", kept.checkpoint.size);
    let kept_now = home.list(&logs).map(|keys| {
        let known = keys.iter().any(|key| key.starts_with(&place));
        (known, keys.len() / 2)
    });
    let written = match kept_now {
        Ok((true, _)) => return,
        Ok((false, MOST..)) => {
            tracing::warn!(most = MOST, "no more evidence is kept against this log");
            return;
        }
        Ok((false, _)) => home
            .put_evidence(&format!("{place}/kept"), kept.note.as_bytes())
            .and_then(|()| {
                let request = claim.request.to_string();
                home.put_evidence(&format!("{place}/request"), request.as_bytes())
            }),
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => tracing::error!(place, "kept the evidence"),
        Err(error) => tracing::error!(%error, place, "could not keep the evidence"),
    }
}
