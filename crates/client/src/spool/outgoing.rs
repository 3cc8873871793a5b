//! One stream on its way: written to its directory by the callers' threads, read from there by the sender.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use record::kinds::{Continues, RunStatus};
use record::{Draft, Hash, PublicKey, RecordHash, Scope, StreamName, StreamWriter, Submission};
use serde::{Deserialize, Serialize};

use super::core::{Core, lock};
use super::dir::{self, Lock, read_json};
use super::drafts::{needed, put};
use super::error::SpoolError;
use super::frame::Encoder;
use super::queue::Queue;
use super::sealing::SealWritten;
use super::segments;
use super::tail::Tail;
use crate::error::Problem;
use crate::types::{Receipt, StreamSummary};

const META: &str = "stream.json";

/// A stream of this process, or one of a dead process that is sent.
pub(super) struct Outgoing {
    pub(super) scope: Scope,
    pub(super) name: StreamName,
    pub(super) dir: PathBuf,
    /// Left by a dead process, and nobody has joined it since.
    adopted: AtomicBool,
    /// What stands behind its last good record is damaged.
    pub(super) damaged: bool,
    /// The server does not take it, and takes others.
    stuck: AtomicBool,
    writer: Mutex<Writer>,
    queue: Mutex<Queue>,
    /// Let go when the stream or the spool is.
    lock: Mutex<Option<Lock>>,
}

/// Where a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    New,
    /// A dead process has left it.
    Left {
        damaged: bool,
    },
}

/// The end that is written to.
pub(super) struct Writer {
    /// `None` where the stream has another's key, or its end is damaged.
    pub(super) stream: Option<StreamWriter>,
    pub(super) tail: Tail,
    pub(super) encoder: Encoder,
    unsigned_since: Option<Instant>,
    pub(super) state: State,
    /// Why the run was not sealed when it was last to be.
    pub(super) not_sealed: Option<Problem>,
}

/// Whether a stream takes drafts.
pub(super) enum State {
    Open,
    /// The run is to be sealed; `written` once `run.sealed` stands in the spool.
    Sealing {
        status: RunStatus,
        written: Option<SealWritten>,
    },
    /// The server refused it for good: what comes goes into another.
    Moved(Arc<Outgoing>),
    Ended(Ending),
}

/// How a stream ended.
#[derive(Clone)]
pub(super) enum Ending {
    /// With the seal of its run.
    Sealed(Receipt),
    /// Nothing more can be written.
    Closed(String),
}

/// What a stream's directory says of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) key: PublicKey,
}

impl Outgoing {
    /// A new stream, in a directory of its own; `None` where there is one of that name.
    pub(super) fn create(
        core: &Core,
        scope: Scope,
        name: StreamName,
        continues: Option<&Continues>,
    ) -> Result<Option<Arc<Self>>, SpoolError> {
        let dir = core.layout.stream(scope, name);
        if dir.exists() {
            return Ok(None);
        }
        // Made elsewhere and put there whole: whoever finds it finds it locked.
        let made = core.layout.temporary();
        dir::make_dir(&made)?;
        let meta = Meta {
            key: core.public_key(),
        };
        let prepared = core
            .layout
            .write_json(&made.join(META), &meta, true)
            .and_then(|()| Lock::take(&made));
        let renamed = prepared.and_then(|lock| match fs::rename(&made, &dir) {
            Ok(()) => Ok(lock),
            Err(error) if dir.exists() => {
                drop(error);
                Ok(None)
            }
            Err(error) => Err(SpoolError::disk("create", &dir)(error)),
        });
        let lock = match renamed {
            Ok(Some(lock)) => lock,
            other => {
                let _ = fs::remove_dir_all(&made);
                return other.map(|_| None);
            }
        };
        dir::sync_dir(&core.layout.streams())?;
        let mut stream = StreamWriter::open(
            scope,
            name,
            core.options.producer.clone(),
            core.key.clone(),
            Arc::clone(&core.options.clock),
            Arc::clone(&core.options.entropy),
        );
        if let Some(software) = &core.options.software {
            stream = stream.software(software);
        }
        if let Some(Continues {
            stream: before,
            seq,
            head,
        }) = continues
        {
            stream = stream.continues(*before, *seq, (*head).into());
        }
        let tail = Tail::new(
            dir.clone(),
            None,
            core.options.durability,
            core.segment_bytes,
        )?;
        let queue = Queue::new(VecDeque::new(), 0, 0, None);
        let parts = (Some(stream), tail, queue, State::Open);
        Ok(Some(Self::new(
            (scope, name, dir),
            lock,
            Origin::New,
            parts,
        )))
    }

    pub(super) fn new(
        (scope, name, dir): (Scope, StreamName, PathBuf),
        lock: Lock,
        origin: Origin,
        (stream, tail, queue, state): (Option<StreamWriter>, Tail, Queue, State),
    ) -> Arc<Self> {
        let unsigned = stream.as_ref().is_some_and(|stream| stream.unsigned() > 0);
        Arc::new(Self {
            scope,
            name,
            dir,
            adopted: AtomicBool::new(origin != Origin::New),
            damaged: origin == Origin::Left { damaged: true },
            stuck: AtomicBool::new(false),
            writer: Mutex::new(Writer {
                stream,
                tail,
                encoder: Encoder::default(),
                unsigned_since: unsigned.then(Instant::now),
                state,
                not_sealed: None,
            }),
            queue: Mutex::new(queue),
            lock: Mutex::new(Some(lock)),
        })
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }

    pub(super) fn is_adopted(&self) -> bool {
        self.adopted.load(Ordering::Acquire)
    }

    /// Somebody here writes it from now on.
    pub(super) fn join(&self) {
        self.adopted.store(false, Ordering::Release);
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    pub(super) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Release);
    }

    /// Another process may have it from now on.
    pub(super) fn release(&self) {
        let mut writer = self.writer();
        if !matches!(writer.state, State::Ended(_)) {
            let why = "the spool was closed; open it again and join the run".to_owned();
            writer.state = State::Ended(Ending::Closed(why));
        }
        writer.tail.let_go();
        lock(&self.lock).take();
    }

    /// Whether drafts can be written to it.
    pub(super) fn is_open(&self) -> bool {
        let writer = self.writer();
        matches!(writer.state, State::Open) && writer.stream.is_some()
    }

    /// As reports call it.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.scope, self.name)
    }

    /// Takes all of the drafts or none; or says in which stream they are to be written instead.
    pub(super) fn write(&self, core: &Core, drafts: Vec<Draft>) -> Result<Written, SpoolError> {
        let reserved = core.reserve(needed(&drafts)?)?;
        let mut guard = self.writer();
        let writer = &mut *guard;
        if let State::Moved(_) = &writer.state {
            return Ok(Written::Elsewhere(drafts));
        }
        let (State::Open, Some(stream)) = (&writer.state, &mut writer.stream) else {
            return Err(self.closed(&writer.state));
        };
        let mark = stream.mark();
        let first_seq = stream.next_seq();
        writer.encoder.begin(first_seq);
        let mut names = Vec::with_capacity(drafts.len());
        for (at, draft) in drafts.into_iter().enumerate() {
            match put(stream, &mut writer.encoder, draft) {
                Ok(name) => names.push(name),
                Err(source) => {
                    stream.rewind(mark);
                    return Err(SpoolError::Record { at, source });
                }
            }
        }
        let payload = writer.encoder.payload_bytes() as u64;
        match self.append(writer, first_seq) {
            Ok(news) => {
                reserved.keep(payload);
                drop(guard);
                if news {
                    core.bell.ring();
                }
                Ok(Written::Here(names))
            }
            Err(error) => {
                if let Some(stream) = &mut writer.stream {
                    stream.rewind(mark);
                }
                Err(error)
            }
        }
    }

    /// Writes the encoder's frame. Whether the sender is to be woken.
    fn append(&self, writer: &mut Writer, first_seq: u64) -> Result<bool, SpoolError> {
        let (records, bytes) = (writer.encoder.count(), writer.encoder.payload_bytes());
        let segment = writer.tail.append(writer.encoder.finish(), first_seq)?;
        writer.encoder.shrink();
        writer.unsigned_since = match &writer.stream {
            Some(stream) if stream.unsigned() > 0 => {
                writer.unsigned_since.or_else(|| Some(Instant::now()))
            }
            _ => None,
        };
        let mut queue = self.queue();
        let before = queue.waiting();
        queue.push(segment, records.into(), bytes as u64);
        let full = crate::recorder::MAX_BATCH_RECORDS as u64;
        Ok(before == 0 || (before < full && queue.waiting() >= full))
    }

    /// Signs the stream up to here, where its first unsigned record is so old.
    pub(super) fn sign(&self, core: &Core, age: Duration) -> Result<(), SpoolError> {
        let mut guard = self.writer();
        let writer = &mut *guard;
        let due = writer
            .unsigned_since
            .is_some_and(|since| since.elapsed() >= age);
        let (true, State::Open, Some(stream)) = (due, &writer.state, &mut writer.stream) else {
            return Ok(());
        };
        let mark = stream.mark();
        let first_seq = stream.next_seq();
        let Some(signed) = stream.sign() else {
            return Ok(());
        };
        let written = self.put_own(core, writer, first_seq, &signed);
        if let (Err(_), Some(stream)) = (&written, &mut writer.stream) {
            stream.rewind(mark);
            writer.unsigned_since = Some(Instant::now());
        }
        drop(guard);
        written.map(|_| core.bell.ring())
    }

    /// Goes on behind what the server has, which is more than what is here.
    pub(super) fn skip_to(&self, core: &Core, there: &StreamSummary) -> Result<(), SpoolError> {
        let mut writer = self.writer();
        let mut queue = self.queue();
        writer.tail.let_go();
        for segment in queue.segments.drain(..) {
            dir::remove(&segments::path(&self.dir, segment.first_seq))?;
        }
        let stream = self.resume(core, there.next_seq, there.head.into(), there.unsigned);
        writer.stream = Some(stream);
        core.room.give_back(queue.waiting_bytes);
        *queue = Queue::new(VecDeque::new(), there.next_seq, there.next_seq, None);
        Ok(())
    }

    /// Writes what the spool itself has to say, for which there is always room.
    pub(super) fn report(&self, core: &Core, draft: Draft) -> Result<RecordHash, SpoolError> {
        let mut guard = self.writer();
        let writer = &mut *guard;
        let (State::Open, Some(stream)) = (&writer.state, &mut writer.stream) else {
            return Err(self.closed(&writer.state));
        };
        let mark = stream.mark();
        let first_seq = stream.next_seq();
        writer.encoder.begin(first_seq);
        let written = put(stream, &mut writer.encoder, draft)
            .map_err(|source| SpoolError::Record { at: 0, source })
            .and_then(|name| {
                let bytes = writer.encoder.payload_bytes() as u64;
                self.append(writer, first_seq)?;
                core.room.force(bytes);
                Ok(name)
            });
        if let (Err(_), Some(stream)) = (&written, &mut writer.stream) {
            stream.rewind(mark);
        }
        drop(guard);
        core.bell.ring();
        written
    }

    /// One record of the stream's own, for which there is always room. Gives the bytes of its line.
    pub(super) fn put_own(
        &self,
        core: &Core,
        writer: &mut Writer,
        first_seq: u64,
        submission: &Submission,
    ) -> Result<u64, SpoolError> {
        writer.encoder.begin(first_seq);
        writer.encoder.push(submission);
        let bytes = writer.encoder.payload_bytes() as u64;
        self.append(writer, first_seq)?;
        core.room.force(bytes);
        Ok(bytes)
    }

    /// The writer of this stream from `next_seq` on.
    pub(super) fn resume(
        &self,
        core: &Core,
        next_seq: u64,
        head: Hash,
        unsigned: u64,
    ) -> StreamWriter {
        resume((self.scope, self.name), core, next_seq, head, unsigned)
    }

    /// Why nothing is taken.
    pub(super) fn closed(&self, state: &State) -> SpoolError {
        let why = match state {
            State::Sealing { .. } => "its run is being sealed".to_owned(),
            State::Ended(Ending::Sealed(_)) => {
                "its run is sealed; late records go to the scope ledger, naming the run".to_owned()
            }
            State::Ended(Ending::Closed(why)) => why.clone(),
            State::Open | State::Moved(_) => {
                "it is signed with another key, or damaged; join the run with another stream"
                    .to_owned()
            }
        };
        SpoolError::Closed {
            what: format!("the stream {}", self.title()),
            why,
        }
    }
}

impl Writer {
    pub(super) fn unsigned_since(&self) -> Option<Instant> {
        self.unsigned_since
    }
}

/// What became of drafts.
pub(super) enum Written {
    Here(Vec<RecordHash>),
    /// The stream has moved.
    Elsewhere(Vec<Draft>),
}

/// Whose key a stream's directory has.
pub(super) fn meta(dir: &Path) -> Result<Option<Meta>, SpoolError> {
    read_json(&dir.join(META))
}

pub(super) fn resume(
    (scope, name): (Scope, StreamName),
    core: &Core,
    next_seq: u64,
    head: Hash,
    unsigned: u64,
) -> StreamWriter {
    StreamWriter::resume(
        scope,
        name,
        core.key.clone(),
        next_seq,
        head,
        Arc::clone(&core.options.clock),
        Arc::clone(&core.options.entropy),
    )
    .with_unsigned(unsigned)
}
