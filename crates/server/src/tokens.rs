//! Who holds a token, remembered for a few seconds: an append must not wait for the database, which
//! may be busy writing the index.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use record::Timestamp;

use crate::auth::Holder;

/// How long an answer of the ledger's is good for. A token revoked through this server ends at
/// once; one that expires, or is revoked by other code in this process, within this time.
const REMEMBERED: Duration = Duration::from_secs(5);
/// The most tokens remembered; beyond it all are forgotten.
const MAX_TOKENS: usize = 1_024;

/// The tokens seen lately, by the SHA-256 of their secret.
#[derive(Debug, Default)]
pub(crate) struct TokenCache(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    holders: HashMap<[u8; 32], (Holder, Instant)>,
    /// Which tokens were looked up since it was last written down, by id, and when.
    used: HashMap<String, Timestamp>,
    /// Counts revocations: what was looked up before one must not be remembered after it.
    epoch: u64,
}

impl TokenCache {
    /// The holder, if that is known, or what to hand to [`TokenCache::remember`] once it is.
    pub(crate) fn holder(&self, token: &str) -> Result<Holder, Lookup> {
        let hash = tlog::sha256(token.as_bytes());
        let seen = self.lock();
        match seen.holders.get(&hash) {
            Some((holder, until)) if Instant::now() < *until => Ok(holder.clone()),
            _ => Err(Lookup {
                hash,
                epoch: seen.epoch,
            }),
        }
    }

    /// Keeps what the ledger said, unless a token was revoked in the meantime; and that the token `id` was used `at`.
    pub(crate) fn remember(&self, lookup: &Lookup, holder: &Holder, id: String, at: Timestamp) {
        let mut seen = self.lock();
        seen.used.insert(id, at);
        if seen.epoch != lookup.epoch {
            return;
        }
        if seen.holders.len() >= MAX_TOKENS {
            seen.holders.clear();
        }
        seen.holders
            .insert(lookup.hash, (holder.clone(), Instant::now() + REMEMBERED));
    }

    /// Which tokens were used since this was last asked. One in steady use is looked up, and so named, every few
    /// seconds.
    pub(crate) fn take_used(&self) -> Vec<(String, Timestamp)> {
        self.lock().used.drain().collect()
    }

    /// A token was revoked: nothing remembered counts any more.
    pub(crate) fn forget(&self) {
        let mut seen = self.lock();
        seen.holders.clear();
        seen.epoch += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that has to be looked up.
#[derive(Debug)]
pub(crate) struct Lookup {
    hash: [u8; 32],
    epoch: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::Principal;

    #[test]
    fn a_look_up_that_a_revocation_overtook_is_not_remembered() {
        let cache = TokenCache::default();
        let holder = Holder {
            principal: Principal::local(),
            meter: None,
        };
        let remember = |lookup: &Lookup| {
            cache.remember(lookup, &holder, "t-x".to_owned(), Timestamp(7));
        };
        let before = cache.holder("rat_x").unwrap_err();
        remember(&before);
        assert_eq!(cache.holder("rat_x").unwrap().principal, holder.principal);
        assert!(cache.holder("rat_y").is_err());
        assert_eq!(cache.take_used(), [("t-x".to_owned(), Timestamp(7))]);
        assert!(cache.take_used().is_empty());
        cache.forget();
        assert!(cache.holder("rat_x").is_err());
        remember(&before);
        assert!(
            cache.holder("rat_x").is_err(),
            "remembered across a revocation"
        );
    }
}
