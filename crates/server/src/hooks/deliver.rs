//! One delivery: believed or not, understood or not, and recorded.

use axum::http::{HeaderMap, StatusCode};
use import::Misfit;
use import::platforms::{Annotation, Event, Known, argilla, label_studio};
use ledger::{Hook, HookTarget, Ledger, Principal};
use record::kinds::{AnnotationSuperseded, AnnotationWithdrawn, IncidentReported, RunStarted};
use record::{
    Draft, Pseudonym, PublicKey, Record, RecordHash, RunId, Scope, StreamWriter, Subject,
    Submission, Timestamp,
};
use serde_json::Value;

use super::memory::{Annotated, Memory};
use super::{Hooks, Platform, lock, proof};
use crate::own::{OwnError, unwritten};
use crate::problem::Problem;
use crate::state::State;

/// How often a delivery starts over because another server wrote meanwhile.
const TRIES: usize = 5;

/// What came of a delivery.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) recorded: u64,
    pub(crate) superseded: u64,
    pub(crate) withdrawn: u64,
    /// Why there was nothing to record.
    pub(crate) ignored: Option<&'static str>,
}

/// Records what was delivered to the hook `name`.
///
/// # Errors
/// 401 where no hook of this name shares the sender's secret, 422 for what cannot be understood (which
/// the log then knows of), what the ledger refuses.
pub(crate) fn deliver(
    state: &State,
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Outcome, Problem> {
    let ledger = state.ledger();
    let Some((hook, secret)) = ledger.hook(name)? else {
        return Err(unproven());
    };
    let platform: Platform = hook.platform.parse()?;
    if !proof::holds(platform, &secret, headers, body, ledger.clock().now()) {
        return Err(unproven());
    }
    match event(platform, body) {
        Ok(Event::Nothing(why)) => Ok(Outcome {
            ignored: Some(why),
            ..Outcome::default()
        }),
        Ok(event) => {
            let recorded = record_event(state.hooks(), ledger, &hook, &event);
            recorded.inspect_err(|problem| {
                if problem.status() == StatusCode::UNPROCESSABLE_ENTITY.as_u16() {
                    report(state, &hook, body, problem.detail());
                }
            })
        }
        Err(misfit) => {
            let problem = Problem::unprocessable(
                "bad-payload",
                format!("{misfit}; nothing was recorded of this delivery but that it was refused"),
            );
            report(state, &hook, body, problem.detail());
            Err(problem)
        }
    }
}

fn event(platform: Platform, body: &[u8]) -> Result<Event, Misfit> {
    let payload: Value = serde_json::from_slice(body).map_err(|error| Misfit {
        field: None,
        expected: "JSON".to_owned(),
        found: format!(
            "a mistake in line {}, column {}",
            error.line(),
            error.column()
        ),
    })?;
    let event = match platform {
        Platform::LabelStudio => label_studio::event(&payload),
        Platform::Argilla => argilla::event(&payload),
    }?;
    // Without a time, a version cannot be told from the next.
    if let Event::Stands(annotations) = &event
        && annotations.iter().any(|annotation| annotation.at.is_none())
    {
        return Err(Misfit {
            field: Some("updated_at".to_owned()),
            expected: "when the annotation was last changed".to_owned(),
            found: "no such field".to_owned(),
        });
    }
    Ok(event)
}

/// The log has to know that something is missing in it.
fn report(state: &State, hook: &Hook, body: &[u8], why: &str) {
    if !state.hooks().is_first_refusal(body) {
        return;
    }
    let mut incident = IncidentReported::new("delivery-refused".to_owned());
    incident.detail = Some(hook.platform.clone());
    incident.stream = Hook::stream_of(&hook.name);
    if let HookTarget::Run(run) = hook.target {
        incident.run = Some(run);
    }
    let draft = Draft::new(incident).seal("description", &why.into(), Subject::Run);
    let reported = state.ledger().record_own(draft).map(ledger::Ticket::wait);
    if !matches!(reported, Ok(Ok(_))) {
        tracing::error!(
            hook = hook.name,
            "a refused delivery could not be reported in the log"
        );
    }
}

fn record_event(
    hooks: &Hooks,
    ledger: &Ledger,
    hook: &Hook,
    event: &Event,
) -> Result<Outcome, Problem> {
    let memory = hooks.memory(hook)?;
    let mut memory = lock(&memory);
    let mut outcome = Outcome::default();
    match event {
        Event::Stands(annotations) => {
            for annotation in annotations {
                let changes = retried(&mut memory, ledger, |memory| {
                    stands(memory, ledger, annotation)
                })?;
                outcome.add(changes);
            }
        }
        Event::Gone(_) | Event::ItemsGone(_) => {
            memory.refresh(ledger)?;
            let items = match event {
                Event::Gone(ids) => memory.items_of(ids),
                Event::ItemsGone(of) => of.iter().flat_map(|of| memory.items_below(of)).collect(),
                _ => Vec::new(),
            };
            for item in items {
                let changes = retried(&mut memory, ledger, |memory| {
                    let Some(known) = memory.annotated(&item).cloned() else {
                        return Ok(Outcome::default());
                    };
                    write(memory, ledger, known.run, &Changes::withdraw(&known, None))
                })?;
                outcome.add(changes);
            }
        }
        Event::Nothing(why) => outcome.ignored = Some(why),
    }
    Ok(outcome)
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.recorded += other.recorded;
        self.superseded += other.superseded;
        self.withdrawn += other.withdrawn;
    }
}

/// Tries again on what the log says now, where another server was first.
fn retried(
    memory: &mut Memory,
    ledger: &Ledger,
    mut change: impl FnMut(&mut Memory) -> Result<Outcome, OwnError>,
) -> Result<Outcome, Problem> {
    for _ in 0..TRIES {
        memory.refresh(ledger)?;
        match change(memory) {
            Ok(outcome) => return Ok(outcome),
            Err(OwnError::Moved) => {}
            // The run was sealed between the look and the write.
            Err(OwnError::Refused(problem)) if problem.code() == "run-sealed" => {}
            Err(OwnError::Refused(problem)) => return Err(problem),
        }
    }
    Err(Problem::unavailable(
        "overloaded",
        "other servers write to this hook's stream; send this again",
        1,
    ))
}

/// How an annotation stands now, held against how it stood.
fn stands(
    memory: &mut Memory,
    ledger: &Ledger,
    annotation: &Annotation,
) -> Result<Outcome, OwnError> {
    let known = memory.annotated(&annotation.item()).cloned();
    let at = annotation.at;
    if let Some(known) = &known
        && at.is_some_and(|at| known.seen.contains(&at))
    {
        return Ok(Outcome::default());
    }
    if annotation.judgements.is_empty() {
        // Skipped, discarded, or a draft again: what was said before no longer counts.
        return match &known {
            Some(known) if !is_outdated(known, at) => {
                write(memory, ledger, known.run, &Changes::withdraw(known, at))
            }
            _ => Ok(Outcome::default()),
        };
    }
    let run = match &known {
        Some(known) => known.run,
        None => target(memory, ledger)?,
    };
    let person = annotation.annotator.as_ref();
    let pseudonym = person.map(|person| {
        let known = memory.pseudonym(run, person);
        known.unwrap_or_else(|| Pseudonym::generate(&*ledger.entropy()))
    });
    let changes = Changes {
        at,
        annotation: Some(annotation),
        annotator: pseudonym.or_else(|| known.as_ref()?.annotator),
        standing: known
            .as_ref()
            .map_or_else(Vec::new, |known| known.standing.clone()),
        outdated: known.as_ref().is_some_and(|known| is_outdated(known, at)),
    };
    write(memory, ledger, run, &changes)
}

/// Whether a later version was seen already.
fn is_outdated(known: &Annotated, at: Option<Timestamp>) -> bool {
    known.seen.last().copied() > at
}

/// The run that new annotations go to: the hook's, or one that it starts in its experiment.
fn target(memory: &mut Memory, ledger: &Ledger) -> Result<RunId, OwnError> {
    let experiment = match &memory.hook.target {
        HookTarget::Run(run) => return Ok(*run),
        HookTarget::Experiment(experiment) => experiment.clone(),
    };
    let runs: Vec<RunId> = memory.places.keys().filter_map(Scope::run).collect();
    for run in runs {
        if ledger.run(run)?.status.is_none() {
            return Ok(run);
        }
    }
    let run = RunId::generate(&*ledger.clock(), &*ledger.entropy());
    let owner = PublicKey::from(&ledger.operator_key());
    let mut body = RunStarted::new(memory.hook.name.clone(), owner);
    body.experiment = Some(experiment);
    let scope = Scope::Run(run);
    let place = memory.place(scope);
    let written = place.own.write(ledger, &Principal::local(), |writer| {
        writer
            .write(Draft::new(body))
            .map_err(|error| unwritten(&error))
    })?;
    let last = written.last().map_or(0, |one| one.receipt.index);
    memory.took(scope, last, written.len() as u64);
    Ok(run)
}

/// What changes with one delivery of one annotation.
struct Changes<'a> {
    at: Option<Timestamp>,
    /// What is said now; nothing where it is taken back.
    annotation: Option<&'a Annotation>,
    annotator: Option<Pseudonym>,
    /// What counted before.
    standing: Vec<(String, RecordHash)>,
    /// What comes is older than what stands.
    outdated: bool,
}

impl Changes<'_> {
    fn withdraw(known: &Annotated, at: Option<Timestamp>) -> Self {
        Self {
            at,
            annotation: None,
            annotator: known.annotator,
            standing: known.standing.clone(),
            outdated: false,
        }
    }
}

/// Writes the changes into the run, or, where it is sealed, as late records that name it.
fn write(
    memory: &mut Memory,
    ledger: &Ledger,
    run: RunId,
    changes: &Changes<'_>,
) -> Result<Outcome, OwnError> {
    let late = ledger.run(run)?.status.is_some().then_some(run);
    let scope = if late.is_some() {
        Scope::Ledger
    } else {
        Scope::Run(run)
    };
    let drafts = match changes.annotation {
        None => Vec::new(),
        Some(annotation) => annotation
            .drafts(&Known {
                annotator: changes.annotator,
                late,
                source: &|_| None,
            })
            .map_err(|misfit| Problem::unprocessable("bad-payload", misfit.to_string()))?,
    };
    if drafts.is_empty() && changes.standing.is_empty() {
        return Ok(Outcome::default());
    }
    let questions: Vec<String> = changes.annotation.map_or_else(Vec::new, |annotation| {
        annotation
            .judgements
            .iter()
            .map(|it| it.criterion.clone())
            .collect()
    });
    let mut outcome = Outcome::default();
    let place = memory.place(scope);
    let length = Some(place.length);
    let written = place
        .own
        .write_at(ledger, &Principal::local(), length, |writer| {
            let mut out = Out {
                writer,
                submissions: Vec::new(),
                late,
                changes,
            };
            outcome = out.all(drafts, &questions)?;
            Ok(out.submissions)
        })?;
    for one in &written {
        let record = Record::parse(&one.submission.record).map_err(ledger::LedgerError::from)?;
        let openings = one.submission.openings.iter();
        let opened = openings
            .map(|(field, opening)| (field.clone(), opening.value.to_json()))
            .collect();
        memory.take(&record, one.receipt.leaf_hash.into(), || Ok(opened))?;
    }
    if let Some(last) = written.last() {
        memory.took(scope, last.receipt.index, written.len() as u64);
    }
    Ok(outcome)
}

/// Records on their way into a stream.
struct Out<'w, 'c> {
    writer: &'w mut StreamWriter,
    submissions: Vec<Submission>,
    late: Option<RunId>,
    changes: &'c Changes<'c>,
}

impl Out<'_, '_> {
    /// New annotations, each with the one it takes the place of; then those that have no successor.
    fn all(&mut self, drafts: Vec<Draft>, questions: &[String]) -> Result<Outcome, Problem> {
        let mut outcome = Outcome::default();
        let mut before = self.changes.standing.clone();
        for (draft, question) in drafts.into_iter().zip(questions) {
            let new = self.write(draft)?;
            outcome.recorded += 1;
            let at = before.iter().position(|(old, _)| old == question);
            match (at.map(|at| before.remove(at)), self.changes.outdated) {
                (Some((_, old)), false) => {
                    self.supersede(old, Some(new))?;
                    outcome.superseded += 1;
                }
                // It comes too late to count: what stands has taken its place already.
                (Some((_, standing)), true) => {
                    self.supersede(new, Some(standing))?;
                    outcome.superseded += 1;
                }
                (None, true) => {
                    self.withdraw(new)?;
                    outcome.withdrawn += 1;
                }
                (None, false) => {}
            }
        }
        if !self.changes.outdated {
            for (_, old) in before {
                self.withdraw(old)?;
                outcome.withdrawn += 1;
            }
        }
        Ok(outcome)
    }

    fn supersede(&mut self, old: RecordHash, by: Option<RecordHash>) -> Result<(), Problem> {
        let mut body = AnnotationSuperseded::new(old);
        body.annotator = self.changes.annotator;
        body.at = self.changes.at;
        body.by = by;
        body.run = self.late;
        self.write(Draft::new(body)).map(drop)
    }

    fn withdraw(&mut self, old: RecordHash) -> Result<(), Problem> {
        let mut body = AnnotationWithdrawn::new(old);
        body.annotator = self.changes.annotator;
        body.at = self.changes.at;
        body.run = self.late;
        self.write(Draft::new(body)).map(drop)
    }

    /// Writes one record, and gives its name.
    fn write(&mut self, draft: Draft) -> Result<RecordHash, Problem> {
        let kind = draft.kind();
        let written = self
            .writer
            .write(draft)
            .map_err(|error| unwritten(&error))?;
        let mut name = None;
        for submission in &written {
            let record = Record::parse(&submission.record).map_err(ledger::LedgerError::from)?;
            if record.is(kind) {
                name = Some(RecordHash::from(record.leaf_hash()));
            }
        }
        self.submissions.extend(written);
        name.ok_or_else(|| Problem::unprocessable("bad-object", format!("no {kind} was written")))
    }
}

/// Whether there is such a hook is not told to who cannot prove that it is theirs.
fn unproven() -> Problem {
    Problem::unauthorized(
        "unproven-delivery",
        "no hook of this name has this secret: Label Studio sends it in the header `authorization: Bearer \
         …`, Argilla signs with the secret that it shows for the webhook; see `rlhf-audit hook list`",
    )
}
