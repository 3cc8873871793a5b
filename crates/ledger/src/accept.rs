//! *Accepted*: all that can be checked of a request without knowing its streams, in the thread of
//! whoever sends it. What comes out is ready to be written as it is.

use bytes::{Bytes, BytesMut};
use record::{Opening, Scope, Subject, Submission};
use tlog::Hash;

use crate::attachments;
use crate::entry::{Entry, Place};
use crate::error::{AppendCode, AppendError, LedgerError};
use crate::queue::MAX_GROUP_BYTES;
use crate::sealing::Sealing;
use crate::shared::Shared;

/// Most records in one request: fewer than 10,000, so that nobody waits long behind one.
pub const MAX_REQUEST_RECORDS: usize = 9_999;
/// Most bytes of records and sealed values in one request, some hundred more for each: it is written
/// in one group, or not at all.
pub const MAX_REQUEST_BYTES: usize = MAX_GROUP_BYTES;
/// What a record or a sealed value weighs beyond its bytes.
const OVERHEAD: usize = 256;

/// Checks form, schema and openings of every record, and whether its attachments are there; encrypts what is sealed.
pub(crate) fn accept<B: AsRef<[u8]>>(
    shared: &Shared,
    submissions: &[Submission<B>],
) -> Result<Vec<Entry>, AppendError> {
    if submissions.is_empty() {
        return Err(AppendError::whole(
            AppendCode::Malformed,
            "the request holds no record",
        ));
    }
    if submissions.len() > MAX_REQUEST_RECORDS {
        let reason = format!(
            "the request holds {} records, at most {MAX_REQUEST_RECORDS} are allowed; send several",
            submissions.len()
        );
        return Err(AppendError::whole(AppendCode::TooLarge, reason));
    }
    let mut places = Vec::with_capacity(submissions.len());
    let mut subjects: Vec<(Scope, Subject)> = Vec::new();
    let mut bytes = 0;
    for (at, submission) in submissions.iter().enumerate() {
        let record = submission
            .check()
            .map_err(|error| AppendError::at(at + 1, (&error).into(), &error))?;
        // `check` knows every kind it lets through.
        let Some(place) = Place::of(&record) else {
            return Err(AppendError::at(
                at + 1,
                AppendCode::UnknownKind,
                record.kind_name(),
            ));
        };
        if record.has_attachments() {
            attachments::check(shared, &record, at + 1)?;
        }
        let scope = place.scope;
        places.push(place);
        bytes += submission.record.as_ref().len() + OVERHEAD;
        for (_, opening) in &submission.openings {
            bytes += opening.value.as_bytes().len() + OVERHEAD;
            let subject = (scope, opening.subject);
            // Neighbours mostly share their subjects.
            if !subjects.iter().rev().take(8).any(|known| *known == subject) {
                subjects.push(subject);
            }
        }
        if bytes > MAX_REQUEST_BYTES {
            let reason = format!(
                "the request holds over {MAX_REQUEST_BYTES} bytes of records and sealed values; \
                 send several"
            );
            return Err(AppendError::whole(AppendCode::TooLarge, reason));
        }
    }
    let sealing = &shared.sealing;
    if !subjects.is_empty() {
        // Keys are durable before anything encrypted under them is (I2).
        sealing
            .prepare(&subjects)
            .map_err(|error| refused(None, &error))
            .inspect_err(|refused| {
                if refused.code == AppendCode::Unavailable {
                    let reason = Some(refused.reason.clone());
                    shared.status.set_write_error(reason);
                }
            })?;
    }
    let mut leaves = Vec::new();
    let records: Vec<&[u8]> = submissions.iter().map(|one| one.record.as_ref()).collect();
    tlog::leaf_hashes(&records, &mut leaves);
    let mut room = Room::of(&records);
    submissions
        .iter()
        .zip(places)
        .zip(leaves)
        .enumerate()
        .map(|(at, ((submission, place), leaf))| {
            Ok(Entry {
                leaf,
                sealed: sealed(sealing, &submission.openings, place.scope, &leaf)
                    .map_err(|error| refused(Some(at + 1), &error))?,
                bytes: room.take(submission.record.as_ref()),
                place,
                by: None,
            })
        })
        .collect()
}

/// Hashes one record and encrypts its sealed values.
pub(crate) fn entry(
    sealing: &Sealing,
    submission: Submission,
    place: Place,
) -> Result<Entry, LedgerError> {
    let leaf = tlog::leaf_hash(&submission.record);
    Ok(Entry {
        leaf,
        sealed: sealed(sealing, &submission.openings, place.scope, &leaf)?,
        bytes: submission.record.into(),
        place,
        by: None,
    })
}

fn sealed(
    sealing: &Sealing,
    openings: &[(String, Opening)],
    scope: Scope,
    leaf: &Hash,
) -> Result<Bytes, LedgerError> {
    if openings.is_empty() {
        return Ok(Bytes::new());
    }
    Ok(sealing.seal(scope, leaf, openings)?.into())
}

/// One block of memory for all records of a request. They are kept until they are published and given back by another
/// thread: a block each would leave the memory in pieces.
struct Room(BytesMut);

impl Room {
    fn of(records: &[&[u8]]) -> Self {
        Self(BytesMut::with_capacity(
            records.iter().map(|one| one.len()).sum(),
        ))
    }

    fn take(&mut self, record: &[u8]) -> Bytes {
        self.0.extend_from_slice(record);
        self.0.split().freeze()
    }
}

fn refused(line: Option<usize>, error: &LedgerError) -> AppendError {
    let code = match error {
        LedgerError::Erased { .. } => AppendCode::BadOpening,
        _ => AppendCode::Unavailable,
    };
    AppendError {
        line,
        code,
        reason: error.to_string(),
    }
}
