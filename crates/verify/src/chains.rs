//! The ordered part of what records mean: streams follow on without a gap, runs begin and end as
//! they must, seals list every stream. The rules are those of [`record::chain`], which the sequencer
//! uses too; a record that only continues its stream is held against the state by its seq and prev
//! alone, without being read again. Signatures are handed back as [`SignatureJob`]s.
//!
//! After a failure a stream is taken up from the record that was found, so that one fault is
//! reported once.

mod saved;

pub(crate) use saved::Saved;

use std::collections::{BTreeSet, HashMap, HashSet};

use record::chain::{ChainError, RunState, StreamState};
use record::kinds::{DocumentIssued, RunSealed, StreamEnd, StreamOpened};
use record::{Kind, ProducerName, PublicKey, Record, RunId, Scope, StreamName};
use tlog::Hash;

use crate::enrolled::Enrolled;
use crate::meaning::{Link, Meaning};
use crate::report::{Check, Failure, Issued, Report};
use crate::server::Server;
use crate::signatures::SignatureJob;
use crate::{Options, ProducerKey};

struct Chain {
    state: StreamState,
    /// False if its `stream.opened` could not be read: then its key is not known.
    known: bool,
    run: Option<u32>,
    /// Where a tile holds another leaf for the last record than its entry hashes to.
    other_head: Option<Hash>,
    /// Index of its last record.
    last: u64,
    /// Another stream goes on from its last record.
    continued: bool,
}

impl Chain {
    /// Whether `link` comes next.
    fn is_followed_by(&self, link: &Link) -> bool {
        link.seq == self.state.next_seq
            && link
                .prev
                .is_some_and(|prev| prev == self.state.head || Some(prev) == self.other_head)
    }
}

struct Run {
    state: RunState,
    sealed_at: Option<u64>,
    chains: Vec<u32>,
    /// A fault in how it began was reported.
    blamed: bool,
}

/// Everything known of streams and runs at one point of the log.
pub(crate) struct Chains<'a> {
    options: &'a Options<'a>,
    /// The one run a bundle is about; `None` for a log.
    only: Option<RunId>,
    slots: Vec<Chain>,
    by_name: HashMap<(Scope, StreamName), u32>,
    runs: Vec<Run>,
    by_run: HashMap<RunId, u32>,
    /// Slots of streams whose run was sealed in this batch; reused from the next on.
    freed: Vec<u32>,
    free: Vec<u32>,
    lost: HashSet<Hash>,
    unpinned: BTreeSet<ProducerName>,
    enrolled: Enrolled,
    server: Server,
    /// What became of pinned keys.
    pins: Vec<ProducerKey>,
    /// The batch's streams, as far as they are known.
    resolved: Vec<Option<u32>>,
    /// Stands for the producer of a stream whose `stream.opened` could not be read.
    unknown: ProducerName,
}

/// Where a record stands, for failures about it.
#[derive(Clone, Copy)]
struct Place<'l> {
    link: &'l Link,
    scope: Scope,
    stream: StreamName,
}

impl Place<'_> {
    fn fail(
        &self,
        report: &mut Report,
        check: Check,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        report.fail(
            Failure::new(check, expected, found)
                .at(self.link.index)
                .of(self.scope.as_str(), self.stream.as_str())
                .seq(self.link.seq),
        );
    }

    fn fail_with(&self, report: &mut Report, check: Check, error: &ChainError) {
        let (expected, found) = error
            .expected_found()
            .unwrap_or_else(|| ("a record that may come next".to_owned(), error.to_string()));
        self.fail(report, check, expected, found);
    }
}

impl<'a> Chains<'a> {
    /// For a log.
    pub(crate) fn new(options: &'a Options<'a>) -> Self {
        Self {
            options,
            only: None,
            slots: Vec::new(),
            by_name: HashMap::new(),
            runs: Vec::new(),
            by_run: HashMap::new(),
            freed: Vec::new(),
            free: Vec::new(),
            lost: HashSet::new(),
            unpinned: BTreeSet::new(),
            enrolled: Enrolled::default(),
            server: Server::default(),
            pins: options.producer_keys.clone(),
            resolved: Vec::new(),
            unknown: ProducerName::parse("unknown").expect("a producer name"),
        }
    }

    /// For a bundle of one run, which holds only some records of ledger-wide streams.
    pub(crate) fn of_run(options: &'a Options<'a>, run: RunId) -> Self {
        Self {
            only: Some(run),
            ..Self::new(options)
        }
    }

    /// Takes in the next batch.
    pub(crate) fn admit(
        &mut self,
        meaning: Meaning,
        report: &mut Report,
        jobs: &mut Vec<SignatureJob>,
    ) {
        let counts = &mut report.counts;
        counts.records += meaning.records;
        counts.commitments += meaning.commitments;
        counts.opened += meaning.opened;
        counts.erased += meaning.erased;
        for (kind, count) in &meaning.unknown {
            *counts.unknown.entry(kind.clone()).or_default() += count;
        }
        meaning
            .failures
            .into_iter()
            .for_each(|failure| report.fail(failure));
        self.lost.extend(&meaning.lost);
        self.free.append(&mut self.freed);
        self.resolved.clear();
        self.resolved.extend(
            meaning
                .streams
                .iter()
                .map(|name| self.by_name.get(name).copied()),
        );
        for link in &meaning.links {
            let name = meaning.streams[usize::from(link.stream)];
            let kept = link
                .kept
                .and_then(|kept| meaning.kept.get(usize::from(kept)));
            // Parsed once already, in parallel.
            let record = kept.and_then(|bytes| Record::parse(bytes).ok());
            self.link(link, name, record.as_ref(), report, jobs);
        }
    }

    fn link(
        &mut self,
        link: &Link,
        (scope, stream): (Scope, StreamName),
        record: Option<&Record<'_>>,
        report: &mut Report,
        jobs: &mut Vec<SignatureJob>,
    ) {
        let place = Place {
            link,
            scope,
            stream,
        };
        let kind = record.and_then(Record::kind);
        if let (
            Some(
                kind @ (Kind::DocumentIssued
                | Kind::ProducerEnrolled
                | Kind::AccessRead
                | Kind::AccessChanged),
            ),
            Some(record),
        ) = (kind, record)
        {
            if scope != Scope::Ledger || stream != StreamName::SERVER {
                let expected = format!("{} in the stream ledger/server alone", kind.name());
                place.fail(report, Check::Chain, expected, "another stream");
            } else if kind == Kind::DocumentIssued {
                self.document(link, record, report);
            } else if kind == Kind::ProducerEnrolled {
                self.enrolled.take(record);
            }
        }
        if self.only.is_none() {
            if let Some(at) = self.server.closed_before(link, (scope, stream), kind) {
                let expected = format!("nothing after record {at}, which closed the ledger");
                place.fail(report, Check::Closed, expected, "another record");
            }
            if let Some(record) = record {
                self.server.take(link.index, record, &mut self.pins, report);
            }
        }
        match (self.only, scope.run()) {
            // Of ledger-wide streams a bundle has a part only.
            (Some(_), None) => return,
            (Some(only), Some(run)) if run != only => {
                let expected = format!("records of run {only} and ledger-wide ones");
                return place.fail(report, Check::Bundle, expected, "one of another run");
            }
            _ => {}
        }
        let slot = self.resolved[usize::from(link.stream)];
        let run = match slot {
            Some(slot) => self.slots[slot as usize].run,
            None => scope.run().and_then(|run| self.by_run.get(&run).copied()),
        };
        if let Some(at) = run.and_then(|run| self.runs[run as usize].sealed_at) {
            if slot.is_none() && link.seq == 0 {
                report.unlisted_streams.push(|| format!("{scope}/{stream}"));
            }
            let expected = format!("no record of a run that record {at} sealed");
            return place.fail(report, Check::Run, expected, "one");
        }
        if let (Scope::Ledger, Some(kind @ (Kind::RunStarted | Kind::RunSealed))) = (scope, kind) {
            place.fail(
                report,
                Check::Run,
                format!("{kind} in a run only"),
                "one in scope ledger",
            );
        }
        let run = match run {
            Some(run) => {
                self.admit_to_run(run, place, record, report);
                Some(run)
            }
            None => scope
                .run()
                .map(|run| self.start_run(run, place, record, report)),
        };
        if let (Some(run), Some(slot), Some(Kind::RunSealed), Some(record)) =
            (run, slot, kind, record)
        {
            self.seal(run, slot, place, record, report, jobs);
        }
        if let Some(slot) = slot {
            self.follow(slot, place, record, report, jobs);
        } else {
            let slot = self.open(run, place, record, report);
            self.resolved[usize::from(link.stream)] = Some(slot);
        }
    }

    /// Whose predecessor cannot be read is not to blame for the gap it leaves.
    fn excused(&self, link: &Link) -> bool {
        link.prev.is_some_and(|prev| self.lost.contains(&prev))
    }

    /// A record of a run of which none was seen before.
    fn start_run(
        &mut self,
        id: RunId,
        place: Place<'_>,
        record: Option<&Record<'_>>,
        report: &mut Report,
    ) -> u32 {
        let started = record.and_then(|record| RunState::start(record).ok());
        let blamed = started.is_none();
        if blamed && !self.excused(place.link) {
            let expected = "a run to begin with stream.opened at seq 0";
            place.fail(report, Check::Run, expected, "another record of it");
        }
        let state = started.unwrap_or(RunState {
            run: id,
            first_stream: place.stream,
            owner: None,
            streams: 1,
            sealed: false,
        });
        let run = self.runs.len() as u32;
        self.runs.push(Run {
            state,
            sealed_at: None,
            chains: Vec::new(),
            blamed,
        });
        self.by_run.insert(id, run);
        run
    }

    /// A further record of a run that is not sealed.
    fn admit_to_run(
        &mut self,
        run: u32,
        place: Place<'_>,
        record: Option<&Record<'_>>,
        report: &mut Report,
    ) {
        let excused = self.excused(place.link);
        let run = &mut self.runs[run as usize];
        let Some(record) = record else {
            if run.state.owner.is_none() && !run.blamed {
                run.blamed = true;
                if !excused {
                    let expected = format!("run.started at seq 1 of {}", run.state.first_stream);
                    place.fail(report, Check::Run, expected, "another record of the run");
                }
            }
            return;
        };
        match run.state.admit(record) {
            Ok(()) => report.counts.runs += u64::from(record.is(Kind::RunStarted)),
            Err(ChainError::NotStarted { .. }) if run.blamed || excused => run.blamed = true,
            Err(error) => {
                run.blamed |= matches!(error, ChainError::NotStarted { .. });
                place.fail_with(report, Check::Run, &error);
            }
        }
    }

    /// The first record of a stream.
    fn open(
        &mut self,
        run: Option<u32>,
        place: Place<'_>,
        record: Option<&Record<'_>>,
        report: &mut Report,
    ) -> u32 {
        let link = place.link;
        report.counts.streams += 1;
        let opened = record.and_then(|record| StreamState::start(record, &link.leaf).ok());
        let known = opened.is_some();
        if let (Some(opened), Some(record)) = (&opened, record) {
            self.goes_on(record, place, report);
            self.pinned(opened, place, report);
            self.let_in(opened, place, report);
        } else if !self.excused(link) {
            let found = match record {
                Some(record) => format!("{} at seq {}", record.kind_name(), link.seq),
                None => format!("another record, at seq {}", link.seq),
            };
            let expected = "a stream to begin with stream.opened at seq 0";
            place.fail(report, Check::Chain, expected, found);
        }
        let state = opened.unwrap_or_else(|| StreamState {
            scope: place.scope,
            stream: place.stream,
            producer: self.unknown.clone(),
            key: PublicKey([0; 32]),
            next_seq: link.seq + 1,
            head: link.leaf,
            unsigned: 1,
            signatures: 0,
            closed: false,
        });
        let chain = Chain {
            state,
            known,
            run,
            other_head: link.other,
            last: link.index,
            continued: false,
        };
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = chain,
            None => self.slots.push(chain),
        }
        self.by_name.insert((place.scope, place.stream), slot);
        if let Some(run) = run {
            self.runs[run as usize].chains.push(slot);
        }
        slot
    }

    /// Holds what a stream says that it goes on from against that stream as it stands.
    fn goes_on(&mut self, record: &Record<'_>, place: Place<'_>, report: &mut Report) {
        let Ok(StreamOpened {
            continues: Some(continues),
            ..
        }) = record.decode()
        else {
            return;
        };
        let slot = self.by_name.get(&(place.scope, continues.stream));
        let chain = slot.map(|slot| &mut self.slots[*slot as usize]);
        let head = Some(Hash::from(continues.head));
        // What cannot be read, or is not what the tile has, was reported where it stands.
        let excused = head.is_some_and(|head| self.lost.contains(&head))
            || chain.as_ref().is_some_and(|chain| chain.other_head == head);
        let stream = |_: &StreamName| chain.as_ref().map(|chain| &chain.state);
        match StreamState::check_continues(record, stream) {
            Err(error) if !excused => place.fail_with(report, Check::Chain, &error),
            _ => chain.into_iter().for_each(|chain| chain.continued = true),
        }
    }

    /// The log says who let in whoever opens a stream. A bundle may lack what it says.
    fn let_in(&mut self, opened: &StreamState, place: Place<'_>, report: &mut Report) {
        let own = (place.scope, place.stream) == (Scope::Ledger, StreamName::SERVER);
        if self.only.is_none() && !own {
            self.enrolled.expect(opened, report, |report| {
                let expected = format!(
                    "producer.enrolled for {} with key {} before its first stream",
                    opened.producer, opened.key
                );
                place.fail(report, Check::Enrolment, expected, "none");
            });
        }
    }

    fn pinned(&mut self, opened: &StreamState, place: Place<'_>, report: &mut Report) {
        let name = opened.producer.as_str();
        let mut keys = self
            .pins
            .iter()
            .filter(|pin| pin.producer == name)
            .peekable();
        if keys.peek().is_none() {
            if self.unpinned.insert(opened.producer.clone()) {
                report.trust.unpinned_producers.push(|| name.to_owned());
            }
        } else if keys.any(|pin| pin.key == opened.key.0) {
            report.trust.pinned_streams += 1;
        } else {
            let expected = format!("a stream of {name} under a key pinned for it");
            place.fail(
                report,
                Check::ProducerKey,
                expected,
                format!("key {}", opened.key),
            );
        }
    }

    /// A record of a stream that is known.
    fn follow(
        &mut self,
        slot: u32,
        place: Place<'_>,
        record: Option<&Record<'_>>,
        report: &mut Report,
        jobs: &mut Vec<SignatureJob>,
    ) {
        let link = place.link;
        let follows = self.slots[slot as usize].is_followed_by(link);
        let excused = !follows && self.excused(link);
        let chain = &mut self.slots[slot as usize];
        if std::mem::take(&mut chain.continued) {
            let Place { scope, stream, .. } = place;
            report.resumed_streams.push(|| format!("{scope}/{stream}"));
        }
        if !follows {
            if !excused {
                let state = &chain.state;
                let expected = format!(
                    "seq {} after {}, record {}",
                    state.next_seq, state.head, chain.last
                );
                let found = match link.prev {
                    Some(prev) => format!("seq {} after {prev}", link.seq),
                    None => format!("seq {}, which begins a stream", link.seq),
                };
                place.fail(report, Check::Chain, expected, found);
            }
            chain.state.next_seq = link.seq;
        }
        chain.state.head = link.prev.unwrap_or(chain.state.head);
        chain.other_head = link.other;
        chain.last = link.index;
        let Some(record) = record else {
            chain.state.next_seq += 1;
            chain.state.head = link.leaf;
            chain.state.unsigned += 1;
            return;
        };
        match chain.state.admit_unverified(record, &link.leaf) {
            Ok(Some(pending)) if chain.known => jobs.push(SignatureJob {
                index: link.index,
                scope: place.scope,
                stream: place.stream,
                seq: link.seq,
                pending,
                what: "the stream's signature",
            }),
            Ok(_) => {}
            Err(error) => {
                if follows {
                    place.fail_with(report, Check::Chain, &error);
                }
                chain.state.next_seq = link.seq + 1;
                chain.state.head = link.leaf;
            }
        }
    }

    /// Holds a seal against the run's streams as they stood before it.
    fn seal(
        &mut self,
        run: u32,
        slot: u32,
        place: Place<'_>,
        record: &Record<'_>,
        report: &mut Report,
        jobs: &mut Vec<SignatureJob>,
    ) {
        let run = &mut self.runs[run as usize];
        run.sealed_at = Some(place.link.index);
        report.counts.sealed_runs += 1;
        let slots = std::mem::take(&mut run.chains);
        let Ok(seal) = record.decode::<RunSealed>() else {
            return;
        };
        let listed = |name| seal.streams.iter().find(|end| end.stream == name);
        let states: Vec<StreamState> = slots
            .iter()
            .map(|slot| {
                let chain = &self.slots[*slot as usize];
                let mut state = chain.state.clone();
                // A seal was made when the tile's leaf was the record's.
                let end = listed(state.stream).map(|end| Hash::from(end.head));
                if end.is_some() && end == chain.other_head {
                    state.head = end.unwrap_or(state.head);
                }
                state
            })
            .collect();
        let before = report.failures_total;
        for state in &states {
            self::end(state, listed(state.stream), place, report);
        }
        for end in &seal.streams {
            if !states.iter().any(|state| state.stream == end.stream) {
                let expected = format!(
                    "stream {} up to seq {}, as the seal lists it",
                    end.stream, end.seq
                );
                place.fail(report, Check::Seal, expected, "no record of it");
            }
        }
        match run.state.check_seal(record, &states) {
            Ok(pending) if self.slots[slot as usize].known => jobs.push(SignatureJob {
                index: place.link.index,
                scope: place.scope,
                stream: place.stream,
                seq: place.link.seq,
                pending,
                what: "the seal",
            }),
            Ok(_) => {}
            // What it says of streams has been said, of all of them.
            Err(_) if report.failures_total > before => {}
            Err(error) => place.fail_with(report, Check::Seal, &error),
        }
        for slot in slots {
            let state = &self.slots[slot as usize].state;
            self.by_name.remove(&(state.scope, state.stream));
            self.freed.push(slot);
        }
    }

    fn document(&self, link: &Link, record: &Record<'_>, report: &mut Report) {
        let Some(wanted) = &self.options.document else {
            return;
        };
        let Ok(body) = record.decode::<DocumentIssued>() else {
            return;
        };
        if let Some(file) = body
            .files
            .iter()
            .find(|file| file.sha256.0 == wanted.sha256)
        {
            report.document = Some(Issued {
                index: link.index,
                run: body.run.to_string(),
                name: file.name.clone(),
            });
        }
    }

    /// What only the end of the log can tell.
    pub(crate) fn finish(self, report: &mut Report) {
        report.trust.pinned_keys = self.options.producer_keys.len() as u64;
        for run in self.runs.iter().filter(|run| run.sealed_at.is_none()) {
            report.unsealed_runs.push(|| run.state.run.to_string());
        }
        report.counts.unsigned_records = self
            .by_name
            .values()
            .map(|slot| self.slots[*slot as usize].state.unsigned)
            .sum();
        if let (Some(wanted), None) = (&self.options.document, &report.document) {
            let digest = record::Sha256(wanted.sha256);
            report.fail(Failure::new(
                Check::Document,
                format!("a document.issued record that names a file with SHA-256 {digest}"),
                format!(
                    "none: {} was not issued from here, or was changed since",
                    wanted.name
                ),
            ));
        }
    }
}

/// Holds a stream against what the seal says of it.
fn end(state: &StreamState, listed: Option<&StreamEnd>, place: Place<'_>, report: &mut Report) {
    let Some(end) = listed else {
        let name = state.stream;
        report
            .unlisted_streams
            .push(|| format!("{}/{name}", place.scope));
        let expected = format!("the seal to list the stream {name}");
        let found = format!("it not listed, {} records of it in the log", state.next_seq);
        return place.fail(report, Check::Seal, expected, found);
    };
    if *end != state.end() {
        let actual = state.end();
        let name = end.stream;
        place.fail(
            report,
            Check::Seal,
            format!(
                "stream {name} to end at seq {}, {}, as sealed",
                end.seq, end.head
            ),
            format!("it ends at seq {}, {}", actual.seq, actual.head),
        );
    }
}
