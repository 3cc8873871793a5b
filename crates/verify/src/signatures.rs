//! Producers' and owners' signatures, checked on any thread in any order.

use std::sync::{Mutex, PoisonError};

use record::chain::PendingSignature;
use record::{Scope, StreamName};

use crate::report::{Check, Failure, KEPT, Report};

/// A signature to be checked, and where it stands.
#[derive(Debug)]
pub(crate) struct SignatureJob {
    pub(crate) index: u64,
    pub(crate) scope: Scope,
    pub(crate) stream: StreamName,
    pub(crate) seq: u64,
    pub(crate) pending: PendingSignature,
    pub(crate) what: &'static str,
}

/// What checked signatures came to; shared by the threads.
#[derive(Debug, Default)]
pub(crate) struct Signatures(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    checked: u64,
    bad: u64,
    kept: Vec<Failure>,
}

impl Signatures {
    /// Checks one.
    pub(crate) fn check(&self, job: &SignatureJob) {
        let good = job.pending.is_valid();
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.checked += 1;
        if good {
            return;
        }
        found.bad += 1;
        if found.kept.len() < KEPT {
            found.kept.push(
                Failure::new(
                    Check::Signature,
                    format!("{} by {}", job.what, job.pending.key),
                    "a signature that is not this key's over this chain",
                )
                .at(job.index)
                .of(job.scope.as_str(), job.stream.as_str())
                .seq(job.seq),
            );
        }
    }

    /// Puts the outcome into the report.
    pub(crate) fn finish(self, report: &mut Report) {
        let found = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.counts.signatures = found.checked;
        let more = found.bad - found.kept.len() as u64;
        found
            .kept
            .into_iter()
            .for_each(|failure| report.fail(failure));
        report.failures_total += more;
    }
}
