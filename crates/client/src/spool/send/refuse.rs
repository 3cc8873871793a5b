//! A record that the server refuses for good: what it means, and how its stream is given up for another.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use record::kinds::{Continues, IncidentReported};
use record::{Draft, RecordHash, Scope};
use serde_json::json;

use super::super::batch::{Batch, is_seal};
use super::super::core::Halt;
use super::super::error::SpoolError;
use super::super::evidence;
use super::super::names::{Taken, free_name};
use super::super::outgoing::{Ending, Outgoing, State};
use super::super::status::{Incident, IncidentKind};
use super::seal::take_back;
use super::{Lane, Sender};
use crate::error::{ClientError, Problem};

/// What another stream is about to bring is asked for again so soon.
const SOON: Duration = Duration::from_millis(50);

/// A stream that continues a refused one may be refused itself, so often in a row.
const MOST_REFUSALS: u32 = 3;

impl Sender {
    /// The first record of a batch is refused for good, and everything before it is acknowledged.
    pub(super) fn refused_first(&mut self, at: usize, batch: &Batch, problem: Problem) {
        let lane = &mut self.lanes[at];
        lane.back();
        let stream = lane.stream.clone();
        let acknowledged = batch.first_seq > 0;
        match problem.code.as_str() {
            // That of another key cannot be made again here.
            _ if is_seal(batch.line(1)) && stream.wished().is_some() => {
                self.refused_seal(at, &stream, problem);
            }
            "attachment-missing" if self.core.attachments.send_again(&self.core, batch) => {
                self.lanes[at].rest(format!("stream {}: {problem}", stream.title()), None);
            }
            // It has acknowledged what comes before, and says that it does not have it.
            "seq-gap" | "wrong-prev" | "bad-stream" if acknowledged => {
                self.forgotten(&stream, &problem);
            }
            "ledger-closed" => self.core.halt(Halt::Ended(problem)),
            _ => {
                if let Err(error) = self.abandon(at, &stream, batch, &problem) {
                    self.lanes[at].rest(format!("stream {}: {error}", stream.title()), None);
                }
            }
        }
    }

    fn refused_seal(&mut self, at: usize, stream: &Outgoing, problem: Problem) {
        if let Err(error) = take_back(&self.core, stream) {
            self.lanes[at].rest(error.to_string(), None);
            return;
        }
        if problem.code == "bad-seal" {
            // Another stream has grown since it was asked for its end.
            self.lanes[at].rest(problem.to_string(), None);
            return;
        }
        stream.not_sealed(problem);
        self.core.moved.tell();
    }

    fn forgotten(&mut self, stream: &Outgoing, problem: &Problem) {
        let last = stream.queue().last;
        let seq = stream.queue().acked.saturating_sub(1);
        let what = format!(
            "{} acknowledged seq {seq} of {} and does not have it any more ({problem}): its log was rolled back, or \
             another listens there",
            self.core.options.server.url,
            stream.title()
        );
        let pieces = [
            ("acknowledged.json", json!(last).to_string()),
            ("refusal.json", json!(problem).to_string()),
        ];
        let evidence = evidence::write(&self.core, &what, &pieces);
        self.core.halt(super::contradiction(what, evidence));
    }

    /// Gives a stream up: what is not acknowledged is kept aside, and what comes goes into another stream that says so.
    fn abandon(
        &mut self,
        at: usize,
        stream: &Arc<Outgoing>,
        batch: &Batch,
        problem: &Problem,
    ) -> Result<(), SpoolError> {
        if problem.code == "run-sealed" && ends_with_signatures(stream, batch) {
            self.forget(stream);
            self.core.moved.tell();
            // What is left of it says nothing that the log does not.
            let _ = fs::remove_dir_all(&stream.dir);
            return Ok(());
        }
        if !stream.is_given_up() {
            self.replace(at, stream, batch, problem)?;
        }
        let successor = stream.successor();
        let kept = self.put_aside(stream, batch.first_seq, problem)?;
        let waiting = stream.queue().waiting();
        let detail = format!(
            "the server refused seq {} of stream {} for good: {problem}; it and {} more are kept aside, and are not in \
             the log{}",
            batch.first_seq,
            stream.title(),
            waiting.saturating_sub(1),
            successor
                .map(|new| format!("; it goes on in stream {}", new.title()))
                .unwrap_or_default(),
        );
        self.core.incident(Incident {
            what: IncidentKind::Refused,
            detail,
            kept: kept.clone(),
        });
        if !stream.is_adopted() {
            let mut report = self.core.report();
            report
                .refused
                .get_or_insert_with(|| (stream.title(), problem.clone(), kept));
        }
        self.forget(stream);
        self.core.moved.tell();
        Ok(())
    }

    /// Opens the stream that says what became of this one, and takes what comes in its place where that can be.
    fn replace(
        &mut self,
        at: usize,
        stream: &Arc<Outgoing>,
        batch: &Batch,
        problem: &Problem,
    ) -> Result<(), SpoolError> {
        let over = problem.code == "run-sealed";
        let refusals = self.lanes[at].refusals + 1;
        if refusals > MOST_REFUSALS {
            stream.give_up(Ending::Closed(problem.to_string()));
            return Ok(());
        }
        let new = self.successor(stream, batch, over)?;
        let refused = batch.record(1).map(|record| record::leaf_hash(&record));
        let told = self.incident(stream, batch.first_seq, refused.map(Into::into), problem);
        new.report(&self.core, told)?;
        if over {
            stream.give_up(Ending::Closed(problem.to_string()));
        } else {
            if let Some(status) = stream.wished() {
                new.wish_to_seal(&self.core, status)?;
            }
            stream.writer().state = State::Moved(new.clone());
        }
        self.core.streams().push(new.clone());
        let mut lane = Lane::new(&self.core, new);
        lane.refusals = refusals;
        self.lanes.push(lane);
        Ok(())
    }

    /// The stream in which the refusal is reported; of the same scope, unless nothing can be written there.
    fn successor(
        &self,
        stream: &Outgoing,
        batch: &Batch,
        over: bool,
    ) -> Result<Arc<Outgoing>, SpoolError> {
        let client = self.connection.asking();
        let (scope, taken) = if over {
            (Scope::Ledger, None)
        } else {
            (
                stream.scope,
                client.map(|client| client.streams(stream.scope.as_str())),
            )
        };
        let streams = taken.transpose().map_err(SpoolError::from)?;
        // Where it ends at the server, which is further than here if somebody else has written it.
        let end = streams
            .iter()
            .flatten()
            .find(|found| found.stream == stream.name && batch.first_seq > 0);
        let continues = end.map(|end| {
            let end = end.end();
            Continues::new(end.stream, end.seq, end.head)
        });
        let taken = streams.map_or(Taken::Unknown, |streams| {
            Taken::Known(streams.iter().map(|found| found.stream).collect())
        });
        loop {
            let name = free_name(&self.core, scope, stream.name, &taken);
            if let Some(new) = Outgoing::create(&self.core, scope, name, continues.as_ref())? {
                return Ok(new);
            }
        }
    }

    fn incident(
        &self,
        stream: &Outgoing,
        seq: u64,
        refused: Option<RecordHash>,
        problem: &Problem,
    ) -> Draft {
        let mut incident = IncidentReported::new("stream-abandoned".to_owned());
        incident.detail = Some(problem.code.clone());
        incident.producer = Some(self.core.options.producer.clone());
        incident.refused = refused;
        incident.run = stream.scope.run();
        incident.seq = Some(seq);
        incident.stream = Some(stream.name);
        Draft::new(incident)
    }

    /// Moves the stream's directory to `refused/`, with the reason.
    fn put_aside(
        &self,
        stream: &Outgoing,
        seq: u64,
        problem: &Problem,
    ) -> Result<PathBuf, SpoolError> {
        let why =
            json!({"scope": stream.scope, "stream": stream.name, "seq": seq, "problem": problem});
        let path = stream.dir.join("refusal.json");
        // Without room for it the incident says it alone.
        let _ = self.core.layout.write_json(&path, &why, true);
        let name = stream.dir.file_name().unwrap_or_default().to_string_lossy();
        let below = self.core.layout.refused();
        let mut to = below.join(&*name);
        let mut number = 2;
        while to.exists() {
            to = below.join(format!("{name}-{number}"));
            number += 1;
        }
        fs::rename(&stream.dir, &to).map_err(SpoolError::disk("move", &stream.dir))?;
        Ok(to)
    }

    /// Nothing of it waits any more.
    pub(super) fn forget(&mut self, stream: &Arc<Outgoing>) {
        let mut queue = stream.queue();
        self.core.room.give_back(queue.waiting_bytes);
        queue.waiting_bytes = 0;
        queue.acked = queue.next_seq;
        drop(queue);
        self.core
            .streams()
            .retain(|known| !Arc::ptr_eq(known, stream));
        self.lanes.retain(|lane| !Arc::ptr_eq(&lane.stream, stream));
    }

    /// Whether the server knows the run of a stream that does not start it. Before that its `stream.opened` would take
    /// the place of the one that does.
    pub(super) fn run_is_there(&mut self, at: usize, batch: &Batch) -> bool {
        let Some(run) = self.lanes[at].stream.scope.run() else {
            return true;
        };
        let starts = memchr::memmem::find(batch.line(2), b",\"kind\":\"run.started\",").is_some();
        if batch.first_seq > 0 || starts {
            return true;
        }
        let Some(client) = self.connection.asking() else {
            return false;
        };
        match client.run(run.as_str()) {
            Ok(_) => return true,
            Err(ClientError::Refused(problem)) if problem.status == 404 => {
                let lane = &self.lanes[at];
                let why = format!(
                    "stream {}: run {run} has not been started at the server; send it from where it was",
                    lane.stream.title()
                );
                let starts = |other: &Lane| {
                    let same = other.stream.scope == lane.stream.scope;
                    same && !Arc::ptr_eq(&other.stream, &lane.stream) && other.wants_server()
                };
                // Another stream from here may be the one that starts it.
                if self.lanes.iter().any(starts) {
                    self.lanes[at].pause(why, SOON);
                    self.lanes[at].back();
                } else {
                    self.lanes[at].rest(why, None);
                }
            }
            Err(ClientError::Unavailable { what, why, asked }) => {
                self.connection
                    .fail(format!("{what} did not answer: {why}"), asked);
                self.lanes[at].back();
            }
            Err(error) => {
                self.connection.fail(error.to_string(), None);
                self.lanes[at].back();
            }
        }
        false
    }
}

/// Ends a stream of a sealed run of which nothing waits but signatures: the seal says where the stream ends, and that its
/// owner would have signed it once more is no news.
fn ends_with_signatures(stream: &Outgoing, batch: &Batch) -> bool {
    let mut lines = batch.lines.split_inclusive(|byte| *byte == b'\n');
    let signs = |line| memchr::memmem::find(line, b",\"kind\":\"stream.signed\",").is_some();
    let mut writer = stream.writer();
    // Nobody writes meanwhile.
    if !lines.all(signs) || stream.queue().next_seq != batch.end() {
        return false;
    }
    let why = "its run is sealed; late records go to the scope ledger, naming the run";
    writer.state = State::Ended(Ending::Closed(why.to_owned()));
    true
}

impl Outgoing {
    fn give_up(&self, ending: Ending) {
        self.writer().state = State::Ended(ending);
    }

    /// Whether nothing is written to it any more.
    fn is_given_up(&self) -> bool {
        matches!(
            self.writer().state,
            State::Moved(_) | State::Ended(Ending::Closed(_))
        )
    }

    /// The stream that takes what comes in its place.
    fn successor(&self) -> Option<Arc<Self>> {
        match &self.writer().state {
            State::Moved(new) => Some(new.clone()),
            _ => None,
        }
    }
}
