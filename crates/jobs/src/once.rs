//! Records what a job found, once, however often the job is done.
//!
//! All of it goes to the server's own stream, whose records follow one another: whoever looked, found nothing, and writes is
//! refused if somebody else has written a record of that kind there since, and looks again. So each refusal is somebody
//! else's success.

use std::time::Duration;

use ledger::{AppendCode, Ledger, LedgerError, Query};
use record::{Draft, Kind, Record, Scope, StreamName};

use crate::error::Fault;

/// How often somebody else may be faster.
const TRIES: usize = 40;
/// How long it may take until what was recorded can be read.
const PUBLISHED: Duration = Duration::from_secs(10);
const PAGE: usize = 1_000;

/// Records `draft`, unless the log has, from the index `since` on, a record of its kind on the server's stream that
/// `is_it`. Gives the index of the one or the other.
pub(crate) fn record(
    ledger: &Ledger,
    since: u64,
    is_it: impl Fn(&Record<'_>) -> bool,
    draft: impl Fn() -> Draft,
) -> Result<u64, Fault> {
    let kind = draft().kind();
    for _ in 0..TRIES {
        // First the stream, then what is in it: what comes in between is found by the refusal.
        let own = ledger.stream_head(Scope::Ledger, StreamName::SERVER)?;
        let length = own.map_or(0, |own| own.next_seq);
        if let Some(index) = find(ledger, since, kind, &is_it)? {
            return Ok(index);
        }
        match ledger.record_own_since(draft(), length)?.wait() {
            Ok(receipts) => {
                let index = receipts.first().map(|receipt| receipt.index);
                return index.ok_or_else(|| {
                    Fault::Dead("a record of the server's own got no receipt".to_owned())
                });
            }
            Err(error) if error.code == AppendCode::SeqGap => {}
            Err(error) if error.code == AppendCode::LedgerClosed => {
                return Err(Fault::Dead(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::Retry(format!(
        "others record `{}` all the time",
        kind.name()
    )))
}

/// Looks through what is in the log by now.
fn find(
    ledger: &Ledger,
    since: u64,
    kind: Kind,
    is_it: &impl Fn(&Record<'_>) -> bool,
) -> Result<Option<u64>, Fault> {
    if !ledger.wait_published(ledger.status().sequenced, PUBLISHED) {
        return Err(Fault::Retry(
            "what was recorded is not published, and cannot be looked through".to_owned(),
        ));
    }
    let mut query = Query {
        scope: Some(Scope::Ledger),
        kind: Some(kind),
        after: since.checked_sub(1),
        limit: PAGE,
    };
    loop {
        let page = ledger.query(&query)?;
        for (index, bytes) in &page.records {
            let record = Record::parse_envelope(bytes).map_err(LedgerError::from)?;
            if *record.stream() == StreamName::SERVER && is_it(&record) {
                return Ok(Some(*index));
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(None),
        }
    }
}
