//! Taking a stream over whose process is dead, from what it left in the stream's directory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use record::{Hash, Record, Scope, StreamName, StreamWriter, Submission};

use super::batch::{Sort, is_seal};
use super::core::Core;
use super::dir::{Lock, remove, stream_of};
use super::error::SpoolError;
use super::frame::HEADER_BYTES;
use super::outgoing::{self, Ending, Origin, Outgoing, State};
use super::queue::{Progress, Queue};
use super::sealing::{self, SealWritten};
use super::segments::{self, Frames, Segment, take_over};
use super::status::{Incident, IncidentKind};
use super::tail::Tail;
use crate::types::Receipt;

/// Loads the stream in a directory whose lock is held. With this spool's key, and undamaged, it can be written to.
pub(super) fn load(core: &Core, dir: PathBuf, lock: Lock) -> Result<Arc<Outgoing>, SpoolError> {
    let (scope, name) = stream_of(&dir).ok_or_else(|| SpoolError::Name {
        found: dir.display().to_string(),
    })?;
    let kept = Progress::read(&dir)?;
    let reached = kept.map_or(0, |progress| progress.next_seq);
    let mut left = take_over(&dir, reached)?;
    if left.next_seq < reached {
        // After a loss of power less may be here than the server has.
        for segment in left.segments.drain(..) {
            remove(&segments::path(&dir, segment.first_seq))?;
        }
        left.next_seq = reached;
        left.damaged = None;
    }
    // What is deleted was acknowledged.
    let first = left.segments.front().map(|segment| segment.first_seq);
    let acked = reached.max(first.unwrap_or(left.next_seq));
    let end = End::of(&dir, &left.segments, left.next_seq, kept)?;
    let ours = match outgoing::meta(&dir) {
        Ok(meta) => meta.is_some_and(|meta| meta.key == core.public_key()),
        Err(SpoolError::Damaged { .. }) => false,
        Err(error) => return Err(error),
    };
    let writer = match &end {
        Some(end) if ours && left.damaged.is_none() => Some(writer(core, (scope, name), end)),
        _ => None,
    };
    let mut state = match (&writer, sealing::seal_wish(&dir)) {
        (Some(_), Ok(Some(wish))) => State::Sealing {
            status: wish.status,
            written: None,
        },
        _ => State::Open,
    };
    if let Some(End {
        seal: Some(written),
        ..
    }) = end
    {
        state = match (state, kept) {
            (_, Some(kept)) if kept.next_seq > written.seq => {
                State::Ended(Ending::Sealed(receipt(&kept)))
            }
            (State::Sealing { status, .. }, _) => State::Sealing {
                status,
                written: Some(written),
            },
            // Not ours to seal again.
            _ => State::Ended(Ending::Closed(
                "it ends with the seal of its run".to_owned(),
            )),
        };
    }
    let tail = Tail::new(
        dir.clone(),
        left.segments.back().copied(),
        core.options.durability,
        core.segment_bytes,
    )?;
    let queue = Queue::new(left.segments, left.next_seq, acked, kept);
    core.room.force(queue.waiting_bytes);
    let origin = Origin::Left {
        damaged: left.damaged.is_some(),
    };
    let parts = (writer, tail, queue, state);
    let stream = Outgoing::new((scope, name, dir), lock, origin, parts);
    if let Some(error) = &left.damaged {
        core.incident(damaged(&stream, error));
    }
    Ok(stream)
}

fn writer(core: &Core, (scope, name): (Scope, StreamName), end: &End) -> StreamWriter {
    match end.head {
        Some(head) => outgoing::resume((scope, name), core, end.next_seq, head, end.unsigned),
        None => StreamWriter::open(
            scope,
            name,
            core.options.producer.clone(),
            core.key.clone(),
            Arc::clone(&core.options.clock),
            Arc::clone(&core.options.entropy),
        ),
    }
}

/// That of the last record that was acknowledged.
fn receipt(kept: &Progress) -> Receipt {
    Receipt {
        index: kept.index,
        leaf_hash: kept.head,
        duplicate: false,
        proof: None,
    }
}

/// Where a stream ends.
struct End {
    next_seq: u64,
    head: Option<Hash>,
    unsigned: u64,
    /// Its last record is the seal of its run.
    seal: Option<SealWritten>,
}

impl End {
    /// `None` where that cannot be told from what is left.
    fn of(
        dir: &Path,
        segments: &VecDeque<Segment>,
        next_seq: u64,
        kept: Option<Progress>,
    ) -> Result<Option<Self>, SpoolError> {
        let (mut unsigned, mut last) = (0, None);
        // Back to the last signature.
        for (at, segment) in segments.iter().enumerate().rev() {
            let found = Scan::of(dir, *segment)?;
            // The last segment may have its name alone.
            last = last.or(found.last);
            unsigned += found.unsigned;
            if found.signed {
                break;
            }
            if at == 0 {
                // What came before is gone, and was acknowledged.
                let before = kept.filter(|kept| kept.next_seq == segment.first_seq);
                unsigned += before.map_or(0, |kept| kept.unsigned);
            }
        }
        let Some(last) = last else {
            let end = match kept {
                Some(kept) => Some(Self {
                    next_seq,
                    head: Some(kept.head.into()),
                    unsigned: kept.unsigned,
                    seal: None,
                }),
                None => (next_seq == 0).then_some(Self {
                    next_seq,
                    head: None,
                    unsigned: 0,
                    seal: None,
                }),
            };
            return Ok(end);
        };
        let line = last.line.strip_suffix(b"\n").unwrap_or(&last.line);
        let record = Submission::parse_line(line).map(|submission| submission.record);
        let Ok(record) = record else {
            return Ok(None);
        };
        let seq = Record::parse(record).map(|record| record.seq());
        Ok(Some(Self {
            next_seq,
            head: Some(record::leaf_hash(record)),
            unsigned,
            seal: match seq {
                Ok(seq) if is_seal(line) => Some(SealWritten {
                    seq,
                    offset: last.offset,
                    payload_bytes: last.line.len() as u64,
                }),
                _ => None,
            },
        }))
    }
}

/// What the lines of a segment are to its signatures.
#[derive(Default)]
struct Scan {
    unsigned: u64,
    signed: bool,
    last: Option<LastFrame>,
}

struct LastFrame {
    line: Vec<u8>,
    offset: u64,
}

impl Scan {
    fn of(dir: &Path, segment: Segment) -> Result<Self, SpoolError> {
        let path = segments::path(dir, segment.first_seq);
        let mut frames = Frames::open(&path, segment.first_seq, segment.bytes)?;
        let mut scan = Self::default();
        let mut offset = 0;
        while let Some(frame) = frames.next()? {
            for line in frame.payload.split_inclusive(|byte| *byte == b'\n') {
                match Sort::of(line) {
                    Sort::Signs => (scan.unsigned, scan.signed) = (0, true),
                    Sort::Other => scan.unsigned += 1,
                }
            }
            let line = frame
                .payload
                .split_inclusive(|byte| *byte == b'\n')
                .next_back();
            let line = line.unwrap_or_default().to_vec();
            let bytes = (HEADER_BYTES + frame.payload.len()) as u64;
            scan.last = Some(LastFrame { line, offset });
            offset += bytes;
        }
        Ok(scan)
    }
}

/// A damaged stream, as it is told of.
pub(super) fn damaged(stream: &Outgoing, error: &SpoolError) -> Incident {
    Incident {
        what: IncidentKind::Damaged,
        detail: format!("stream {}: {error}", stream.title()),
        kept: stream.dir.clone(),
    }
}
