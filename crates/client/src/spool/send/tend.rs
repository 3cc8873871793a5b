//! What is done now and then: taking over what dead processes left, keeping what was acknowledged, deleting it, asking
//! for receipts.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use record::Draft;
use record::kinds::IncidentReported;

use super::super::core::Core;
use super::super::dir::{Lock, Purpose, names, stream_of};
use super::super::evidence;
use super::super::load::load;
use super::super::outgoing::Outgoing;
use super::super::queue::Progress;
use super::super::receipts::{Broken, Receipts};
use super::super::sealing::seal_wish;
use super::super::segments;
use super::super::status::{Incident, IncidentKind};
use super::{Sender, TEND_EVERY};
use crate::memory::Seen;

/// Whoever goes on with a stream does so when it starts; it is not taken from under their hands.
const ADOPT_AFTER: Duration = Duration::from_secs(1);
const ADOPT_EVERY: Duration = Duration::from_secs(5);
/// A drained stream that nobody writes to keeps its last segment so long.
const KEEP_TAIL: Duration = Duration::from_secs(5);
/// What is left of a stream that was sent whole is forgotten after 30 days.
const KEEP_STATE_MICROS: i64 = 30 * 24 * 3_600 * 1_000_000;
/// What the server does not take from this process is left to others for so long.
const LEAVE_ALONE: Duration = Duration::from_mins(1);
/// Half-written files of dead processes are removed after an hour.
const KEEP_TEMPORARY_MICROS: i64 = 3_600 * 1_000_000;

impl Sender {
    pub(super) fn adopt_when_due(&mut self, hurry: bool) {
        let due = match self.adopted {
            None => self.began.elapsed() >= ADOPT_AFTER,
            Some(adopted) => adopted.elapsed() >= ADOPT_EVERY,
        };
        if !due && !hurry {
            return;
        }
        if hurry {
            self.declined.clear();
        }
        let first = self.adopted.is_none();
        if first && self.core.adopts() {
            self.find_attachments();
            sweep(&self.core);
        }
        if self.core.adopts() {
            self.adopt(first);
        }
        if first && self.core.adopts() {
            self.receipts = Receipts::left(&self.core);
        }
        self.adopted = Some(Instant::now());
        self.core.report().looks += 1;
        self.core.moved.tell();
    }

    /// Takes over the streams of dead processes of which something waits.
    fn adopt(&mut self, first: bool) {
        let dirs = names(&self.core.layout.streams()).unwrap_or_default();
        let mut others = self.core.attachments.of_others(&self.core);
        self.trouble = None;
        for dir in dirs {
            let Some((scope, name)) = stream_of(&dir) else {
                continue;
            };
            let core = Arc::clone(&self.core);
            let _taking = core.taking();
            let here = |stream: &Arc<Outgoing>| (stream.scope, stream.name) == (scope, name);
            if self.core.streams().iter().any(here) {
                continue;
            }
            let declined = self.declined.get(&dir);
            let declined = declined.is_some_and(|(at, _)| at.elapsed() < LEAVE_ALONE);
            let segments = segments::list(&dir).unwrap_or_default();
            let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
            let left = bytes > 0 || seal_wish(&dir).is_ok_and(|wish| wish.is_some());
            let unsigned = || {
                let progress = Progress::read(&dir).ok().flatten();
                progress.is_some_and(|progress| progress.unsigned > 0)
            };
            let waits = left || (first && unsigned());
            if !waits {
                if first {
                    forget_old(&self.core, &dir);
                }
                continue;
            }
            if declined {
                others += bytes;
                continue;
            }
            self.declined.remove(&dir);
            match Lock::take(&dir, Purpose::Sends) {
                Ok(Some(lock)) => self.take_over(dir, lock),
                Ok(None) => others += bytes,
                Err(error) => self.trouble = Some(error.to_string()),
            }
        }
        self.core.room.set_others(others);
    }

    fn take_over(&mut self, dir: std::path::PathBuf, lock: Lock) {
        match load(&self.core, dir, lock) {
            Ok(stream) => {
                // Nobody else will.
                let _ = stream.sign(&self.core, Duration::ZERO);
                self.core.streams().push(stream);
            }
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    pub(super) fn tend_when_due(&mut self) {
        let finishing = self.core.finishing();
        let due = self.tended.is_none_or(|at| at.elapsed() >= TEND_EVERY);
        if !due && finishing.is_none() {
            return;
        }
        self.tended = Some(Instant::now());
        if finishing.is_some()
            && self.needs_look()
            && let Some(client) = self.connection.client()
        {
            // What it does not confirm is sent again by the next process.
            let _ = client.look();
        }
        let seen = self
            .connection
            .client()
            .and_then(crate::client::Client::seen);
        if let Some(seen) = seen {
            self.confirm(&seen);
            self.ask_for_receipts(&seen, finishing.is_some());
        }
        self.delete_tails(finishing.is_some());
        self.release();
        if let Some(deadline) = finishing {
            let asked = |lane: &super::Lane| lane.receipts.waits();
            let waits = self.needs_look() || self.lanes.iter().any(asked);
            if !waits || Instant::now() >= deadline || !self.connection.is_ready() {
                self.core.report().tidied = true;
                self.core.moved.tell();
            }
        }
    }

    pub(super) fn next_tending(&self) -> Option<Instant> {
        let adopt = match self.adopted {
            None => Some(self.began + ADOPT_AFTER),
            Some(_) if !self.core.adopts() => None,
            Some(adopted) => Some(adopted + ADOPT_EVERY),
        };
        let busy = self.needs_look()
            || !self.receipts.is_empty()
            || self.lanes.iter().any(|lane| {
                let queue = lane.stream.queue();
                !queue.segments.is_empty() || lane.receipts.waits() || lane.stream.is_adopted()
            });
        let every = if self.core.finishing().is_some() {
            Duration::from_millis(20)
        } else {
            TEND_EVERY
        };
        let tend = self.tended.map_or_else(Instant::now, |at| at + every);
        match adopt {
            Some(adopt) if busy => Some(adopt.min(tend)),
            None if busy => Some(tend),
            adopt => adopt,
        }
    }

    fn needs_look(&self) -> bool {
        let attached = self.core.attachments.any_sent();
        attached || self.lanes.iter().any(|lane| lane.marked.is_some())
    }

    /// What was acknowledged before the log was last looked at, and found to be the same, is done with.
    fn confirm(&mut self, seen: &Seen) {
        for lane in &mut self.lanes {
            let marked = lane.marked.filter(|(at, _)| *at < seen.began);
            if let Some((_, progress)) = marked {
                lane.marked = lane
                    .latest
                    .filter(|(_, latest)| latest.next_seq > progress.next_seq);
                delete_before(&self.core, &lane.stream, progress);
            }
        }
        if self
            .core
            .attachments
            .delete_sent(&self.core, seen.began)
            .is_ok()
        {
            self.core.moved.tell();
        }
    }

    /// A stream that is sent whole needs no file but its progress.
    fn delete_tails(&mut self, finishing: bool) {
        for lane in &mut self.lanes {
            let queue = lane.stream.queue();
            let drained = queue.waiting() == 0 && lane.marked.is_none();
            let adopted = lane.stream.is_adopted();
            let idle = finishing || adopted || queue.written.elapsed() >= KEEP_TAIL;
            let drained = drained && idle && !queue.segments.is_empty();
            drop(queue);
            if drained && !lane.stream.damaged {
                delete_tail(&self.core, &lane.stream);
            }
        }
    }

    /// Asks for the proofs that are due, and tells of promises that were not kept.
    fn ask_for_receipts(&mut self, seen: &Seen, finishing: bool) {
        let Some(client) = self.connection.asking() else {
            return;
        };
        for lane in &mut self.lanes {
            // An adopted stream is let go once all is done.
            let last =
                finishing || (lane.stream.is_adopted() && lane.stream.queue().waiting() == 0);
            let asked = lane.receipts.tend(&self.core, &client, seen, last);
            if let Err(broken) = asked {
                tell_of(&self.core, Some(&lane.stream), &broken);
            }
        }
        for receipts in &mut self.receipts {
            if let Err(broken) = receipts.tend(&self.core, &client, seen, finishing) {
                tell_of(&self.core, None, &broken);
            }
        }
        self.receipts.retain(Receipts::waits);
    }

    /// Streams that are sent whole and that nobody here writes are there for whoever goes on with them.
    fn release(&mut self) {
        let core = Arc::clone(&self.core);
        let _taking = core.taking();
        let over: Vec<Arc<Outgoing>> = self
            .lanes
            .iter()
            .filter(|lane| {
                let sealed = lane.stream.is_sealed();
                let drained = lane.stream.queue().segments.is_empty() && !lane.stream.damaged;
                drained
                    && !lane.receipts.waits()
                    && (sealed || (lane.stream.is_adopted() && !lane.stream.wants_seal()))
            })
            .map(|lane| lane.stream.clone())
            .collect();
        for at in (0..self.lanes.len()).rev() {
            let lane = &self.lanes[at];
            if lane.gives_up() {
                let why = lane.error().unwrap_or_default().to_owned();
                let stream = lane.stream.clone();
                self.declined
                    .insert(stream.dir.clone(), (Instant::now(), why));
                self.forget(&stream);
            }
        }
        for stream in over {
            if stream.is_sealed() {
                // Nothing can follow a seal.
                let _ = fs::remove_dir_all(&stream.dir);
            }
            self.forget(&stream);
        }
    }
}

/// Keeps the progress, and deletes the segments before it.
fn delete_before(core: &Core, stream: &Outgoing, progress: Progress) {
    let gone = stream.queue().forget_before(progress.next_seq);
    // Without it more is sent again; the names of the segments that are left say as much.
    let _ = progress.keep(&core.layout, &stream.dir, !gone.is_empty());
    for segment in gone {
        let _ = fs::remove_file(segments::path(&stream.dir, segment.first_seq));
    }
}

/// Deletes the last segment of a stream that is drained, if nobody has written meanwhile.
fn delete_tail(core: &Core, stream: &Outgoing) {
    let Some(last) = stream.queue().last else {
        return;
    };
    // From here on it alone says where the stream stands.
    if last.keep(&core.layout, &stream.dir, true).is_err() {
        return;
    }
    let mut writer = stream.writer();
    let mut queue = stream.queue();
    if queue.waiting() > 0 || queue.last != Some(last) {
        return;
    }
    writer.tail.let_go();
    for segment in queue.segments.drain(..) {
        let _ = fs::remove_file(segments::path(&stream.dir, segment.first_seq));
    }
}

/// Removes what is left of a stream that was sent whole long ago, or in which nothing was ever written.
fn forget_old(core: &Core, dir: &std::path::Path) {
    let progress = dir.join("progress.json");
    let old = match fs::metadata(&progress) {
        Ok(metadata) => is_older(core, &metadata, KEEP_STATE_MICROS),
        Err(_) => {
            fs::metadata(dir).is_ok_and(|metadata| is_older(core, &metadata, KEEP_TEMPORARY_MICROS))
        }
    };
    if old && let Ok(Some(lock)) = Lock::take(dir, Purpose::Sends) {
        let _ = fs::remove_dir_all(dir);
        drop(lock);
    }
}

/// A promise that was not kept: the evidence is written down, and the log told.
fn tell_of(core: &Core, stream: Option<&Arc<Outgoing>>, broken: &Broken) {
    let evidence = evidence::write(core, &broken.what, &broken.pieces);
    core.incident(Incident {
        what: IncidentKind::PromiseBroken,
        detail: broken.what.clone(),
        kept: evidence.clone(),
    });
    if broken.untrue {
        core.halt(super::contradiction(broken.what.clone(), evidence));
        return;
    }
    // A stream that is gone says nothing more.
    let Some(stream) = stream else {
        return;
    };
    let mut incident = IncidentReported::new("promise-broken".to_owned());
    incident.detail = Some(broken.detail.to_owned());
    incident.logged = Some(broken.promise.leaf.into());
    incident.run = stream.scope.run();
    incident.seq = Some(broken.promise.seq);
    incident.stream = Some(stream.name);
    // Where the stream takes nothing more, the evidence is what there is.
    let _ = stream.report(core, Draft::new(incident));
}

fn sweep(core: &Core) {
    core.layout
        .sweep(|metadata| is_older(core, metadata, KEEP_TEMPORARY_MICROS));
}

fn is_older(core: &Core, metadata: &fs::Metadata, micros: i64) -> bool {
    let since = metadata
        .modified()
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let modified = since.and_then(|since| i64::try_from(since.as_micros()).ok());
    modified.is_some_and(|at| core.options.clock.now().0.saturating_sub(at) > micros)
}
