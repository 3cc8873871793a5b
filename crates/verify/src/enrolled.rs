//! Who was let in: each key and producer's name that a `producer.enrolled` names, 32 bytes for each.
//!
//! Where the log has failed already nobody is blamed for an enrolment that is not found: it may be
//! what was changed.

use std::collections::HashSet;

use record::chain::StreamState;
use record::kinds::ProducerEnrolled;
use record::{ProducerName, PublicKey, Record};

use crate::report::Report;

/// The enrolments of a log so far.
#[derive(Debug, Default)]
pub(crate) struct Enrolled {
    known: HashSet<[u8; 32]>,
    /// How many were reported as missing.
    missing: u64,
}

impl Enrolled {
    /// Everything it knows.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.known.iter()
    }

    /// Takes in what was known before.
    pub(crate) fn known(&mut self, digest: [u8; 32]) {
        self.known.insert(digest);
    }

    /// Takes in a `producer.enrolled`.
    pub(crate) fn take(&mut self, record: &Record<'_>) {
        if let Ok(enrolled) = record.decode::<ProducerEnrolled>() {
            self.known.insert(digest(&enrolled.key, &enrolled.producer));
        }
    }

    /// Calls `fail` if a stream opens under a key and name that were not enrolled; once for each.
    pub(crate) fn expect(
        &mut self,
        opened: &StreamState,
        report: &mut Report,
        fail: impl FnOnce(&mut Report),
    ) {
        let new = self.known.insert(digest(&opened.key, &opened.producer));
        if new && report.failures_total == self.missing && !unread(report) {
            self.missing += 1;
            fail(report);
        }
    }
}

/// Whether the log holds enrolments in a version that this verifier does not know.
fn unread(report: &Report) -> bool {
    let mut unknown = report.counts.unknown.keys();
    unknown.any(|kind| kind.starts_with("producer.enrolled "))
}

fn digest(key: &PublicKey, producer: &ProducerName) -> [u8; 32] {
    tlog::sha256(&[&key.0, producer.as_str().as_bytes()].concat())
}
