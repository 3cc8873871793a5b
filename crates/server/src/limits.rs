//! How much one identity, or one address, may ask for: rates, quotas, and failed attempts to get in.
//!
//! A bucket says until when it is spent: one number, moved without a lock. What is asked for while anything is
//! left is let in and counted afterwards, so that a request larger than what is left passes once and delays the
//! next ones; a bucket that needed room for a request beforehand would never let in one larger than itself.
//!
//! Why not the crate `governor`: there a cell is taken beforehand or not at all, so that what is counted afterwards (the
//! records and bytes of a request that was recorded) has no place, and what is larger than the burst never passes
//! (`InsufficientCapacity`); a bucket cannot be looked at without taking from it, as a wrong token's is; a burst is a
//! `u32`, and a day's bytes are more; its keyed stores grow until somebody calls `retain_recent`, and have no bound.
//!
//! Everything is kept in memory: a server that starts anew, and each of several, begins with full buckets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use ledger::Quota;

use crate::problem::Problem;

/// What a quota is for.
const DAY: Duration = Duration::from_hours(24);
/// The longest that anybody is told to stay away: a quota may be raised meanwhile.
const MAX_REST: Duration = Duration::from_mins(5);
/// What is added to every time: a bucket is empty some time before it is full, and that may be before the beginning.
const EPOCH: u64 = 1 << 62;
/// The most addresses, and the most tokens, remembered at one time.
const MAX_REMEMBERED: usize = 65_536;

/// Requests a second, on average, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// A second, more than 0.
    pub per_second: f64,
    /// At once, at least 1.
    pub burst: u32,
}

impl Rate {
    fn bucket(self) -> Bucket {
        let burst = self.burst.max(1);
        let period = Duration::try_from_secs_f64(f64::from(burst) / self.per_second);
        Bucket::new(burst.into(), period.unwrap_or(Duration::MAX))
    }
}

/// Something that is used up and comes back evenly.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// When it will be full again, in nanoseconds after the beginning.
    full_at: AtomicU64,
    /// How long an empty one takes to fill.
    period: u64,
    /// How much it holds.
    capacity: u64,
}

impl Bucket {
    /// A full one, that holds so much and takes so long to fill.
    pub(crate) fn new(capacity: u64, period: Duration) -> Self {
        Self {
            full_at: AtomicU64::new(0),
            period: nanos(period).clamp(1, EPOCH),
            capacity: capacity.max(1),
        }
    }

    /// How long so much takes to come back.
    fn cost(&self, amount: u64) -> u64 {
        let cost = u128::from(self.period) * u128::from(amount) / u128::from(self.capacity);
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// How long until something is left; `None`: something is.
    pub(crate) fn empty_for(&self, now: u64) -> Option<Duration> {
        let now = EPOCH.saturating_add(now);
        let full_at = self.full_at.load(Ordering::Relaxed);
        let empty_until = full_at.saturating_sub(self.period);
        // A unit has to be there whole.
        let left = now.saturating_sub(empty_until);
        let needed = self.cost(1).max(1);
        (full_at > now && left < needed)
            .then(|| Duration::from_nanos(empty_until.saturating_add(needed).saturating_sub(now)))
    }

    /// Takes so much, of what is not there too.
    pub(crate) fn take(&self, now: u64, amount: u64) {
        let now = EPOCH.saturating_add(now);
        let cost = self.cost(amount);
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(full_at.max(now).saturating_add(cost))
            });
    }

    fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= EPOCH.saturating_add(now)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What one token has left.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    requests: Option<Bucket>,
    records: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429: there were too many.
    pub(crate) fn request(&self) -> Result<(), Problem> {
        let Some(requests) = &self.requests else {
            return Ok(());
        };
        let now = self.now();
        if let Some(rest) = requests.empty_for(now) {
            return Err(too_many(rest, "this token asks more often than it may"));
        }
        requests.take(now, 1);
        Ok(())
    }

    /// Whether anything is left of the quota.
    ///
    /// # Errors
    /// 429: it is used up.
    pub(crate) fn quota(&self) -> Result<(), Problem> {
        if self.records.is_none() && self.bytes.is_none() {
            return Ok(());
        }
        let now = self.now();
        for (bucket, what) in [(&self.records, "records"), (&self.bytes, "bytes")] {
            if let Some(rest) = bucket.as_ref().and_then(|bucket| bucket.empty_for(now)) {
                return Err(Problem::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "quota-exceeded",
                    format!(
                        "this token has used up the {what} it may append a day; nothing was recorded. Come again \
                         when some of it has come back, or ask an admin for a token with more"
                    ),
                )
                .retry_after(seconds(rest)));
            }
        }
        Ok(())
    }

    /// Counts what was appended.
    pub(crate) fn appended(&self, records: u64, bytes: u64) {
        let now = self.now();
        for (bucket, amount) in [(&self.records, records), (&self.bytes, bytes)] {
            if let Some(bucket) = bucket {
                bucket.take(now, amount);
            }
        }
    }
}

/// By token, with the quota that each is of.
type Meters = HashMap<String, (Option<Quota>, Arc<Meter>)>;

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Limits {
    began: Instant,
    identities: Option<Rate>,
    meters: Mutex<Meters>,
    requests: Option<Addresses>,
    failures: Addresses,
}

impl Limits {
    pub(crate) fn new(identities: Option<Rate>, addresses: Option<Rate>, failures: Rate) -> Self {
        Self {
            began: Instant::now(),
            identities,
            meters: Mutex::default(),
            requests: addresses.map(Addresses::new),
            failures: Addresses::new(failures),
        }
    }

    /// The meter of a token; `None` where nothing limits it.
    pub(crate) fn meter(&self, token: &str, quota: Option<Quota>) -> Option<Arc<Meter>> {
        if self.identities.is_none() && quota.is_none() {
            return None;
        }
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, meter)) = meters.get(token)
            && *of == quota
        {
            return Some(Arc::clone(meter));
        }
        if meters.len() >= MAX_REMEMBERED {
            meters.clear();
        }
        let daily = |amount: Option<u64>| amount.map(|amount| Bucket::new(amount, DAY));
        let meter = Arc::new(Meter {
            began: self.began,
            requests: self.identities.map(Rate::bucket),
            records: daily(quota.and_then(|quota| quota.records)),
            bytes: daily(quota.and_then(|quota| quota.bytes)),
        });
        meters.insert(token.to_owned(), (quota, Arc::clone(&meter)));
        Some(meter)
    }

    /// Whether requests are counted by address.
    pub(crate) fn counts_addresses(&self) -> bool {
        self.requests.is_some()
    }

    /// Counts a request that brings no token.
    ///
    /// # Errors
    /// 429: there were too many from there.
    pub(crate) fn count_address(&self, address: IpAddr) -> Result<(), Problem> {
        let Some(requests) = &self.requests else {
            return Ok(());
        };
        let rest = requests.ask(address, nanos(self.began.elapsed()), true);
        rest.map_or(Ok(()), |rest| {
            Err(too_many(
                rest,
                "more requests without a token come from this address than may",
            ))
        })
    }

    /// Whether a token from this address, of which nothing is known, is looked up at all.
    ///
    /// # Errors
    /// 429: too many from there were wrong.
    pub(crate) fn may_try(&self, address: IpAddr) -> Result<(), Problem> {
        let rest = self
            .failures
            .ask(address, nanos(self.began.elapsed()), false);
        rest.map_or(Ok(()), |rest| {
            Err(too_many(
                rest,
                "too many wrong tokens came from this address",
            ))
        })
    }

    /// Counts a wrong token.
    pub(crate) fn failed(&self, address: IpAddr) {
        self.failures.take(address, nanos(self.began.elapsed()));
    }
}

/// A bucket an address.
#[derive(Debug)]
struct Addresses {
    rate: Rate,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Addresses {
    fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// How long the address has to wait; where it need not, and `take`, one is taken.
    fn ask(&self, address: IpAddr, now: u64, take: bool) -> Option<Duration> {
        let mut buckets = self.lock();
        if let Some(bucket) = buckets.get(&network(address)) {
            let rest = bucket.empty_for(now);
            if rest.is_none() && take {
                bucket.take(now, 1);
            }
            return rest;
        }
        if take {
            self.add(&mut buckets, address, now);
        }
        None
    }

    fn take(&self, address: IpAddr, now: u64) {
        let mut buckets = self.lock();
        match buckets.get(&network(address)) {
            Some(bucket) => bucket.take(now, 1),
            None => self.add(&mut buckets, address, now),
        }
    }

    fn add(&self, buckets: &mut HashMap<IpAddr, Bucket>, address: IpAddr, now: u64) {
        if buckets.len() >= MAX_REMEMBERED {
            // A full bucket says nothing that a new one does not.
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MAX_REMEMBERED {
                buckets.clear();
            }
        }
        let bucket = self.rate.bucket();
        bucket.take(now, 1);
        buckets.insert(network(address), bucket);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has one IPv6 address has the 64 bits of addresses around it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

fn too_many(rest: Duration, why: &str) -> Problem {
    let seconds = seconds(rest);
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-requests",
        format!("{why}; come again in {seconds} s"),
    )
    .retry_after(seconds)
}

fn seconds(rest: Duration) -> u32 {
    let seconds = rest.min(MAX_REST).as_millis().div_ceil(1_000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate {
            per_second: 2.0,
            burst: 3,
        };
        let bucket = rate.bucket();
        let mut now = 100 * SECOND;
        for taken in 0..3 {
            assert_eq!(bucket.empty_for(now), None, "{taken}");
            bucket.take(now, 1);
        }
        assert_eq!(bucket.empty_for(now), Some(Duration::from_millis(500)));
        now += SECOND / 2;
        assert_eq!(bucket.empty_for(now), None);
        bucket.take(now, 1);
        assert!(bucket.empty_for(now).is_some());
        // Rest gives back the burst, and no more.
        now += 60 * SECOND;
        for _ in 0..3 {
            assert_eq!(bucket.empty_for(now), None);
            bucket.take(now, 1);
        }
        assert!(bucket.empty_for(now).is_some());
    }

    /// From the first moment on, however long it takes to fill.
    #[test]
    fn a_new_bucket_is_full() {
        let bucket = Bucket::new(3, DAY);
        for _ in 0..3 {
            assert_eq!(bucket.empty_for(5), None);
            bucket.take(5, 1);
        }
        assert_eq!(bucket.empty_for(5), Some(DAY / 3));
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_once_and_is_paid_for() {
        let bucket = Bucket::new(10, Duration::from_secs(10));
        assert_eq!(bucket.empty_for(0), None);
        bucket.take(0, 25);
        assert_eq!(bucket.empty_for(0), Some(Duration::from_secs(16)));
        assert_eq!(bucket.empty_for(16 * SECOND), None);
    }

    #[test]
    fn a_new_token_of_the_same_terms_shares_nothing_and_the_same_token_everything() {
        let failures = Rate {
            per_second: 1.0,
            burst: 1,
        };
        let limits = Limits::new(None, None, failures);
        assert!(limits.meter("t-1", None).is_none(), "nothing limits it");
        let quota = Some(Quota {
            records: Some(2),
            bytes: None,
        });
        let meter = limits.meter("t-1", quota).unwrap();
        meter.quota().unwrap();
        meter.appended(2, 1_000);
        let refused = limits.meter("t-1", quota).unwrap().quota().unwrap_err();
        assert_eq!((refused.status(), refused.code()), (429, "quota-exceeded"));
        limits.meter("t-2", quota).unwrap().quota().unwrap();
    }

    #[test]
    fn wrong_tokens_are_counted_by_network() {
        let failures = Rate {
            per_second: 0.001,
            burst: 2,
        };
        let limits = Limits::new(None, None, failures);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..2 {
            limits.may_try(address("2001:db8::1")).unwrap();
            limits.failed(address("2001:db8::1"));
        }
        let refused = limits.may_try(address("2001:db8::2")).unwrap_err();
        assert_eq!(refused.status(), 429);
        limits.may_try(address("2001:db8:0:1::2")).unwrap();
        limits.failed(address("::ffff:10.0.0.1"));
        limits.failed(address("10.0.0.1"));
        assert!(limits.may_try(address("10.0.0.1")).is_err());
        // Without a rate for addresses they are not counted.
        limits.count_address(address("10.0.0.1")).unwrap();
    }
}
