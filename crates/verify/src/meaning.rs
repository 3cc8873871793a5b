//! What one batch of records says, taken out of their bytes in parallel: whether each fits its
//! schema, and the little that the ordered part needs of it.
//!
//! Records that only continue their stream become a [`Link`] of fixed size; the few that begin, sign
//! or seal something keep their bytes.

use std::collections::BTreeMap;

use record::{Kind, Record, RecordError, Scope, StreamName};
use tlog::Hash;

use crate::attached::NamedAttachment;
use crate::report::{Check, Failure};

/// One record's place in its stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) index: u64,
    /// Which of the batch's streams.
    pub(crate) stream: u16,
    pub(crate) seq: u64,
    pub(crate) prev: Option<Hash>,
    pub(crate) leaf: Hash,
    /// The leaf the tree holds for it, where that is not the same: its successor may name either.
    pub(crate) other: Option<Hash>,
    /// Where in the batch's `kept` its bytes are.
    pub(crate) kept: Option<u16>,
}

/// A commitment to be opened.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) at: u16,
    pub(crate) field: String,
    pub(crate) commitment: record::Commitment,
}

/// What is kept of records besides what is always needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Commitments, to be opened.
    pub(crate) commitments: bool,
    /// Records of saved models.
    pub(crate) models: bool,
}

/// What a batch of records says.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    pub(crate) streams: Vec<(Scope, StreamName)>,
    pub(crate) links: Vec<Link>,
    pub(crate) kept: Vec<Vec<u8>>,
    /// Leaf hashes of records that cannot be read: their successors are not to blame.
    pub(crate) lost: Vec<Hash>,
    pub(crate) records: u64,
    pub(crate) commitments: u64,
    pub(crate) opened: u64,
    pub(crate) erased: u64,
    pub(crate) unknown: BTreeMap<String, u64>,
    pub(crate) failures: Vec<Failure>,
    /// Attachments that the records name.
    pub(crate) attachments: Vec<NamedAttachment>,
    /// `model.checkpoint` records with their indices, where they are asked for.
    pub(crate) models: Vec<(u64, Vec<u8>)>,
    /// Commitments of the batch, where they are to be opened.
    pub(crate) sealed: Vec<Sealed>,
}

impl Meaning {
    /// Reads one record, the `at`-th of the batch.
    pub(crate) fn read(
        &mut self,
        at: u16,
        index: u64,
        bytes: &[u8],
        leaf: Hash,
        other: Option<Hash>,
        wanted: Wanted,
    ) {
        let record = match Record::parse(bytes) {
            Ok(record) => record,
            Err(error) => return self.unread(index, bytes, leaf, other, &error),
        };
        self.records += 1;
        let keep = matches!(
            record.kind(),
            Some(
                Kind::StreamOpened
                    | Kind::StreamSigned
                    | Kind::RunStarted
                    | Kind::RunSealed
                    | Kind::DocumentIssued
                    | Kind::AccessRead
                    | Kind::AccessChanged
                    | Kind::ProducerEnrolled
                    | Kind::KeyRotated
                    | Kind::LedgerContinued
                    | Kind::LedgerClosed
            )
        );
        let kept = keep.then(|| {
            self.kept.push(bytes.to_vec());
            (self.kept.len() - 1) as u16
        });
        if wanted.models && record.is(Kind::ModelCheckpoint) {
            self.models.push((index, bytes.to_vec()));
        }
        if record.has_attachments() {
            let named = record
                .attachments()
                .map(|(_, bytes, sha256)| NamedAttachment {
                    index,
                    bytes,
                    sha256,
                });
            self.attachments.extend(named);
        }
        for (field, commitment) in record.sealed() {
            self.commitments += 1;
            if wanted.commitments {
                self.sealed.push(Sealed {
                    at,
                    field: field.to_owned(),
                    commitment,
                });
            }
        }
        self.link(index, &record, leaf, other, kept);
    }

    fn link(
        &mut self,
        index: u64,
        record: &Record<'_>,
        leaf: Hash,
        other: Option<Hash>,
        kept: Option<u16>,
    ) {
        let name = (record.scope(), *record.stream());
        // The stream of the record before is the likely one; a batch has few.
        let known = self
            .links
            .last()
            .map(|link| link.stream)
            .filter(|stream| self.streams[usize::from(*stream)] == name)
            .or_else(|| {
                self.streams
                    .iter()
                    .position(|known| *known == name)
                    .map(|at| at as u16)
            });
        let stream = known.unwrap_or_else(|| {
            self.streams.push(name);
            (self.streams.len() - 1) as u16
        });
        self.links.push(Link {
            index,
            stream,
            seq: record.seq(),
            prev: record.prev(),
            leaf,
            other,
            kept,
        });
    }

    /// A record that does not parse under a schema: of unknown kind (counted), or wrong.
    #[cold]
    fn unread(
        &mut self,
        index: u64,
        bytes: &[u8],
        leaf: Hash,
        other: Option<Hash>,
        error: &RecordError,
    ) {
        let envelope = Record::parse_envelope(bytes).ok();
        let unknown = match error {
            RecordError::UnknownKind { kind } => Some(kind.clone()),
            RecordError::UnknownVersion { kind, version, .. } => Some(format!("{kind} v{version}")),
            _ => None,
        };
        if let (Some(name), Some(_)) = (unknown, &envelope) {
            *self.unknown.entry(name).or_default() += 1;
        } else {
            let expected = "a canonical record that fits the schema of its kind";
            let failure = Failure::new(Check::Record, expected, error.to_string());
            self.failures.push(locate(failure.at(index), bytes));
        }
        match &envelope {
            Some(record) => self.link(index, record, leaf, other, None),
            None => self.lost.extend([Some(leaf), other].into_iter().flatten()),
        }
    }
}

/// Says which run, stream and seq a failure is about, as far as the bytes can still be read: where
/// they are wrong, somebody has to be told where to look.
#[cold]
pub(crate) fn locate(mut failure: Failure, bytes: &[u8]) -> Failure {
    #[derive(serde::Deserialize)]
    struct Place {
        run: String,
        stream: String,
        seq: u64,
    }
    if let Ok(record) = Record::parse_envelope(bytes) {
        return failure
            .of(record.scope().as_str(), record.stream().as_str())
            .seq(record.seq());
    }
    if let Ok(place) = serde_json::from_slice::<Place>(bytes) {
        return failure.of(&place.run, &place.stream).seq(place.seq);
    }
    // Not even JSON: the members of the envelope that follow the body are the last of their name.
    let text = String::from_utf8_lossy(bytes);
    let member = |name: &str| {
        let value = &text[text.rfind(&format!("\"{name}\":"))? + name.len() + 3..];
        let value = value.strip_prefix('"').unwrap_or(value);
        let end = value.find(['"', ',', '}']).unwrap_or(value.len());
        Some(value[..end].to_owned())
    };
    let printable = |text: &String| text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic());
    failure.run = member("run").filter(printable);
    failure.stream = member("stream").filter(printable);
    failure.seq = member("seq").and_then(|seq| seq.parse().ok());
    failure
}
