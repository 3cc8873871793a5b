//! From a run's records, one after the other, to the data of its card.
//!
//! Everything is added up as it passes, but for annotations: one that was withdrawn or replaced later
//! must not count, so a few dozen bytes of each are kept until the end.

mod annotations;
mod missing;
mod training;

use std::collections::BTreeMap;

use record::{
    Body, Kind, PublicKey, Record, RunId, Scope,
    kinds::{
        DatasetRegistered, FindingRaised, GuidelineRegistered, IncidentReported, OversightApproved,
        OversightRejected, OversightStopped, ProducerEnrolled, RunDescribed, RunSealed, RunStarted,
        RunStatus, StreamOpened,
    },
};
use tlog::LeafIndex;

use self::{annotations::AnnotationTally, training::TrainingTally};
use crate::{
    ReportError,
    card::{Dataset, Decision, Guideline, LogView, ModelCard, Note, RunFacts, Status, StreamFacts},
    evidence::{Cited, Evidence},
};

/// Makes the card of one run out of its records.
///
/// It wants every record of the run, in log order, and may be given the records of the scope
/// `ledger` as well: those that name the run are counted, those that enrol its producers' keys are
/// cited, the others are passed over.
#[derive(Debug)]
pub struct Collector {
    id: RunId,
    run: RunFacts,
    records: Cited<u64>,
    ledger_records: Cited<u64>,
    kinds: BTreeMap<String, Cited<u64>>,
    streams: BTreeMap<String, StreamFacts>,
    enrolled: BTreeMap<PublicKey, Cited<String>>,
    datasets: Vec<Dataset>,
    guidelines: Vec<Guideline>,
    annotations: AnnotationTally,
    training: TrainingTally,
    oversight: Vec<Decision>,
    findings: Vec<Note>,
    incidents: Vec<Note>,
}

impl ModelCard {
    /// Begins the card of a run.
    pub fn collect(run: RunId) -> Collector {
        Collector {
            id: run,
            run: RunFacts {
                id: run.as_str().to_owned(),
                name: None,
                experiment: None,
                model: None,
                owner: None,
                config: BTreeMap::new(),
                started: None,
                sealed: None,
                status: Status::Open,
                last_record: None,
            },
            records: Cited::default(),
            ledger_records: Cited::default(),
            kinds: BTreeMap::new(),
            streams: BTreeMap::new(),
            enrolled: BTreeMap::new(),
            datasets: Vec::new(),
            guidelines: Vec::new(),
            annotations: AnnotationTally::default(),
            training: TrainingTally::default(),
            oversight: Vec::new(),
            findings: Vec::new(),
            incidents: Vec::new(),
        }
    }
}

/// A record and its place, as the parts of a card take it.
pub(crate) struct At<'a> {
    pub(crate) index: LeafIndex,
    pub(crate) record: &'a Record<'a>,
}

impl At<'_> {
    pub(crate) fn body<T: Body>(&self) -> Result<T, ReportError> {
        self.record.decode().map_err(|source| ReportError::Body {
            index: self.index,
            source,
        })
    }

    pub(crate) fn evidence(&self) -> Evidence {
        Evidence::at(self.index)
    }

    pub(crate) fn cite<T>(&self, value: T) -> Cited<T> {
        Cited::at(value, self.index)
    }
}

impl Collector {
    /// Takes the record at `index` of the log. Kinds and versions unknown here are counted by name.
    ///
    /// # Errors
    ///
    /// [`ReportError::OtherRun`] for a record of another run, [`ReportError::Body`] for one whose
    /// body does not decode.
    pub fn add(&mut self, index: LeafIndex, record: &Record<'_>) -> Result<(), ReportError> {
        let at = At { index, record };
        match record.scope() {
            Scope::Run(run) if run == self.id => {
                self.records.count(index);
                self.run.last_record = Some(at.cite(record.time().to_string()));
                self.stream(&at).records.count(index);
            }
            Scope::Run(found) => {
                return Err(ReportError::OtherRun {
                    index,
                    expected: self.id,
                    found,
                });
            }
            Scope::Ledger if record.is(Kind::ProducerEnrolled) => {
                let body: ProducerEnrolled = at.body()?;
                self.enrolled
                    .entry(body.key)
                    .or_insert_with(|| at.cite(body.by));
                return Ok(());
            }
            // Who has read is no part of the training, and reading a card must not change it.
            Scope::Ledger if record.is(Kind::AccessRead) => return Ok(()),
            Scope::Ledger if record.named_run() == Some(self.id) => {
                self.ledger_records.count(index);
            }
            Scope::Ledger => return Ok(()),
        }
        self.kinds
            .entry(record.kind_name().to_owned())
            .or_default()
            .count(index);
        match record.kind() {
            Some(kind) => self.take(kind, &at),
            None => Ok(()),
        }
    }

    /// The card, taken from `log`.
    ///
    /// # Errors
    ///
    /// [`ReportError::Empty`] if there was no record of the run.
    pub fn finish(mut self, log: LogView) -> Result<ModelCard, ReportError> {
        if self.records.value == 0 {
            return Err(ReportError::Empty(self.id));
        }
        for stream in self.streams.values_mut() {
            let key = stream
                .key
                .as_ref()
                .and_then(|key| PublicKey::parse(&key.value));
            stream.enrolled_by = key.and_then(|key| self.enrolled.get(&key).cloned());
        }
        let by_dataset = self.annotations.by_dataset();
        for dataset in &mut self.datasets {
            dataset.annotations = by_dataset.get(&dataset.name).cloned().unwrap_or_default();
        }
        let mut card = ModelCard {
            schema: "rlhf-audit/model-card/v1",
            run: self.run,
            log,
            records: self.records,
            ledger_records: self.ledger_records,
            kinds: self.kinds,
            streams: self.streams.into_values().collect(),
            datasets: self.datasets,
            guidelines: self.guidelines,
            annotations: self.annotations.finish(),
            checkpoints: std::mem::take(&mut self.training.checkpoints),
            evaluations: std::mem::take(&mut self.training.evaluations),
            training: self.training.finish(),
            oversight: self.oversight,
            findings: self.findings,
            incidents: self.incidents,
            not_recorded: Vec::new(),
        };
        card.not_recorded = missing::not_recorded(&card);
        Ok(card)
    }

    fn stream(&mut self, at: &At<'_>) -> &mut StreamFacts {
        let name = at.record.stream().as_str();
        self.streams
            .entry(name.to_owned())
            .or_insert_with(|| StreamFacts {
                stream: name.to_owned(),
                producer: None,
                key: None,
                software: None,
                enrolled_by: None,
                records: Cited::default(),
                signatures: Cited::default(),
            })
    }

    fn take(&mut self, kind: Kind, at: &At<'_>) -> Result<(), ReportError> {
        match kind {
            Kind::RunStarted => self.started(at)?,
            Kind::RunDescribed => self.described(at)?,
            Kind::RunSealed => self.sealed(at)?,
            Kind::StreamOpened => {
                let body: StreamOpened = at.body()?;
                let stream = self.stream(at);
                stream.producer = Some(at.cite(body.producer.to_string()));
                stream.key = Some(at.cite(body.key.to_string()));
                stream.software = body.software.map(|software| at.cite(software));
            }
            Kind::StreamSigned => self.stream(at).signatures.count(at.index),
            Kind::DatasetRegistered => self.dataset(at)?,
            Kind::GuidelineRegistered => {
                let body: GuidelineRegistered = at.body()?;
                self.guidelines.push(Guideline {
                    name: body.name,
                    revision: body.revision,
                    sha256: body.sha256.to_string(),
                    evidence: at.evidence(),
                });
            }
            Kind::OversightApproved | Kind::OversightRejected | Kind::OversightStopped => {
                self.oversight.push(decision(kind, at)?);
            }
            Kind::FindingRaised => self.finding(at)?,
            Kind::IncidentReported => {
                let body: IncidentReported = at.body()?;
                self.incidents.push(Note {
                    what: body.incident,
                    detail: body.detail,
                    stream: body.stream.map(|stream| stream.as_str().to_owned()),
                    severity: None,
                    evidence: at.evidence(),
                });
            }
            Kind::ConsentRecorded
            | Kind::AnnotationPreference
            | Kind::AnnotationRating
            | Kind::AnnotationRanking
            | Kind::AnnotationCorrection
            | Kind::AnnotationCritique
            | Kind::AnnotationDemonstration
            | Kind::AnnotationSuperseded
            | Kind::AnnotationWithdrawn => self.annotations.take(kind, at)?,
            Kind::RewardScored
            | Kind::PolicyUpdated
            | Kind::ModelCheckpoint
            | Kind::MetricLogged
            | Kind::EvaluationCompleted => self.training.take(kind, at)?,
            // Counted by kind; they say nothing else about a run.
            Kind::ProducerEnrolled
            | Kind::ExperimentRegistered
            | Kind::MetricDiverged
            | Kind::ArtifactLogged
            | Kind::DocumentIssued
            | Kind::AccessRead
            | Kind::AccessChanged
            | Kind::KeyRotated
            | Kind::LedgerContinued
            | Kind::LedgerClosed => {}
        }
        Ok(())
    }

    fn started(&mut self, at: &At<'_>) -> Result<(), ReportError> {
        let body: RunStarted = at.body()?;
        self.run.name = Some(at.cite(body.name));
        self.run.experiment = body.experiment.map(|experiment| at.cite(experiment));
        self.run.model = body.model.map(|model| at.cite(model));
        self.run.owner = Some(at.cite(body.owner.to_string()));
        self.run.started = Some(at.cite(at.record.time().to_string()));
        let config = body.config.unwrap_or_default();
        self.run.config = config.into_iter().map(|(k, v)| (k, at.cite(v))).collect();
        Ok(())
    }

    /// Settings that became known later; the first value of a name stays.
    fn described(&mut self, at: &At<'_>) -> Result<(), ReportError> {
        let body: RunDescribed = at.body()?;
        for (name, value) in body.config.unwrap_or_default() {
            self.run
                .config
                .entry(name)
                .or_insert_with(|| at.cite(value));
        }
        Ok(())
    }

    fn sealed(&mut self, at: &At<'_>) -> Result<(), ReportError> {
        let body: RunSealed = at.body()?;
        self.run.sealed = Some(at.cite(at.record.time().to_string()));
        self.run.status = match body.status {
            RunStatus::Completed => Status::Completed,
            RunStatus::Failed => Status::Failed,
            RunStatus::Aborted => Status::Aborted,
        };
        Ok(())
    }

    fn dataset(&mut self, at: &At<'_>) -> Result<(), ReportError> {
        let body: DatasetRegistered = at.body()?;
        self.datasets.push(Dataset {
            name: body.name,
            format: body.format,
            sha256: body.sha256.to_string(),
            bytes: body.bytes,
            rows: body.rows,
            license: body.license,
            source: body.source,
            annotations: Cited::default(),
            evidence: at.evidence(),
        });
        Ok(())
    }

    fn finding(&mut self, at: &At<'_>) -> Result<(), ReportError> {
        let body: FindingRaised = at.body()?;
        let mut evidence = at.evidence();
        for index in body.evidence.unwrap_or_default() {
            evidence.add(LeafIndex(index));
        }
        self.findings.push(Note {
            what: body.finding,
            detail: body.detail,
            stream: body.stream.map(|stream| stream.as_str().to_owned()),
            severity: body.severity.map(|severity| severity.to_string()),
            evidence,
        });
        Ok(())
    }
}

fn decision(kind: Kind, at: &At<'_>) -> Result<Decision, ReportError> {
    macro_rules! decision {
        ($body:ty, $word:literal) => {{
            let body: $body = at.body()?;
            Decision {
                decision: $word,
                subject: body.subject,
                reviewer: body.reviewer.map(|reviewer| reviewer.to_string()),
                step: body.step,
                at: body.at.unwrap_or_else(|| at.record.time()).to_string(),
                evidence: at.evidence(),
            }
        }};
    }
    Ok(match kind {
        Kind::OversightApproved => decision!(OversightApproved, "approved"),
        Kind::OversightRejected => decision!(OversightRejected, "rejected"),
        _ => decision!(OversightStopped, "stopped"),
    })
}
