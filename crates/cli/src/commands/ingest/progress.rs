//! How far files were read, kept such that no line is recorded twice or never, whenever the process ends.
//!
//! Before some lines are given to the spool, in one call that it takes as a whole or not at all, a line is added to
//! `positions.jsonl`: how far the file is read then, and where the stream stands now. After a crash the stream says
//! whether the last of these calls was taken. `progress.json` holds what is settled.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use client::spool::StreamPosition;
use import::follow::Position;
use import::trainers::Counts;
use record::{RunId, StreamName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::outcome::Failure;

const SETTLED: &str = "progress.json";
const STEPS: &str = "positions.jsonl";
const LOCK: &str = "ingest.lock";
/// `positions.jsonl` is emptied when it has so many bytes.
const MOST_STEPS_BYTES: u64 = 4 << 20;

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileProgress {
    pub(crate) position: Position,
    /// Its lines that are records of their own.
    pub(crate) recorded: u64,
}

/// What was made of everything so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) lines: u64,
    pub(crate) skipped: u64,
    pub(crate) counts: Counts,
}

/// What is settled.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// The run, as the user called it.
    pub(crate) called: String,
    /// When it was about to be started here.
    pub(crate) starting: Option<Timestamp>,
    pub(crate) run: Option<RunId>,
    pub(crate) stream: Option<StreamName>,
    pub(crate) files: BTreeMap<String, FileProgress>,
    pub(crate) totals: Totals,
}

/// One call of the spool.
#[derive(Serialize, Deserialize)]
struct Step {
    stream: StreamName,
    next_seq: u64,
    file: String,
    progress: FileProgress,
    totals: Totals,
}

impl Step {
    /// Whether the call was taken, as the stream stands now: one record that is not its own can have come between, the
    /// signature, after which nothing is unsigned.
    fn was_taken(&self, now: StreamPosition) -> bool {
        let grown = now.next_seq.saturating_sub(self.next_seq);
        grown >= 2 || (grown == 1 && now.unsigned > 0)
    }
}

/// Kept in a directory that one process has at a time.
pub(crate) struct Progress {
    pub(crate) settled: Settled,
    dir: PathBuf,
    steps: File,
    steps_bytes: u64,
    /// The last call, of which nobody knows whether it was taken.
    open: Option<Step>,
    _lock: File,
}

impl Progress {
    /// Opens the directory, which is made where there is none.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(cannot("create", dir))?;
        let path = dir.join(LOCK);
        let lock = File::create(&path).map_err(cannot("create", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::unavailable(format!(
                    "another process ingests into {} at this moment",
                    dir.display()
                ))
                .with_hint("stop it, or keep this one's progress elsewhere with --spool"));
            }
            Err(TryLockError::Error(error)) => return Err(cannot("lock", &path)(error)),
        }
        let path = dir.join(SETTLED);
        let settled = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| damaged(&path, &e))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Settled::default(),
            Err(error) => return Err(cannot("read", &path)(error)),
        };
        let path = dir.join(STEPS);
        let mut steps = OpenOptions::new()
            .create(true)
            .read(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(cannot("open", &path))?;
        let mut text = Vec::new();
        steps
            .read_to_end(&mut text)
            .map_err(cannot("read", &path))?;
        let mut progress = Self {
            settled,
            dir: dir.to_owned(),
            steps,
            steps_bytes: text.len() as u64,
            open: None,
            _lock: lock,
        };
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            // The last line may be half there: then the spool was not called.
            let Some(line) = line.strip_suffix(b"\n") else {
                break;
            };
            let step = serde_json::from_slice(line).map_err(|e| damaged(&path, &e))?;
            progress.taken();
            progress.open = Some(step);
        }
        Ok(progress)
    }

    /// The stream in which the last call was made, to be joined again.
    pub(crate) fn stream(&self) -> Option<StreamName> {
        let open = self.open.as_ref().map(|step| step.stream);
        open.or(self.settled.stream)
    }

    /// Finds out whether the last call before a crash was taken.
    pub(crate) fn settle(&mut self, now: StreamPosition) -> Result<(), Failure> {
        if let Some(step) = &self.open {
            if step.stream != now.stream {
                return Err(Failure::input(format!(
                    "the stream {} of an earlier start cannot be gone on with, so it is not known how much of it was \
                     recorded", step.stream
                ))
                .with_hint("look at what the run has (rlhf-audit run show), and start anew with another --spool"));
            }
            if step.was_taken(now) {
                self.taken();
            }
        }
        self.open = None;
        self.settled.stream = Some(now.stream);
        self.save()
    }

    /// Says what the next call of the spool is made of.
    pub(crate) fn before(
        &mut self,
        now: StreamPosition,
        file: &str,
        progress: FileProgress,
        totals: Totals,
    ) -> Result<(), Failure> {
        let step = Step {
            stream: now.stream,
            next_seq: now.next_seq,
            file: file.to_owned(),
            progress,
            totals,
        };
        let mut line = serde_json::to_vec(&step).map_err(Failure::unavailable)?;
        line.push(b'\n');
        let path = self.dir.join(STEPS);
        self.steps
            .seek(SeekFrom::Start(self.steps_bytes))
            .and_then(|_| self.steps.write_all(&line))
            .and_then(|()| self.steps.sync_data())
            .map_err(cannot("write", &path))?;
        self.open = Some(step);
        self.steps_bytes += line.len() as u64;
        Ok(())
    }

    /// The call was taken.
    pub(crate) fn after(&mut self) -> Result<(), Failure> {
        self.taken();
        if self.steps_bytes > MOST_STEPS_BYTES {
            self.save()?;
        }
        Ok(())
    }

    /// The call was not taken.
    pub(crate) fn undo(&mut self) -> Result<(), Failure> {
        self.open = None;
        self.save()
    }

    fn taken(&mut self) {
        if let Some(step) = self.open.take() {
            self.settled.stream = Some(step.stream);
            self.settled.files.insert(step.file, step.progress);
            self.settled.totals = step.totals;
        }
    }

    /// Writes down what is settled.
    pub(crate) fn save(&mut self) -> Result<(), Failure> {
        let path = self.dir.join(SETTLED);
        let made = self.dir.join("progress.tmp");
        let json = serde_json::to_vec(&self.settled).map_err(Failure::unavailable)?;
        File::create(&made)
            .and_then(|mut file| {
                file.write_all(&json)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&made, &path))
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(cannot("write", &path))?;
        let path = self.dir.join(STEPS);
        self.steps
            .set_len(0)
            .and_then(|()| self.steps.sync_all())
            .map_err(cannot("write", &path))?;
        self.steps_bytes = 0;
        Ok(())
    }
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::unavailable(format!("cannot {action} {}: {error}", path.display()))
}

fn damaged(path: &Path, error: &serde_json::Error) -> Failure {
    Failure::unavailable(format!("{} is damaged: {error}", path.display()))
        .with_hint("restore it from a copy; without it nobody knows how far the files were read")
}
