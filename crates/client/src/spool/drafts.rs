//! What callers bring: whether it can be taken, and how large it will be.

use record::{Draft, Hash, Kind, RecordHash, StreamWriter};

use super::error::SpoolError;
use super::frame::{Encoder, MAX_PAYLOAD_BYTES};

/// The most bytes one line can have: a request carries 12 MiB of records and sealed values, counted a little
/// differently.
const MAX_LINE_BYTES: u64 = 11 << 20;
/// What `stream.opened` and a `stream.signed` take beside a record.
const OWN_BYTES: u64 = 2 << 10;

/// Writes a draft, and gives its record's name.
pub(super) fn put(
    stream: &mut StreamWriter,
    encoder: &mut Encoder,
    draft: Draft,
) -> Result<RecordHash, record::WriteError> {
    // `stream.opened` comes before the first record, `stream.signed` after one.
    let at = usize::from(stream.head().is_none());
    let written = stream.write(draft)?;
    let name = match (written.get(at), stream.head()) {
        (Some(_), Some(head)) if written.len() == at + 1 => head,
        (Some(submission), _) => record::leaf_hash(&submission.record),
        (None, _) => Hash::default(),
    };
    for submission in &written {
        encoder.push(submission);
    }
    Ok(name.into())
}

/// At most so many bytes the lines of these drafts take.
pub(super) fn needed(drafts: &[Draft]) -> Result<u64, SpoolError> {
    let mut sum = OWN_BYTES * (1 + drafts.len() as u64 / record::SIGN_AFTER_RECORDS);
    for (at, draft) in drafts.iter().enumerate() {
        let bytes = draft.most_bytes() as u64;
        if bytes > MAX_LINE_BYTES {
            return Err(SpoolError::TooLarge {
                what: format!("draft {}", at + 1),
                bytes,
                limit_bytes: MAX_LINE_BYTES,
                instead: "no request carries more; attach long values",
            });
        }
        sum += bytes;
    }
    if sum > MAX_PAYLOAD_BYTES as u64 {
        return Err(SpoolError::TooLarge {
            what: "the call".to_owned(),
            bytes: sum,
            limit_bytes: MAX_PAYLOAD_BYTES as u64,
            instead: "write fewer drafts at once",
        });
    }
    Ok(sum)
}

/// Refuses kinds that are not a producer's to write as drafts.
pub(super) fn check_kinds(drafts: &[Draft]) -> Result<(), SpoolError> {
    for (at, draft) in drafts.iter().enumerate() {
        let instead = match draft.kind() {
            Kind::RunStarted => "begins a run; use `Spool::start_run`",
            Kind::RunSealed => "ends a run; use `SpooledStream::seal`",
            Kind::StreamOpened | Kind::StreamSigned => "is written by the spool itself",
            Kind::ProducerEnrolled
            | Kind::DocumentIssued
            | Kind::AccessRead
            | Kind::AccessChanged
            | Kind::KeyRotated
            | Kind::LedgerContinued
            | Kind::LedgerClosed => "is the server's to record, in its own stream",
            _ => continue,
        };
        return Err(SpoolError::Kind {
            at,
            kind: draft.kind(),
            instead,
        });
    }
    Ok(())
}
