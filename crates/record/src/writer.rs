//! Writing a stream: gives drafts their place in the chain, opens the stream, signs it when due.
//!
//! A writer keeps nothing on disk and sends nothing. Whoever has one stores or sends what comes out
//! before writing on: after a crash the stream is taken up with [`StreamWriter::resume`].

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};

use crate::canonical::write_string;
use crate::chain::{seal_text, stream_text};
use crate::draft::{Attachment, Draft};
use crate::encoding::base64;
use crate::error::RecordError;
use crate::hash::{PublicKey, RecordHash, SignatureBytes};
use crate::ids::{ProducerName, Scope, StreamName};
use crate::kinds::{
    Continues, KeyPurpose, KeyRotated, Kind, RunSealed, RunStatus, StreamEnd, StreamOpened,
    StreamSigned,
};
use crate::record::Record;
use crate::sealed::{CommitmentKey, Opening, OpeningError, commit};
use crate::submission::Submission;
use crate::time::{Clock, Entropy, Timestamp};
use crate::{Hash, MAX_INTEGER};

/// A signature is due once so many records wait for one.
pub const SIGN_AFTER_RECORDS: u64 = 1_000;

/// A signature is due so many microseconds after the first record that waits for one, as soon as
/// another is written.
pub const SIGN_AFTER_MICROS: i64 = 1_000_000;

/// Builds the records of one stream, each chained to the one before.
pub struct StreamWriter {
    scope: Scope,
    stream: StreamName,
    key: SigningKey,
    /// What signs after the `key.rotated` that names it.
    next_key: Option<SigningKey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// What `stream.opened` will say, until it has been written.
    opening: Option<StreamOpened>,
    next_seq: u64,
    head: Option<Hash>,
    unsigned: u64,
    first_unsigned: Timestamp,
}

/// A draft that was checked once and is written again and again, each time as another record: nothing in what is left to
/// fill in can make it wrong. For loads, and for whoever repeats itself.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The record up to its kind.
    begun: Vec<u8>,
    version: u16,
}

/// Where a stream stood: what [`StreamWriter::rewind`] goes back to.
#[derive(Clone, Debug)]
pub struct Mark {
    opening: Option<StreamOpened>,
    next_seq: u64,
    head: Option<Hash>,
    unsigned: u64,
    first_unsigned: Timestamp,
}

/// Why a draft cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It would be no record of its kind.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A value that cannot be sealed.
    #[error("sealed.{field}: {error}")]
    Sealed {
        /// The field.
        field: String,
        /// Why.
        error: OpeningError,
    },
    /// A draft that is to be written again and again seals something.
    #[error("sealed.{0} cannot be prepared: each record has commitments of its own")]
    NotRepeated(String),
    /// A field or attachment stands twice in the draft.
    #[error("{0} is given twice")]
    Twice(String),
    /// Kinds that only the writer itself may write.
    #[error("{0} is written by the stream writer itself, not as a draft")]
    OwnKind(Kind),
    /// Nothing comes after the last seq, or after a seal.
    #[error("the stream {0} has ended; open another")]
    Ended(StreamName),
}

impl StreamWriter {
    /// A new stream. Its `stream.opened` comes out with the first record.
    pub fn open(
        scope: Scope,
        stream: StreamName,
        producer: ProducerName,
        key: SigningKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let opening = StreamOpened::new(PublicKey::from(&key), producer);
        Self {
            scope,
            stream,
            key,
            next_key: None,
            clock,
            entropy,
            opening: Some(opening),
            next_seq: 0,
            head: None,
            unsigned: 0,
            first_unsigned: Timestamp(0),
        }
    }

    /// Goes on with a stream whose last record is `head` at `next_seq - 1`; with `next_seq` 0 the
    /// result is no stream anybody accepts. One record counts as unsigned: see
    /// [`StreamWriter::with_unsigned`].
    pub fn resume(
        scope: Scope,
        stream: StreamName,
        key: SigningKey,
        next_seq: u64,
        head: Hash,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let first_unsigned = clock.now();
        Self {
            scope,
            stream,
            key,
            next_key: None,
            clock,
            entropy,
            opening: None,
            next_seq,
            head: Some(head),
            unsigned: 1,
            first_unsigned,
        }
    }

    /// Says how many records at the end of a stream that is taken up no signature covers. With 0
    /// nothing is signed before something is written.
    #[must_use]
    pub fn with_unsigned(mut self, records: u64) -> Self {
        self.unsigned = records;
        self
    }

    /// Gives the key that is to follow: it signs once the `key.rotated` that names it as the
    /// operator's is written. Only the server's own stream changes its key.
    #[must_use]
    pub fn succeeded_by(mut self, next: SigningKey) -> Self {
        self.next_key = Some(next);
        self
    }

    /// Says which software builds the stream. Only before the first record.
    #[must_use]
    pub fn software(mut self, software: &str) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.software = Some(software.to_owned());
        }
        self
    }

    /// Says which abandoned stream this one goes on from. Only before the first record.
    #[must_use]
    pub fn continues(mut self, stream: StreamName, seq: u64, head: Hash) -> Self {
        if let Some(opening) = &mut self.opening {
            opening.continues = Some(Continues::new(stream, seq, head.into()));
        }
        self
    }

    /// The scope of the stream.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The name of the stream.
    pub fn stream(&self) -> StreamName {
        self.stream
    }

    /// The public key that the stream is signed with.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from(&self.key)
    }

    /// The seq of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The leaf hash of the last record, `None` before the first.
    pub fn head(&self) -> Option<Hash> {
        self.head
    }

    /// How many records wait for a signature.
    pub fn unsigned(&self) -> u64 {
        self.unsigned
    }

    /// Where the stream stands.
    pub fn mark(&self) -> Mark {
        Mark {
            opening: self.opening.clone(),
            next_seq: self.next_seq,
            head: self.head,
            unsigned: self.unsigned,
            first_unsigned: self.first_unsigned,
        }
    }

    /// Takes back what was written since `mark`, a seal too: for whoever could not keep it. What was shown to
    /// anybody must not be taken back. A change of keys stays.
    pub fn rewind(&mut self, mark: Mark) {
        self.opening = mark.opening;
        self.next_seq = mark.next_seq;
        self.head = mark.head;
        self.unsigned = mark.unsigned;
        self.first_unsigned = mark.first_unsigned;
    }

    /// Writes a record, with `stream.opened` before it where it is the first and `stream.signed`
    /// after it where that is due. If it fails the stream is as it was.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: the draft is not of its kind's shape, too large, cannot be sealed or is of a
    /// kind that belongs to the writer.
    pub fn write(&mut self, draft: Draft) -> Result<Vec<Submission>, WriteError> {
        if matches!(
            draft.kind,
            Kind::StreamOpened | Kind::StreamSigned | Kind::RunSealed
        ) {
            return Err(WriteError::OwnKind(draft.kind));
        }
        let hands_over = self.hands_over(&draft)?;
        let before = self.mark();
        let written = if hands_over {
            self.hand_over(draft)
        } else {
            self.write_all(draft)
        };
        if written.is_err() {
            self.rewind(before);
        }
        written
    }

    /// Whether this changes the stream's key.
    fn hands_over(&self, draft: &Draft) -> Result<bool, WriteError> {
        if draft.kind != Kind::KeyRotated {
            return Ok(false);
        }
        // A body that cannot be read is refused when it is written.
        let Ok(body) = serde_json::from_slice::<KeyRotated>(&draft.body) else {
            return Ok(false);
        };
        let next = self.next_key.as_ref().map(PublicKey::from);
        if body.purpose != KeyPurpose::Operator {
            Ok(false)
        } else if next == Some(body.new) && body.old == self.public_key() {
            Ok(true)
        } else {
            Err(WriteError::OwnKind(draft.kind))
        }
    }

    /// Everything before it is signed by the old key, it and everything after by the new one.
    fn hand_over(&mut self, draft: Draft) -> Result<Vec<Submission>, WriteError> {
        let mut out = Vec::with_capacity(4);
        if let Some(opening) = self.opening.take() {
            out.push(self.append(Draft::new(opening))?);
        }
        out.extend(self.sign());
        out.push(self.append(draft)?);
        self.key = self.next_key.take().unwrap_or_else(|| self.key.clone());
        out.extend(self.sign());
        Ok(out)
    }

    fn write_all(&mut self, draft: Draft) -> Result<Vec<Submission>, WriteError> {
        let mut out = Vec::with_capacity(2);
        if let Some(opening) = self.opening.take() {
            out.push(self.append(Draft::new(opening))?);
        }
        let late = self.is_late(self.clock.now());
        out.push(self.append(draft)?);
        if late || self.unsigned >= SIGN_AFTER_RECORDS {
            out.extend(self.sign());
        }
        Ok(out)
    }

    /// Signs what is unsigned: on flush and on close. `None` where nothing is.
    pub fn sign(&mut self) -> Option<Submission> {
        if self.unsigned == 0 {
            return None;
        }
        let prev = self.head?;
        let text = stream_text(&self.scope, &self.stream, self.next_seq, &prev);
        let signature = SignatureBytes(self.key.sign(text.as_bytes()).to_bytes());
        let signed = self.append(Draft::new(StreamSigned::new(signature))).ok()?;
        self.unsigned = 0;
        Some(signed)
    }

    /// Seals the run: `streams` are the ends of all its other streams. Only the run's owner may;
    /// this stream's own end is put in between. Nothing can be written afterwards.
    ///
    /// # Errors
    ///
    /// [`WriteError::Record`] for more streams than a record holds, [`WriteError::Twice`] for a
    /// stream given twice, [`WriteError::Ended`] before the first record.
    pub fn seal(
        &mut self,
        status: RunStatus,
        streams: Vec<StreamEnd>,
    ) -> Result<Submission, WriteError> {
        let (Some(prev), Some(last)) = (self.head, self.next_seq.checked_sub(1)) else {
            return Err(WriteError::Ended(self.stream));
        };
        let mut streams = streams;
        streams.push(StreamEnd::new(self.stream, last, RecordHash::from(prev)));
        streams.sort_by_key(|end| end.stream);
        if let Some([twice, _]) = streams.array_windows().find(|[a, b]| a.stream == b.stream) {
            return Err(WriteError::Twice(format!("the stream {}", twice.stream)));
        }
        let text = seal_text(
            &self.scope,
            &self.stream,
            self.next_seq,
            &prev,
            status,
            &streams,
        );
        let signature = SignatureBytes(self.key.sign(text.as_bytes()).to_bytes());
        let sealed = self.append(Draft::new(RunSealed::new(status, streams, signature)))?;
        self.next_seq = MAX_INTEGER + 1;
        Ok(sealed)
    }

    /// Checks a draft for a stream such as this, to be written any number of times: see [`Prepared`].
    ///
    /// # Errors
    ///
    /// As [`StreamWriter::write`]; and [`WriteError::NotRepeated`] where the draft seals anything.
    pub fn prepare(&self, draft: Draft) -> Result<Prepared, WriteError> {
        if !draft.kind.is_ordinary() {
            return Err(WriteError::OwnKind(draft.kind));
        }
        if let Some((field, _)) = draft.sealed.first() {
            return Err(WriteError::NotRepeated(field.clone()));
        }
        // At the largest that the rest of a record can be.
        let mut scratch = Self {
            next_seq: MAX_INTEGER,
            head: Some(Hash::default()),
            entropy: Arc::clone(&self.entropy),
            clock: Arc::clone(&self.clock),
            key: self.key.clone(),
            next_key: None,
            opening: None,
            ..*self
        };
        let version = draft.kind.version_for(&draft.body, &[]);
        let mut begun = Vec::new();
        begin(
            &mut begun,
            draft.attachments.clone(),
            &draft.body,
            draft.kind,
        );
        scratch.append(draft)?;
        Ok(Prepared { begun, version })
    }

    /// As [`StreamWriter::write`], at the writer's time.
    ///
    /// # Errors
    ///
    /// [`WriteError::Ended`].
    pub fn write_prepared(&mut self, prepared: &Prepared) -> Result<Vec<Submission>, WriteError> {
        let mut out = Vec::with_capacity(2);
        if let Some(opening) = self.opening.take() {
            out.push(self.append(Draft::new(opening))?);
        }
        if self.next_seq > MAX_INTEGER {
            return Err(WriteError::Ended(self.stream));
        }
        let now = self.clock.now();
        let late = self.is_late(now);
        let mut record = Vec::with_capacity(256 + prepared.begun.len());
        record.extend_from_slice(&prepared.begun);
        self.place(&mut record);
        self.end(&mut record, now, prepared.version);
        self.advance(&record);
        out.push(Submission::new(record));
        if late || self.unsigned >= SIGN_AFTER_RECORDS {
            out.extend(self.sign());
        }
        Ok(out)
    }

    /// A signature is overdue.
    fn is_late(&self, now: Timestamp) -> bool {
        let waited = now.0.saturating_sub(self.first_unsigned.0);
        self.unsigned > 0 && waited >= SIGN_AFTER_MICROS
    }

    /// Puts the envelope around a draft and checks the result as everybody else will.
    fn append(&mut self, draft: Draft) -> Result<Submission, WriteError> {
        if self.next_seq > MAX_INTEGER {
            return Err(WriteError::Ended(self.stream));
        }
        let time = draft.time.unwrap_or_else(|| self.clock.now());
        let mut openings = self.openings(&draft)?;
        openings.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some([(field, _), _]) = openings.array_windows().find(|[a, b]| a.0 == b.0) {
            return Err(WriteError::Twice(format!("sealed.{field}")));
        }
        let record = self.envelope(draft, &openings, time);
        Record::parse(&record)?;
        self.advance(&record);
        Ok(Submission { record, openings })
    }

    /// Goes on behind a record.
    fn advance(&mut self, record: &[u8]) {
        if self.unsigned == 0 {
            self.first_unsigned = self.clock.now();
        }
        self.unsigned += 1;
        self.next_seq += 1;
        self.head = Some(tlog::leaf_hash(record));
    }

    fn openings(&self, draft: &Draft) -> Result<Vec<(String, Opening)>, WriteError> {
        let open = |(field, seal): &(String, crate::draft::Seal)| match &seal.value {
            Ok(value) => {
                let key = CommitmentKey::generate(&*self.entropy);
                Ok((
                    field.clone(),
                    Opening {
                        key,
                        subject: seal.subject,
                        value: value.clone(),
                    },
                ))
            }
            Err(error) => Err(WriteError::Sealed {
                field: field.clone(),
                error: error.clone(),
            }),
        };
        draft.sealed.iter().map(open).collect()
    }

    /// The members of a record in canonical order.
    fn envelope(&self, draft: Draft, openings: &[(String, Opening)], time: Timestamp) -> Vec<u8> {
        let fields: Vec<&str> = openings.iter().map(|(field, _)| field.as_str()).collect();
        let version = draft.kind.version_for(&draft.body, &fields);
        let mut out = Vec::with_capacity(512 + draft.body.len());
        begin(&mut out, draft.attachments, &draft.body, draft.kind);
        self.place(&mut out);
        for (at, (field, opening)) in openings.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b",\"sealed\":{" } else { b"," });
            write_string(&mut out, field);
            let commitment = commit(&opening.key, field, &opening.value);
            out.extend_from_slice(format!(":\"{commitment}\"").as_bytes());
        }
        if !openings.is_empty() {
            out.push(b'}');
        }
        self.end(&mut out, time, version);
        out
    }

    /// The members `prev` and `run`.
    fn place(&self, out: &mut Vec<u8>) {
        if let Some(prev) = &self.head {
            text(out, "prev", &base64(prev.as_bytes()));
        }
        text(out, "run", self.scope.as_str());
    }

    /// The members from `seq` on.
    fn end(&self, out: &mut Vec<u8>, time: Timestamp, version: u16) {
        let (seq, stream) = (self.next_seq, &self.stream);
        // A text never fails to be written to.
        let _ = write!(
            out,
            ",\"seq\":{seq},\"stream\":\"{stream}\",\"time\":\"{time}\",\"v\":{version}}}"
        );
    }
}

/// The members up to `kind`.
fn begin(out: &mut Vec<u8>, attachments: Vec<(String, Attachment)>, body: &[u8], kind: Kind) {
    out.push(b'{');
    if !attachments.is_empty() {
        let attachments: BTreeMap<_, _> = attachments.into_iter().collect();
        out.extend_from_slice(b"\"attachments\":");
        out.extend(crate::canonical::to_vec(&attachments).unwrap_or_default());
        out.push(b',');
    }
    out.extend_from_slice(b"\"body\":");
    out.extend_from_slice(body);
    text(out, "kind", kind.name());
}

/// A member whose value needs no escapes.
fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [",\"", name, "\":\"", value, "\""] {
        out.extend_from_slice(part.as_bytes());
    }
}

impl std::fmt::Debug for StreamWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamWriter")
            .field("scope", &self.scope)
            .field("stream", &self.stream)
            .field("next_seq", &self.next_seq)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
