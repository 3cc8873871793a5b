//! A client of two servers: whoever does not answer is left for the other. Each has one of them that it comes back to, as
//! a load balancer would have it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, ClientError, RetryPolicy};

use crate::common::ADMIN;

/// Whoever had no answer for that long has met an error that cannot be retried.
const PATIENCE: Duration = Duration::from_mins(1);
const REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_millis(200);
/// How long a client stays away from its own server.
const AWAY: Duration = Duration::from_secs(5);

/// What clients met.
#[derive(Debug, Default, Clone)]
pub(crate) struct Met {
    /// Failed tries by their sort, each mended by a later one.
    pub(crate) retried: BTreeMap<String, u64>,
    /// Requests that were answered at their second try or later.
    pub(crate) mended: u64,
    /// What trying again does not mend, or has not mended.
    pub(crate) bad: Vec<String>,
}

impl Met {
    pub(crate) fn merge(&mut self, other: &Self) {
        for (sort, count) in &other.retried {
            *self.retried.entry(sort.clone()).or_default() += count;
        }
        self.mended += other.mended;
        self.bad.extend(other.bad.iter().cloned());
    }
}

pub(crate) struct Pair {
    clients: Vec<Client>,
    own: usize,
    at: usize,
    /// When it went to another server than its own.
    left: Option<Instant>,
    pub(crate) met: Met,
}

impl Pair {
    /// Begins with the server of this number.
    pub(crate) fn new(urls: &[String], at: usize) -> Self {
        let clients = urls.iter().map(|url| {
            Client::new(url, Some(ADMIN))
                .unwrap()
                .with_retry(RetryPolicy::NEVER)
        });
        Self {
            clients: clients.collect(),
            own: at,
            at,
            left: None,
            met: Met::default(),
        }
    }

    /// Asks until somebody answers; `None` where nobody does, or where it is refused: that is noted.
    pub(crate) fn ask<T>(
        &mut self,
        what: &str,
        call: impl Fn(&Client) -> Result<T, ClientError>,
    ) -> Option<T> {
        let began = Instant::now();
        let mut rest = REST;
        if self.left.is_some_and(|left| left.elapsed() > AWAY) {
            (self.at, self.left) = (self.own, None);
        }
        for attempt in 0.. {
            let error = match call(&self.clients[self.at % self.clients.len()]) {
                Ok(answer) => {
                    self.met.mended += u64::from(attempt > 0);
                    return Some(answer);
                }
                Err(error) => error,
            };
            let Some(sort) = retryable(&error) else {
                self.met.bad.push(format!("{what}: {error}"));
                return None;
            };
            if began.elapsed() > PATIENCE {
                self.met.bad.push(format!("{what}: for a minute, {error}"));
                return None;
            }
            *self.met.retried.entry(sort).or_default() += 1;
            self.at += 1;
            self.left = Some(Instant::now());
            thread::sleep(rest);
            rest = (rest * 2).min(LONGEST_REST);
        }
        None
    }
}

/// What sort of error it is, where trying again is right by what the interface says.
fn retryable(error: &ClientError) -> Option<String> {
    match error {
        // 429, 502, 503 and 504 with the problem's code; or a connection that was refused, cut or silent.
        ClientError::Unavailable { why, .. } => {
            let code = why
                .strip_suffix(')')
                .and_then(|why| why.rsplit_once('('))
                .map(|(_, code)| code)
                .filter(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
            Some(code.map_or("connection".to_owned(), |code| format!("503 {code}")))
        }
        // A server that has not looked yet at the other's checkpoint, or at what the other took. What was lost stays away
        // for longer than it is asked again.
        ClientError::Refused(problem)
            if matches!(problem.code.as_str(), "not-published" | "not-found") =>
        {
            Some(format!("404 {}", problem.code))
        }
        _ => None,
    }
}
