//! Streams that this server writes on behalf of others: of an MLflow run, of a platform's hook.
//!
//! A stream is one producer's, so whoever writes one holds its [`Own`] under a lock. Another server of
//! the same ledger may write the same stream; then this one finds out when its records are refused,
//! and starts over from the head ([`OwnError::Moved`]).

use std::time::{Duration, Instant};

use ledger::{AppendCode, Ledger, LedgerError, Principal, Receipt, SealedState, StreamHead};
use record::{
    Draft, ProducerName, PublicKey, Scope, StreamName, StreamWriter, Submission, WriteError,
};
use serde_json::Value;

use crate::problem::Problem;

/// What every stream's opening says of the software.
pub(crate) const SOFTWARE: &str = concat!("rlhf-audit-server ", env!("CARGO_PKG_VERSION"));
/// A stream that rests this long is signed to its end.
pub(crate) const REST: Duration = Duration::from_secs(1);
/// How long a reader waits until what is recorded is published, and so can be read.
const PUBLISHED_WAIT: Duration = Duration::from_secs(10);
/// The most streams that follow one another because the key changed.
const MAX_STREAMS: u32 = 1_000;

/// What a record sealed, by field.
pub(crate) type Opened = Vec<(String, Value)>;

/// One stream, and the next after it where the server's key has changed since.
#[derive(Debug)]
pub(crate) struct Own {
    scope: Scope,
    /// The first stream's name; the next are `<base>.2`, `<base>.3`, ….
    base: StreamName,
    producer: &'static str,
    writer: Option<StreamWriter>,
    /// How many records the streams before the writer's have.
    before: u64,
    written: Instant,
}

/// Why nothing was written.
#[derive(Debug)]
pub(crate) enum OwnError {
    /// Another server has written to the stream meanwhile: what was known of it is out of date.
    Moved,
    /// It cannot be.
    Refused(Problem),
}

impl<E: Into<Problem>> From<E> for OwnError {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

/// A record as it was written, with its openings, and where it went.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) submission: Submission,
    pub(crate) receipt: Receipt,
}

impl Own {
    /// The stream `base` of a scope; nothing is asked of the ledger yet.
    pub(crate) fn new(scope: Scope, base: StreamName, producer: &'static str) -> Self {
        Self {
            scope,
            base,
            producer,
            writer: None,
            before: 0,
            written: Instant::now(),
        }
    }

    /// Writes what `build` makes, all or nothing, and waits until it is durable.
    ///
    /// # Errors
    /// [`OwnError`]. The stream is then taken up anew the next time.
    pub(crate) fn write(
        &mut self,
        ledger: &Ledger,
        principal: &Principal,
        build: impl FnOnce(&mut StreamWriter) -> Result<Vec<Submission>, Problem>,
    ) -> Result<Vec<Written>, OwnError> {
        self.write_at(ledger, principal, None, build)
    }

    /// As [`Own::write`], if the streams have just so many records: what the caller knows of them.
    ///
    /// # Errors
    /// As [`Own::write`].
    pub(crate) fn write_at(
        &mut self,
        ledger: &Ledger,
        principal: &Principal,
        length: Option<u64>,
        build: impl FnOnce(&mut StreamWriter) -> Result<Vec<Submission>, Problem>,
    ) -> Result<Vec<Written>, OwnError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.take_up(ledger)?,
        };
        if length.is_some_and(|length| length != self.before + writer.next_seq()) {
            return Err(OwnError::Moved);
        }
        let submissions = build(&mut writer)?;
        if submissions.is_empty() {
            self.writer = Some(writer);
            return Ok(Vec::new());
        }
        let ticket = ledger
            .submit_contested(&submissions, principal)
            .map_err(Problem::from)?;
        match ticket.wait() {
            Ok(receipts) => {
                self.writer = Some(writer);
                self.written = Instant::now();
                let written = submissions.into_iter().zip(receipts);
                Ok(written
                    .map(|(submission, receipt)| Written {
                        submission,
                        receipt,
                    })
                    .collect())
            }
            Err(error) if is_moved(error.code) => Err(OwnError::Moved),
            Err(error) => Err(Problem::from(error).into()),
        }
    }

    /// Another may have written to the stream: the next write looks where it stands.
    pub(crate) fn forget(&mut self) {
        self.writer = None;
    }

    /// Signs what no signature covers, where the stream has rested long enough. Gives the signature.
    pub(crate) fn sign(&mut self, ledger: &Ledger, rest: Duration) -> Vec<Written> {
        let due = self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.unsigned() > 0 && self.written.elapsed() >= rest);
        if !due {
            return Vec::new();
        }
        let local = Principal::local();
        let signed = self.write(ledger, &local, |writer| {
            Ok(writer.sign().into_iter().collect())
        });
        signed.unwrap_or_else(|error| {
            // The run was sealed, which signs as well, or the ledger is closing.
            tracing::debug!(?error, "a stream at rest was not signed");
            Vec::new()
        })
    }

    /// Where the stream stands: a new one, the same one, or the next after one of an older key.
    fn take_up(&mut self, ledger: &Ledger) -> Result<StreamWriter, Problem> {
        let key = ledger.operator_key();
        let mut before: Option<StreamHead> = None;
        self.before = 0;
        for number in 1..=MAX_STREAMS {
            let stream = numbered(self.base, number)?;
            let (clock, entropy) = (ledger.clock(), ledger.entropy());
            match ledger.stream_head(self.scope, stream)? {
                Some(head) if head.key == PublicKey::from(&key) => {
                    let (next, at) = (head.next_seq, head.head);
                    let writer =
                        StreamWriter::resume(self.scope, stream, key, next, at, clock, entropy);
                    return Ok(writer.with_unsigned(head.unsigned));
                }
                Some(head) => {
                    self.before += head.next_seq;
                    before = Some(head);
                }
                None => {
                    let producer = producer(self.producer)?;
                    let writer =
                        StreamWriter::open(self.scope, stream, producer, key, clock, entropy)
                            .software(SOFTWARE);
                    return Ok(match before {
                        None => writer,
                        Some(before) => {
                            let last = before.next_seq.saturating_sub(1);
                            writer.continues(before.stream, last, before.head)
                        }
                    });
                }
            }
        }
        Err(Problem::unprocessable(
            "bad-stream",
            format!("{} has {MAX_STREAMS} streams already", self.base),
        ))
    }
}

/// Waits until what has an index can be read.
///
/// # Errors
/// It takes too long.
pub(crate) fn published(ledger: &Ledger) -> Result<(), Problem> {
    if ledger.wait_published(ledger.status().sequenced, PUBLISHED_WAIT) {
        return Ok(());
    }
    Err(Problem::unavailable(
        "not-published",
        "what was recorded is not published yet, and cannot be read before; send this again",
        2,
    ))
}

/// The values that a record sealed; those that were erased are left out.
///
/// # Errors
/// [`LedgerError::NotPublished`], or a file or key cannot be read.
pub(crate) fn opened(ledger: &Ledger, index: u64) -> Result<Opened, LedgerError> {
    let mut opened = Vec::new();
    for field in ledger.openings(index)? {
        if let SealedState::Opened { value, .. } = field.state
            && let Ok(value) = serde_json::from_slice(&value)
        {
            opened.push((field.field, value));
        }
    }
    Ok(opened)
}

/// How many records the stream `base` and those after it have.
///
/// # Errors
/// The index cannot be read.
pub(crate) fn length(ledger: &Ledger, scope: Scope, base: StreamName) -> Result<u64, Problem> {
    let mut records = 0;
    for number in 1..=MAX_STREAMS {
        match ledger.stream_head(scope, numbered(base, number)?)? {
            Some(head) => records += head.next_seq,
            None => break,
        }
    }
    Ok(records)
}

/// Whether a stream is `base` or one that goes on after it.
pub(crate) fn is_of(stream: StreamName, base: StreamName) -> bool {
    let rest = stream.as_str().strip_prefix(base.as_str());
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('.').is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    })
}

/// Writes drafts one after the other.
///
/// # Errors
/// One of them is no record of its kind.
pub(crate) fn all(
    writer: &mut StreamWriter,
    drafts: impl IntoIterator<Item = Draft>,
) -> Result<Vec<Submission>, Problem> {
    let mut out = Vec::new();
    for draft in drafts {
        out.extend(writer.write(draft).map_err(|error| unwritten(&error))?);
    }
    Ok(out)
}

/// 422, with what the record cannot hold.
pub(crate) fn unwritten(error: &WriteError) -> Problem {
    Problem::unprocessable("bad-object", error.to_string())
}

pub(crate) fn producer(name: &str) -> Result<ProducerName, Problem> {
    ProducerName::parse(name).ok_or_else(|| {
        Problem::unprocessable("bad-object", format!("`{name}` is no producer's name"))
    })
}

fn numbered(base: StreamName, number: u32) -> Result<StreamName, Problem> {
    if number == 1 {
        return Ok(base);
    }
    let name = format!("{base}.{number}");
    StreamName::parse(&name).ok_or_else(|| {
        Problem::unprocessable("bad-stream", format!("`{name}` is no stream's name"))
    })
}

fn is_moved(code: AppendCode) -> bool {
    matches!(
        code,
        AppendCode::Conflict | AppendCode::SeqGap | AppendCode::WrongPrev | AppendCode::BadStream
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_goes_on_after_another_is_told_from_any_other() {
        let name = |text: &str| StreamName::parse(text).unwrap();
        let base = name("hook-studio");
        for (stream, expected) in [
            ("hook-studio", true),
            ("hook-studio.2", true),
            ("hook-studio.12", true),
            ("hook-studio.", false),
            ("hook-studio.x", false),
            ("hook-studio-2", false),
            ("hook-stud", false),
        ] {
            assert_eq!(is_of(name(stream), base), expected, "{stream}");
        }
    }
}
