//! The sender: one thread a spool, which sends what waits, in order for each stream.

mod attachments;
mod connection;
mod lane;
mod refuse;
mod seal;
mod tend;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, Halt};
use super::error::SpoolError;
use super::receipts::Receipts;
use attachments::Attachments;
use connection::Connection;
use lane::Lane;

/// What has to be done now and then is done so often.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// What nobody writes after is signed so long after it was written.
const SIGN_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Sender {
    core: Arc<Core>,
    connection: Connection,
    lanes: Vec<Lane>,
    attachments: Attachments,
    /// Of streams that are gone.
    receipts: Vec<Receipts>,
    tended: Option<Instant>,
    adopted: Option<Instant>,
    began: Instant,
    /// What keeps the directory from being read.
    trouble: Option<String>,
    /// What dead processes left and the server does not take from this one: since when, and why.
    declined: HashMap<PathBuf, (Instant, String)>,
}

impl Sender {
    pub(super) fn start(core: &Arc<Core>) -> Result<std::thread::JoinHandle<()>, SpoolError> {
        let mut sender = Self {
            core: Arc::clone(core),
            connection: Connection::new(),
            lanes: Vec::new(),
            attachments: Attachments::default(),
            receipts: Vec::new(),
            tended: None,
            adopted: None,
            began: Instant::now(),
            trouble: None,
            declined: HashMap::new(),
        };
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || sender.run())
            .map_err(SpoolError::disk("start the thread of", core.layout.root()))
    }

    fn run(&mut self) {
        while !self.core.bell.is_stopped() {
            let next = self.turn();
            self.core.bell.wait_until(next);
        }
    }

    /// Does what is due, and says when something will be.
    fn turn(&mut self) -> Option<Instant> {
        let hurry = self.core.bell.take_hurry();
        if hurry {
            self.connection.hurry();
            self.attachments.hurry();
            self.lanes.iter_mut().for_each(Lane::hurry);
        }
        self.adopt_when_due(hurry);
        self.gather();
        self.sign();
        self.tend_when_due();
        if self.core.report().halted.is_none() {
            self.send();
        }
        self.tell();
        self.next()
    }

    /// One lane for each stream.
    fn gather(&mut self) {
        let streams = self.core.streams().clone();
        self.lanes.retain(|lane| {
            let known = |stream| Arc::ptr_eq(stream, &lane.stream);
            streams.iter().any(known)
        });
        for stream in streams {
            let known = |lane: &Lane| Arc::ptr_eq(&lane.stream, &stream);
            if !self.lanes.iter().any(known) {
                self.lanes.push(Lane::new(&self.core, stream));
            }
        }
    }

    fn sign(&mut self) {
        for lane in &mut self.lanes {
            // It is tried again in a moment; what keeps it from being written keeps all else from it too.
            let _ = lane.stream.sign(&self.core, SIGN_AFTER);
        }
    }

    /// Sends until nothing is due.
    fn send(&mut self) {
        loop {
            if !self.wants_server() || !self.connect() {
                return;
            }
            self.send_attachments();
            self.seal();
            let urgent = self.core.bell.is_urgent();
            let (mut sent, mut at) = (false, 0);
            // Lanes come and go meanwhile.
            while at < self.lanes.len() {
                let due = self.lanes[at].due(urgent);
                if due.is_some_and(|due| due <= Instant::now()) {
                    self.send_batch(at);
                    sent = true;
                }
                if self.core.bell.is_stopped()
                    || self.core.report().halted.is_some()
                    || !self.connection.is_ready()
                {
                    return;
                }
                at += 1;
            }
            if !sent {
                return;
            }
            self.gather();
            self.sign();
            self.tend_when_due();
        }
    }

    fn wants_server(&self) -> bool {
        self.core.attachments.any_unsent()
            || !self.receipts.is_empty()
            || self.lanes.iter().any(Lane::wants_server)
    }

    fn connect(&mut self) -> bool {
        if self.connection.is_resting() {
            return false;
        }
        match self.connection.make_ready(&self.core) {
            Ok(ready) => ready,
            Err(halt) => {
                self.core.halt(halt);
                false
            }
        }
    }

    /// Says why what waits does not move.
    fn tell(&mut self) {
        let stuck = self.lanes.iter().find_map(Lane::error);
        let error = self.connection.error().or(stuck).map(str::to_owned);
        let error = error.or_else(|| self.attachments.error().map(str::to_owned));
        let error = error.or_else(|| self.trouble.clone());
        let declined = || self.declined.values().next().map(|(_, why)| why.clone());
        let error = error.or_else(declined);
        let mut report = self.core.report();
        let changed = report.last_error != error;
        report.last_error = error;
        drop(report);
        if changed {
            self.core.moved.tell();
        }
    }

    fn next(&self) -> Option<Instant> {
        let halted = self.core.report().halted.is_some();
        let urgent = self.core.bell.is_urgent();
        let mut next = self.next_tending();
        let mut sooner = |at: Option<Instant>| {
            if let Some(at) = at {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        };
        for lane in &self.lanes {
            sooner(lane.stream.sign_at(SIGN_AFTER));
        }
        if halted {
            return next;
        }
        if self.wants_server() {
            let rests = self.connection.rests_until();
            sooner(rests);
            if rests.is_none() {
                self.lanes.iter().for_each(|lane| sooner(lane.due(urgent)));
                sooner(self.attachments.until());
            }
        }
        next
    }
}

/// Nothing more is sent.
fn contradiction(what: String, evidence: PathBuf) -> Halt {
    Halt::Contradiction { what, evidence }
}
