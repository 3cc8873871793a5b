//! Metrics, parameters and tags as drafts: what is known is left out, what contradicts it is refused,
//! and what may not stand in the clear is sealed.

use std::collections::BTreeMap;

use record::kinds::{MetricDiverged, MetricLogged, NotFinite, RunDescribed};
use record::{Draft, MAX_INTEGER, RunId, Subject, Timestamp};
use serde_json::Value;

use super::error::Refusal;
use super::plain;
use super::view::{Point, View, object};
use super::wire::{Metric, Tag};

/// MLflow's own limits, which its clients keep.
const MAX_METRICS: usize = 1_000;
const MAX_TEXTS: usize = 100;
const MAX_PARAM_CHARS: usize = 6_000;
const MAX_TAG_CHARS: usize = 8_000;
/// The most characters of a name in a record; MLflow would take 250.
const MAX_NAME_CHARS: usize = 128;
/// The most metrics in a record.
const MAX_MEMBERS: usize = 256;

/// What a client logs at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) metrics: Vec<Metric>,
    pub(crate) params: Vec<Tag>,
    pub(crate) tags: Vec<Tag>,
    /// Tags to be taken off.
    pub(crate) untagged: Vec<String>,
    /// Data sets that the run reads.
    pub(crate) datasets: Vec<Value>,
}

impl Batch {
    /// The drafts of what is new; `late` names the run in records that come after its end.
    ///
    /// # Errors
    /// Something is over a limit, or a parameter has another value already. Nothing is recorded then.
    pub(crate) fn drafts(&self, view: &View, late: Option<RunId>) -> Result<Vec<Draft>, Refusal> {
        self.check()?;
        let mut drafts = Vec::new();
        drafts.extend(self.described(view, late)?);
        drafts.extend(self.measured(view, late)?);
        Ok(drafts)
    }

    fn check(&self) -> Result<(), Refusal> {
        for (what, length, most) in [
            ("metrics", self.metrics.len(), MAX_METRICS),
            ("params", self.params.len(), MAX_TEXTS),
            ("tags", self.tags.len(), MAX_TEXTS),
        ] {
            if length > most {
                return Err(Refusal::invalid(format!(
                    "{what} has {length} entries, expected at most {most}; send several batches"
                )));
            }
        }
        let names = self.metrics.iter().map(|metric| ("metric", &metric.key));
        let names = names.chain(self.params.iter().map(|param| ("param", &param.key)));
        let names = names.chain(self.tags.iter().map(|tag| ("tag", &tag.key)));
        for (what, name) in names {
            check_name(what, name)?;
        }
        check_lengths("param", &self.params, MAX_PARAM_CHARS)?;
        check_lengths("tag", &self.tags, MAX_TAG_CHARS)
    }

    /// Parameters and tags that are new.
    fn described(&self, view: &View, late: Option<RunId>) -> Result<Option<Draft>, Refusal> {
        let (mut config, mut hidden) = (BTreeMap::new(), BTreeMap::new());
        for Tag { key, value } in &self.params {
            let known = view.params.get(key).map(|known| known.text.clone());
            let given = config.get(key).or_else(|| hidden.get(key));
            let known = known.or_else(|| given.and_then(Value::as_str).map(str::to_owned));
            match known {
                Some(known) if known == *value => {}
                // The value may be sealed: it is not repeated.
                Some(_) => {
                    return Err(Refusal::invalid(format!(
                        "the param `{key}` has another value already; what is recorded cannot be \
                         changed, log it under another name"
                    )));
                }
                None if plain::param(key, value) => {
                    config.insert(key.clone(), Value::from(value.as_str()));
                }
                None => {
                    hidden.insert(key.clone(), Value::from(value.as_str()));
                }
            }
        }
        let (mut tags, mut hidden_tags) = (BTreeMap::new(), BTreeMap::new());
        for Tag { key, value } in &self.tags {
            let known = view.tags.get(key).is_some_and(|known| known.text == *value);
            if known || plain::is_dropped(key) {
                continue;
            }
            // The last of several counts.
            tags.remove(key);
            hidden_tags.remove(key);
            let place = if plain::tag(key, value) {
                &mut tags
            } else {
                &mut hidden_tags
            };
            place.insert(key.clone(), Value::from(value.as_str()));
        }
        for key in &self.untagged {
            hidden_tags.insert(key.clone(), Value::Null);
        }
        let datasets = self
            .datasets
            .iter()
            .filter(|one| !view.datasets.contains(one));
        let datasets: Vec<Value> = datasets.cloned().collect();
        let clear = !(config.is_empty() && tags.is_empty());
        if !clear && hidden.is_empty() && hidden_tags.is_empty() && datasets.is_empty() {
            return Ok(None);
        }
        let mut body = RunDescribed::new();
        body.config = Some(config).filter(|config| !config.is_empty());
        body.tags = Some(tags).filter(|tags| !tags.is_empty());
        body.run = late;
        let mut draft = Draft::new(body);
        if !hidden.is_empty() {
            draft = draft.seal("config", &object(hidden), Subject::Run);
        }
        if !hidden_tags.is_empty() {
            draft = draft.seal("tags", &object(hidden_tags), Subject::Run);
        }
        if !datasets.is_empty() {
            draft = draft.seal("datasets", &Value::Array(datasets), Subject::Run);
        }
        Ok(Some(draft))
    }

    /// Metrics that are new: those of one step and time together, while no name comes twice.
    fn measured(&self, view: &View, late: Option<RunId>) -> Result<Vec<Draft>, Refusal> {
        let mut groups: Vec<Group> = Vec::new();
        for metric in &self.metrics {
            let point = point(metric)?;
            if view.knows(&metric.key, &point) {
                continue;
            }
            let same =
                |group: &&mut Group| (group.step, group.timestamp) == (point.step, point.timestamp);
            let group = groups.iter_mut().rev().find(same);
            match group {
                Some(group) if group.has(&metric.key, point.value) => {}
                Some(group) if group.takes(&metric.key) => group.add(&metric.key, point.value),
                _ => {
                    let mut group = Group::at(&point);
                    group.add(&metric.key, point.value);
                    groups.push(group);
                }
            }
        }
        Ok(groups
            .into_iter()
            .flat_map(|group| group.drafts(late))
            .collect())
    }
}

/// Metrics of one step and time.
struct Group {
    step: u64,
    timestamp: i64,
    finite: BTreeMap<String, f64>,
    other: BTreeMap<String, NotFinite>,
}

impl Group {
    fn at(point: &Point) -> Self {
        Self {
            step: point.step,
            timestamp: point.timestamp,
            finite: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    fn has(&self, name: &str, value: f64) -> bool {
        let other = NotFinite::of(value);
        let finite = self
            .finite
            .get(name)
            .is_some_and(|known| known.to_bits() == value.to_bits());
        finite || (other.is_some() && self.other.get(name).copied() == other)
    }

    fn takes(&self, name: &str) -> bool {
        let room = self.finite.len().max(self.other.len()) < MAX_MEMBERS;
        room && !self.finite.contains_key(name) && !self.other.contains_key(name)
    }

    fn add(&mut self, name: &str, value: f64) {
        match NotFinite::of(value) {
            None => drop(self.finite.insert(name.to_owned(), value)),
            Some(other) => drop(self.other.insert(name.to_owned(), other)),
        }
    }

    fn drafts(self, late: Option<RunId>) -> Vec<Draft> {
        let time = Timestamp(self.timestamp.saturating_mul(1_000));
        let mut drafts = Vec::new();
        if !self.finite.is_empty() {
            let mut body = MetricLogged::new(self.finite);
            (body.step, body.run) = (Some(self.step), late);
            drafts.push(Draft::new(body).at(time));
        }
        if !self.other.is_empty() {
            let mut body = MetricDiverged::new(self.other);
            (body.step, body.run) = (Some(self.step), late);
            drafts.push(Draft::new(body).at(time));
        }
        drafts
    }
}

fn point(metric: &Metric) -> Result<Point, Refusal> {
    let step = u64::try_from(metric.step.0)
        .ok()
        .filter(|step| *step <= MAX_INTEGER);
    let step = step.ok_or_else(|| {
        Refusal::invalid(format!(
            "the metric `{}` has the step {}, expected a whole number from 0",
            metric.key, metric.step.0
        ))
    })?;
    let timestamp = metric.timestamp.0;
    check_millis("the metric's timestamp", timestamp)?;
    Ok(Point {
        // Canonical JSON has one zero.
        value: if metric.value.0 == 0.0 {
            0.0
        } else {
            metric.value.0
        },
        timestamp,
        step,
    })
}

/// A time in milliseconds that a record can say.
pub(crate) fn check_millis(what: &str, millis: i64) -> Result<Timestamp, Refusal> {
    let time = millis.checked_mul(1_000).map(Timestamp);
    time.filter(|time| (Timestamp::MIN..=Timestamp::MAX).contains(time))
        .ok_or_else(|| {
            Refusal::invalid(format!(
                "{what} is {millis}, expected milliseconds since 1970, up to the year 9999"
            ))
        })
}

/// A name that a record can hold.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    let length = name.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&length) {
        return Err(Refusal::invalid(format!(
            "this {what} has a name of {length} characters, expected 1 to {MAX_NAME_CHARS}: {}",
            name.chars().take(40).collect::<String>()
        )));
    }
    if name
        .chars()
        .any(|c| matches!(c, '\0'..='\u{1f}' | '\u{7f}'))
    {
        return Err(Refusal::invalid(format!(
            "the name of this {what} has a control character in it; take another name"
        )));
    }
    Ok(())
}

fn check_lengths(what: &str, texts: &[Tag], most: usize) -> Result<(), Refusal> {
    let long = texts.iter().find(|text| text.value.chars().count() > most);
    long.map_or(Ok(()), |text| {
        Err(Refusal::invalid(format!(
            "the {what} `{}` has {} characters, expected at most {most}; log it as an artifact",
            text.key,
            text.value.chars().count()
        )))
    })
}
