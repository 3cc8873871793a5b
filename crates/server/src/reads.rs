//! What auditors read, which the log is to know of (`access.read`): gathered, and recorded some seconds later as one
//! record for each auditor, part and run. Whoever reads sealed values gets them once that is recorded.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use ledger::{AppendCode, Ledger, LedgerError, Principal, Role};
use record::kinds::{AccessRead, ReadPart, ReadSpan};
use record::{Draft, RunId, Timestamp};

use crate::problem::Problem;

/// How long reads are gathered.
const GATHERED_MICROS: i64 = 5_000_000;
/// The most spans of one record.
const MAX_SPANS: usize = 64;
/// The most records that wait to be written; beyond it, auditors wait.
const MAX_WAITING: usize = 4_096;

/// Who read which part of what.
type Key = (String, ReadPart, Option<RunId>);

/// The reads that are not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct Reads(Mutex<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    open: BTreeMap<Key, AccessRead>,
    /// Those that are as large as a record may be.
    full: Vec<AccessRead>,
}

impl Reads {
    /// An auditor is about to be given something: records, where `span` says which, or the whole.
    ///
    /// # Errors
    /// 503: what was read before cannot be recorded, and is too much by now.
    pub(crate) fn note(
        &self,
        principal: &Principal,
        part: ReadPart,
        run: Option<RunId>,
        span: Option<(u64, u64)>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        if principal.role != Role::Auditor {
            return Ok(());
        }
        let mut gathered = self.lock();
        if gathered.open.len() + gathered.full.len() >= MAX_WAITING {
            return Err(Problem::unavailable(
                "unavailable",
                "what auditors read cannot be recorded at present, and is not given unrecorded",
                2,
            ));
        }
        let key = (principal.id.clone(), part, run);
        let read = gathered.open.entry(key.clone()).or_insert_with(|| {
            let mut read = AccessRead::new(principal.id.clone(), now, now, part, 0);
            read.run = run;
            read
        });
        read.last = read.last.max(now);
        read.reads += 1;
        if let Some((first, count)) = span.filter(|(_, count)| *count > 0) {
            add(read.spans.get_or_insert_default(), first, count);
        }
        if read
            .spans
            .as_ref()
            .is_some_and(|spans| spans.len() >= MAX_SPANS)
            && let Some(read) = gathered.open.remove(&key)
        {
            gathered.full.push(read);
        }
        Ok(())
    }

    /// Records what was gathered long enough ago; with `all`, everything. What cannot be recorded is kept for the next
    /// time, unless the ledger has ended.
    pub(crate) fn record(&self, ledger: &Ledger, all: bool) {
        let now = ledger.clock().now();
        let mut due = self.due(now, all).into_iter();
        while let Some(read) = due.next() {
            if let Err(error) = record(ledger, read.clone()) {
                if has_ended(&error) {
                    tracing::warn!(by = read.by, part = %read.part, reads = read.reads, "read after the ledger was closed");
                    continue;
                }
                tracing::error!(%error, "what auditors read was not recorded yet");
                let mut gathered = self.lock();
                gathered.full.push(read);
                gathered.full.extend(due);
                return;
            }
        }
    }

    fn due(&self, now: Timestamp, all: bool) -> Vec<AccessRead> {
        let mut gathered = self.lock();
        let mut due = std::mem::take(&mut gathered.full);
        let is_due = |read: &AccessRead| {
            let age = now.0.saturating_sub(read.first.0);
            // A clock that was set back is no reason to wait.
            all || !(0..GATHERED_MICROS).contains(&age)
        };
        due.extend(
            gathered
                .open
                .extract_if(.., |_, read| is_due(read))
                .map(|(_, read)| read),
        );
        due
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records at once that an auditor reads, and waits until that is durable.
///
/// # Errors
/// It cannot be recorded, so nothing is to be read.
pub(crate) fn record_now(
    ledger: &Ledger,
    principal: &Principal,
    part: ReadPart,
    run: RunId,
) -> Result<(), Problem> {
    if principal.role != Role::Auditor {
        return Ok(());
    }
    let now = ledger.clock().now();
    let mut read = AccessRead::new(principal.id.clone(), now, now, part, 1);
    read.run = Some(run);
    record(ledger, read).map_err(|error| {
        if !has_ended(&error) {
            return error.into();
        }
        Problem::new(
            StatusCode::GONE,
            "ledger-closed",
            "this ledger has ended: that sealed values are read could not be recorded, so only admins read them",
        )
    })
}

fn has_ended(error: &LedgerError) -> bool {
    match error {
        LedgerError::Ended { .. } => true,
        LedgerError::Append(error) => error.code == AppendCode::LedgerClosed,
        _ => false,
    }
}

fn record(ledger: &Ledger, read: AccessRead) -> Result<(), LedgerError> {
    ledger.record_own(Draft::new(read))?.wait()?;
    Ok(())
}

/// Adds records to what was read, joined to the span before where they follow it.
fn add(spans: &mut Vec<ReadSpan>, first: u64, count: u64) {
    let known = spans
        .iter_mut()
        .find(|span| (span.first..=span.first + span.count).contains(&first));
    match known {
        Some(span) => span.count = span.count.max(first + count - span.first),
        None => spans.push(ReadSpan::new(count, first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auditor() -> Principal {
        Principal::new("t-a", Role::Auditor)
    }

    #[test]
    fn reads_of_one_part_are_one_record_and_pages_one_span() {
        let reads = Reads::default();
        let at = Timestamp(1_000_000);
        let note = |part, span, now| reads.note(&auditor(), part, None, span, now).unwrap();
        note(ReadPart::Records, Some((0, 100)), at);
        note(ReadPart::Records, Some((100, 100)), Timestamp(2_000_000));
        note(ReadPart::Records, Some((50, 1)), at);
        note(ReadPart::Records, Some((900, 1)), at);
        note(ReadPart::Documents, None, at);
        assert!(reads.due(at, false).is_empty(), "still gathering");
        let due = reads.due(Timestamp(at.0 + GATHERED_MICROS), false);
        assert_eq!(due.len(), 2);
        let records = due
            .iter()
            .find(|read| read.part == ReadPart::Records)
            .unwrap();
        assert_eq!((records.reads, records.last), (4, Timestamp(2_000_000)));
        assert_eq!(
            records.spans,
            Some(vec![ReadSpan::new(200, 0), ReadSpan::new(1, 900)])
        );
        assert!(reads.due(at, true).is_empty());
    }

    #[test]
    fn only_auditors_are_recorded_and_a_record_never_grows_too_large() {
        let reads = Reads::default();
        let at = Timestamp(0);
        for role in [Role::Reader, Role::Admin] {
            let principal = Principal::new("t-r", role);
            reads
                .note(&principal, ReadPart::Records, None, Some((1, 1)), at)
                .unwrap();
        }
        assert!(reads.due(at, true).is_empty());
        for number in 0..=MAX_SPANS as u64 {
            let span = Some((number * 10, 1));
            reads
                .note(&auditor(), ReadPart::Records, None, span, at)
                .unwrap();
        }
        let due = reads.due(at, false);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].spans.as_ref().map(Vec::len), Some(MAX_SPANS));
        assert_eq!(reads.due(at, true).len(), 1);
    }
}
