//! How long to go on trying, and how long to rest between tries.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Exponential backoff with full jitter, within a total time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first rest is at most this long; each further one at most twice the one before.
    pub first: Duration,
    /// No rest is longer, except where the server asks for more.
    pub longest: Duration,
    /// No try begins after this much time has passed since the first.
    pub total: Duration,
}

impl Default for RetryPolicy {
    /// From 50 ms to 5 s, for a minute: as long as a restart of the server takes.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            total: Duration::from_mins(1),
        }
    }
}

impl RetryPolicy {
    /// One try and no more.
    pub const NEVER: Self = Self {
        first: Duration::ZERO,
        longest: Duration::ZERO,
        total: Duration::ZERO,
    };

    /// How long to rest after the try numbered `attempt` (from 0) failed, `spent` after the first
    /// began; `None` where it is time to give up. `asked` is the server's own `Retry-After`.
    pub(crate) fn rest(
        &self,
        attempt: u32,
        spent: Duration,
        asked: Option<Duration>,
    ) -> Option<Duration> {
        let most = self
            .first
            .saturating_mul(1 << attempt.min(16))
            .min(self.longest);
        let rest = asked.unwrap_or_default().max(most.mul_f64(jitter()));
        (!self.total.is_zero() && spent.saturating_add(rest) < self.total).then_some(rest)
    }
}

/// A number in 0.5..1: producers that failed together should not come back together. The seed of
/// a hash map is random enough for that, and no secret depends on it.
fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    0.5 + bits as f64 / (1_u64 << 54) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(1),
        total: Duration::from_secs(10),
    };

    #[test]
    fn rests_grow_to_their_longest_and_end() {
        let rest = |attempt, spent| POLICY.rest(attempt, Duration::from_secs(spent), None);
        let within = |rest: Option<Duration>, most: u64| {
            let rest = rest.unwrap().as_millis() as u64;
            assert!((most / 2..=most).contains(&rest), "{rest} for {most}");
        };
        within(rest(0, 0), 100);
        within(rest(2, 0), 400);
        within(rest(60, 0), 1_000);
        assert_eq!(rest(3, 10), None);
        assert_eq!(RetryPolicy::NEVER.rest(0, Duration::ZERO, None), None);
    }

    #[test]
    fn the_server_may_ask_for_a_longer_rest() {
        let asked = POLICY.rest(0, Duration::ZERO, Some(Duration::from_secs(3)));
        assert_eq!(asked, Some(Duration::from_secs(3)));
        assert_eq!(
            POLICY.rest(0, Duration::from_secs(8), Some(Duration::from_secs(3))),
            None
        );
    }
}
