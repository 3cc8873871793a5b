//! What annotation platforms say, in the one form that importers and webhooks share: an
//! [`Annotation`] is what one person said of one thing, at one time, and becomes a draft for each of
//! its judgements.
//!
//! Not here: how a payload arrives, whether it may be believed, what was said before.

pub mod argilla;
pub mod label_studio;
mod time;
mod words;

use record::kinds::{
    AnnotationCorrection, AnnotationCritique, AnnotationDemonstration, AnnotationPreference,
    AnnotationRanking, AnnotationRating, Choice, Scale, Source,
};
use record::{Body, Draft, Pseudonym, RunId, SealedValue, Subject, Timestamp};
use serde_json::Value;

use crate::error::Misfit;

/// The most judgements one annotation may hold: what a person says of one thing.
pub const MAX_JUDGEMENTS: usize = 1_000;

/// What happened at a platform.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Annotations were made or changed: this is how they stand now. One without judgements was
    /// skipped, discarded or is a draft again.
    Stands(Vec<Annotation>),
    /// Annotations are gone: their [`Annotation::id`]s.
    Gone(Vec<String>),
    /// What was annotated is gone, and what was said of it with it: the [`Annotation::of`] of each.
    ItemsGone(Vec<String>),
    /// Nothing that belongs into a log of annotations: why.
    Nothing(&'static str),
}

/// What one person said of one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// What the platform calls the thing, as a short text.
    pub of: String,
    /// What the platform calls the annotation, as a short text; the same after a change.
    pub id: String,
    /// What the platform calls the person.
    pub annotator: Option<Value>,
    /// When it was last changed.
    pub at: Option<Timestamp>,
    /// How long the person took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// What was said, question by question, always in the same order.
    pub judgements: Vec<Judgement>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The name of the question.
    pub criterion: String,
    /// What the person was asked about, beside what is judged.
    prompt: Option<Value>,
    /// What the person said about it in their own words.
    rationale: Option<Value>,
    says: Says,
}

#[derive(Debug, Clone, PartialEq)]
enum Says {
    Prefers {
        choice: Choice,
        a: Value,
        b: Value,
    },
    Rates {
        scale: Scale,
        value: f64,
        response: Value,
    },
    Ranks {
        ranks: Vec<i64>,
        responses: Vec<Value>,
    },
    Finds {
        category: String,
        target: Option<String>,
        critique: Value,
        response: Option<Value>,
    },
    Corrects {
        corrected: Value,
        original: Option<Value>,
    },
    Shows {
        response: Value,
    },
}

impl Annotation {
    /// What the annotation is called in records: what was annotated, and the platform's name of it.
    pub fn item(&self) -> String {
        if self.id.is_empty() {
            self.of.clone()
        } else {
            format!("{}/{}", self.of, self.id)
        }
    }

    /// A draft for each judgement, in their order, which is that of [`Annotation::judgements`].
    ///
    /// # Errors
    /// A value that is too large to be sealed.
    pub fn drafts(&self, known: &Known<'_>) -> Result<Vec<Draft>, Misfit> {
        let draft = |(number, judgement): (usize, &Judgement)| {
            judgement.draft(&Shared {
                annotation: self,
                annotator: known.annotator,
                late: known.late,
                source: (known.source)(number),
            })
        };
        self.judgements.iter().enumerate().map(draft).collect()
    }
}

/// What is known of an annotation beside what the platform says.
pub struct Known<'a> {
    /// The person's pseudonym, under whose key the person's own words and id are sealed.
    pub annotator: Option<Pseudonym>,
    /// The run, where the records come after it was sealed.
    pub late: Option<RunId>,
    /// Where a data set has the draft of this number.
    pub source: &'a dyn Fn(usize) -> Option<Source>,
}

/// What every draft of an annotation has.
struct Shared<'a> {
    annotation: &'a Annotation,
    annotator: Option<Pseudonym>,
    late: Option<RunId>,
    source: Option<Source>,
}

macro_rules! with_shared {
    ($body:expr, $shared:expr, $criterion:expr) => {{
        let mut body = $body;
        body.annotator = $shared.annotator;
        body.at = $shared.annotation.at;
        body.criterion = fitting($criterion);
        body.duration_ms = $shared.annotation.duration_ms;
        body.item = fitting(&$shared.annotation.item());
        body.run = $shared.late;
        body.source = $shared.source.clone();
        body
    }};
}

impl Judgement {
    /// Whether it is one that a rationale can be about.
    fn is_verdict(&self) -> bool {
        matches!(
            self.says,
            Says::Prefers { .. } | Says::Rates { .. } | Says::Ranks { .. }
        )
    }

    fn draft(&self, shared: &Shared<'_>) -> Result<Draft, Misfit> {
        let of_run = |name, value: &Value| (name, value.clone(), Subject::Run);
        // What the person wrote is the person's.
        let own = shared.annotator.map_or(Subject::Run, Subject::Person);
        let mut sealed = Vec::new();
        sealed.extend(self.prompt.as_ref().map(|prompt| of_run("prompt", prompt)));
        let rationale = self.rationale.as_ref();
        sealed.extend(rationale.map(|text| ("rationale", text.clone(), own)));
        if let (Some(_), Some(id)) = (shared.annotator, &shared.annotation.annotator) {
            sealed.push(("annotator_id", id.clone(), own));
        }
        let criterion = &self.criterion;
        match &self.says {
            Says::Prefers { choice, a, b } => {
                sealed.push(of_run("response_a", a));
                sealed.push(of_run("response_b", b));
                let body = AnnotationPreference::new(*choice);
                finish(with_shared!(body, shared, criterion), sealed)
            }
            Says::Rates {
                scale,
                value,
                response,
            } => {
                sealed.push(of_run("response", response));
                let mut body = AnnotationRating::new(*value);
                body.scale = Some(scale.clone());
                finish(with_shared!(body, shared, criterion), sealed)
            }
            Says::Ranks { ranks, responses } => {
                sealed.push(of_run("responses", &Value::Array(responses.clone())));
                let body = AnnotationRanking::new(ranks.clone());
                finish(with_shared!(body, shared, criterion), sealed)
            }
            Says::Finds {
                category,
                target,
                critique,
                response,
            } => {
                sealed.push(("critique", critique.clone(), own));
                sealed.extend(response.as_ref().map(|it| of_run("response", it)));
                let mut body = AnnotationCritique::new(category.clone());
                body.target = target.as_deref().and_then(fitting);
                finish(with_shared!(body, shared, criterion), sealed)
            }
            Says::Corrects {
                corrected,
                original,
            } => {
                sealed.push(("corrected", corrected.clone(), own));
                sealed.extend(original.as_ref().map(|it| of_run("original", it)));
                let body = AnnotationCorrection::new();
                finish(with_shared!(body, shared, criterion), sealed)
            }
            Says::Shows { response } => {
                sealed.push(("response", response.clone(), own));
                let body = AnnotationDemonstration::new();
                finish(with_shared!(body, shared, criterion), sealed)
            }
        }
    }
}

fn finish<B: Body>(body: B, sealed: Vec<(&str, Value, Subject)>) -> Result<Draft, Misfit> {
    let mut draft = Draft::new(body);
    for (field, value, subject) in sealed {
        // The draft would say so only when it is written.
        SealedValue::from_json(&value)
            .map_err(|e| Misfit::at(field, "a value that can be sealed", e.to_string()))?;
        draft = draft.seal(field, &value, subject);
    }
    Ok(draft)
}

/// The text, where a body can hold it; there is no shame in leaving out a name.
fn fitting(text: &str) -> Option<String> {
    words::is_text(text).then(|| text.to_owned())
}

/// Values by the names of their fields.
type Named = Vec<(String, Value)>;

/// A rationale belongs to the one verdict beside it, where there is one.
fn place_rationale(judgements: &mut Vec<Judgement>, rationale: Named) {
    let mut verdicts = judgements.iter_mut().filter(|it| it.is_verdict());
    match (verdicts.next(), verdicts.next(), &rationale[..]) {
        (Some(verdict), None, [(_, text)]) => verdict.rationale = Some(text.clone()),
        _ => judgements.extend(rationale.into_iter().map(|(criterion, text)| {
            let says = Says::Finds {
                category: words::category(&criterion),
                target: None,
                critique: text,
                response: None,
            };
            Judgement {
                criterion,
                prompt: None,
                rationale: None,
                says,
            }
        })),
    }
}

/// The one value, or all of them by name; nothing where there is none.
fn one_or_named(mut values: Named) -> Option<Value> {
    match values.len() {
        0 => None,
        1 => values.pop().map(|(_, value)| value),
        _ => Some(Value::Object(values.into_iter().collect())),
    }
}

/// Refuses what no person says of one thing.
fn bounded(judgements: Vec<Judgement>) -> Result<Vec<Judgement>, Misfit> {
    if judgements.len() <= MAX_JUDGEMENTS {
        return Ok(judgements);
    }
    Err(Misfit::row(
        format!("at most {MAX_JUDGEMENTS} answers in one annotation"),
        judgements.len().to_string(),
    ))
}
