//! Sealing a run: once everything of it in this directory is acknowledged, with the other streams' ends as the server
//! has them.

use std::path::Path;
use std::time::Duration;

use record::RunId;

use super::super::core::Core;
use super::super::dir::{names, stream_of};
use super::super::error::SpoolError;
use super::super::outgoing::Outgoing;
use super::super::queue::Progress;
use super::super::segments::{Frames, list, path};
use super::Sender;
use crate::client::Client;
use crate::error::{ClientError, Problem};

/// Another process's stream is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Why a run is not sealed yet, or never.
enum NotYet {
    /// Something of it is not acknowledged.
    Waits(String),
    Client(ClientError),
    Spool(SpoolError),
    Never(Problem),
}

impl Sender {
    /// Writes the seal of each run that can be sealed now; it is sent as any record.
    pub(super) fn seal(&mut self) {
        for at in 0..self.lanes.len() {
            let lane = &self.lanes[at];
            let drained = lane.stream.queue().waiting() == 0;
            if !drained || lane.is_resting() || !lane.stream.wants_seal() {
                continue;
            }
            let stream = lane.stream.clone();
            let (Some(client), Some(run)) = (self.connection.asking(), stream.scope.run()) else {
                continue;
            };
            let sealed = self.try_seal(&client, &stream, run);
            let lane = &mut self.lanes[at];
            match sealed {
                Ok(()) => {}
                Err(NotYet::Waits(why)) => lane.pause(why, LOOK_AGAIN),
                Err(NotYet::Client(ClientError::Contradiction { what, evidence })) => {
                    self.core.halt(super::contradiction(what, evidence));
                }
                Err(NotYet::Client(error @ ClientError::Unavailable { .. })) => {
                    self.connection.fail(error.to_string(), None);
                }
                Err(NotYet::Client(error)) => lane.rest(error.to_string(), None),
                Err(NotYet::Spool(error)) => lane.rest(error.to_string(), None),
                Err(NotYet::Never(problem)) => {
                    stream.not_sealed(problem);
                    self.core.moved.tell();
                }
            }
        }
    }

    fn try_seal(&self, client: &Client, stream: &Outgoing, run: RunId) -> Result<(), NotYet> {
        if let Some(other) = self.waits(stream, run)? {
            return Err(NotYet::Waits(format!(
                "run {run} is sealed once the stream {other} is acknowledged"
            )));
        }
        let found = client.run(run.as_str()).map_err(NotYet::Client)?;
        if found.status != "open" {
            return Err(NotYet::Never(Problem {
                status: 409,
                code: "run-sealed".to_owned(),
                detail: format!("run {run} is sealed already: it {}", found.status),
                line: None,
            }));
        }
        let own = self.core.public_key();
        if found.owner != own {
            return Err(NotYet::Never(Problem {
                status: 403,
                code: "not-owner".to_owned(),
                detail: format!(
                    "run {run} is sealed with its owner's key {}, this spool has {own}; seal it where it was started",
                    found.owner
                ),
                line: None,
            }));
        }
        let others = client
            .other_ends(run, stream.name)
            .map_err(NotYet::Client)?;
        stream.seal(&self.core, others).map_err(NotYet::Spool)
    }

    /// A stream of the run in this directory of which something is not acknowledged, whoever sends it.
    fn waits(&self, own: &Outgoing, run: RunId) -> Result<Option<String>, NotYet> {
        for dir in names(&self.core.layout.streams()).map_err(NotYet::Spool)? {
            let Some((scope, name)) = stream_of(&dir) else {
                continue;
            };
            if scope.run() != Some(run) || name == own.name {
                continue;
            }
            let here = self
                .lanes
                .iter()
                .find(|lane| (lane.stream.scope, lane.stream.name) == (scope, name));
            let waits = match here {
                // What is damaged is never acknowledged.
                Some(lane) => !lane.stuck && lane.stream.queue().waiting() > 0,
                None => waits(&dir).map_err(NotYet::Spool)?,
            };
            if waits {
                return Ok(Some(name.to_string()));
            }
        }
        Ok(None)
    }
}

/// Whether something in the directory of another process's stream is not acknowledged, as far as it has said.
fn waits(dir: &Path) -> Result<bool, SpoolError> {
    let Some(last) = list(dir)?.pop_back() else {
        return Ok(false);
    };
    let acknowledged = Progress::read(dir)?.map_or(0, |progress| progress.next_seq);
    let mut frames = match Frames::open(&path(dir, last.first_seq), last.first_seq, last.bytes) {
        // It has just been deleted.
        Err(SpoolError::Disk { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(false);
        }
        opened => opened?,
    };
    while frames.next()?.is_some() {}
    Ok(frames.next_seq > acknowledged)
}

/// A refused seal is made again, unless the run can never be sealed: then it is taken back for good.
pub(super) fn take_back(core: &Core, stream: &Outgoing) -> Result<(), SpoolError> {
    let last = stream.queue().last;
    let Some(last) = last else {
        return Ok(());
    };
    stream.unseal(core, last.head.into(), last.unsigned)
}
