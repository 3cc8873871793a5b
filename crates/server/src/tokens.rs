//! Who holds a token, remembered for a few seconds: an append must not wait for the database, which
//! may be busy writing the index.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::Principal;

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
    holders: HashMap<[u8; 32], (Principal, Instant)>,
    /// Counts revocations: what was looked up before one must not be remembered after it.
    epoch: u64,
}

impl TokenCache {
    /// The holder, if that is known, or what to hand to [`TokenCache::remember`] once it is.
    pub(crate) fn holder(&self, token: &str) -> Result<Principal, Lookup> {
        let hash = tlog::sha256(token.as_bytes());
        let seen = self.lock();
        match seen.holders.get(&hash) {
            Some((principal, until)) if Instant::now() < *until => Ok(principal.clone()),
            _ => Err(Lookup {
                hash,
                epoch: seen.epoch,
            }),
        }
    }

    /// Keeps what the ledger said, unless a token was revoked in the meantime.
    pub(crate) fn remember(&self, lookup: &Lookup, principal: &Principal) {
        let mut seen = self.lock();
        if seen.epoch != lookup.epoch {
            return;
        }
        if seen.holders.len() >= MAX_TOKENS {
            seen.holders.clear();
        }
        seen.holders.insert(
            lookup.hash,
            (principal.clone(), Instant::now() + REMEMBERED),
        );
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

    #[test]
    fn a_look_up_that_a_revocation_overtook_is_not_remembered() {
        let cache = TokenCache::default();
        let principal = Principal::local();
        let before = cache.holder("rat_x").unwrap_err();
        cache.remember(&before, &principal);
        assert_eq!(cache.holder("rat_x").unwrap(), principal);
        assert!(cache.holder("rat_y").is_err());
        cache.forget();
        assert!(cache.holder("rat_x").is_err());
        cache.remember(&before, &principal);
        assert!(
            cache.holder("rat_x").is_err(),
            "remembered across a revocation"
        );
    }
}
