//! A run as MLflow's clients see it, made from its records: parameters, tags, metrics, artifacts.
//!
//! There is no other truth: what a view holds is what the records say, and a view that is lost is made
//! again.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use ledger::LedgerError;
use record::kinds::{
    ArtifactLogged, MetricDiverged, MetricLogged, ModelCheckpoint, NotFinite, RunDescribed,
    RunStarted,
};
use record::{Body, Kind, Record, RecordError, Timestamp};
use serde_json::{Map, Value};

use crate::own::Opened;

/// How many points of metrics are known again when they are sent again.
const RECENT_POINTS: usize = 65_536;

/// One value of a metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) value: f64,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    pub(crate) step: u64,
}

/// A text, and whether it stands in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) sealed: bool,
}

/// A file of a run.
#[derive(Debug, Clone)]
pub(crate) struct Artifact {
    pub(crate) bytes: u64,
    pub(crate) sha256: record::Sha256,
    pub(crate) sealed: bool,
}

/// What a run's records say.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) params: BTreeMap<String, Text>,
    pub(crate) tags: BTreeMap<String, Text>,
    /// The latest point of each metric.
    pub(crate) metrics: BTreeMap<String, Point>,
    pub(crate) artifacts: BTreeMap<String, Artifact>,
    /// Data sets that were logged as inputs, as MLflow sent them.
    pub(crate) datasets: Vec<Value>,
    /// The names of the model checkpoints that are recorded.
    pub(crate) checkpoints: BTreeSet<String>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    recent: Recent,
}

impl View {
    /// Takes in a record of the run, or a late one that names it. `open` gives what it sealed, where
    /// that can be had.
    ///
    /// # Errors
    /// The record's body cannot be read, or its sealed values cannot be had now.
    pub(crate) fn take(
        &mut self,
        record: &Record<'_>,
        open: impl FnOnce() -> Result<Opened, LedgerError>,
    ) -> Result<(), LedgerError> {
        match record.kind() {
            Some(Kind::RunStarted) => {
                let body: RunStarted = body(record)?;
                self.started = Some(record.time());
                self.settings(body.config.unwrap_or_default(), false);
            }
            Some(Kind::RunDescribed) => {
                let body: RunDescribed = body(record)?;
                self.settings(body.config.unwrap_or_default(), false);
                self.marks(body.tags.unwrap_or_default(), false);
                let opened = if record.sealed().next().is_some() {
                    open()?
                } else {
                    Vec::new()
                };
                self.opened(opened);
            }
            Some(Kind::MetricLogged) => {
                let body: MetricLogged = body(record)?;
                let step = body.step.unwrap_or(0);
                for (name, value) in body.metrics {
                    self.point(name, point(record, value, step));
                }
            }
            Some(Kind::MetricDiverged) => {
                let body: MetricDiverged = body(record)?;
                let step = body.step.unwrap_or(0);
                for (name, value) in body.metrics {
                    self.point(name, point(record, number(value), step));
                }
            }
            Some(Kind::ArtifactLogged) => {
                let body: ArtifactLogged = body(record)?;
                let sealed = body.path.is_none();
                let path = match body.path {
                    Some(path) => Some(path),
                    None => text_of(&open()?, "path"),
                };
                if let Some(path) = path {
                    let (bytes, sha256) = (body.bytes, body.sha256);
                    self.artifacts.insert(
                        path,
                        Artifact {
                            bytes,
                            sha256,
                            sealed,
                        },
                    );
                }
            }
            Some(Kind::ModelCheckpoint) => {
                let body: ModelCheckpoint = body(record)?;
                for file in body.files {
                    let path = format!("{}/{}", body.name, file.name);
                    let (bytes, sha256) = (file.bytes, file.sha256);
                    let file = Artifact {
                        bytes,
                        sha256,
                        sealed: false,
                    };
                    self.artifacts.entry(path).or_insert(file);
                }
                self.checkpoints.insert(body.name);
            }
            Some(Kind::RunSealed) => self.ended = Some(record.time()),
            _ => {}
        }
        Ok(())
    }

    /// Whether this very point was logged lately.
    pub(crate) fn knows(&self, name: &str, point: &Point) -> bool {
        self.recent.set.contains(&fingerprint(name, point))
    }

    /// The first value of a setting stays.
    fn settings(&mut self, settings: impl IntoIterator<Item = (String, Value)>, sealed: bool) {
        for (name, value) in settings {
            let text = shown(value);
            self.params.entry(name).or_insert(Text { text, sealed });
        }
    }

    /// The latest value of a mark counts; null takes it off.
    fn marks(&mut self, marks: impl IntoIterator<Item = (String, Value)>, sealed: bool) {
        for (name, value) in marks {
            if value.is_null() {
                self.tags.remove(&name);
            } else {
                let text = shown(value);
                self.tags.insert(name, Text { text, sealed });
            }
        }
    }

    fn opened(&mut self, opened: Opened) {
        for (field, value) in opened {
            match (field.as_str(), value) {
                ("config", Value::Object(settings)) => self.settings(settings, true),
                ("tags", Value::Object(marks)) => self.marks(marks, true),
                ("datasets", Value::Array(datasets)) => self.datasets.extend(datasets),
                _ => {}
            }
        }
    }

    fn point(&mut self, name: String, point: Point) {
        self.recent.add(fingerprint(&name, &point));
        match self.metrics.get_mut(&name) {
            Some(latest) if is_later(&point, latest) => *latest = point,
            Some(_) => {}
            None => {
                self.metrics.insert(name, point);
            }
        }
    }
}

/// The points of one metric in a record.
///
/// # Errors
/// The record's body cannot be read.
pub(crate) fn points_of(record: &Record<'_>, name: &str) -> Result<Option<Point>, RecordError> {
    Ok(match record.kind() {
        Some(Kind::MetricLogged) => {
            let body: MetricLogged = record.decode()?;
            let step = body.step.unwrap_or(0);
            body.metrics
                .get(name)
                .map(|value| point(record, *value, step))
        }
        Some(Kind::MetricDiverged) => {
            let body: MetricDiverged = record.decode()?;
            let step = body.step.unwrap_or(0);
            body.metrics
                .get(name)
                .map(|value| point(record, number(*value), step))
        }
        _ => None,
    })
}

/// What MLflow calls the latest: of the last step, then of the last time, then the greatest.
fn is_later(point: &Point, than: &Point) -> bool {
    let order = (point.step, point.timestamp).cmp(&(than.step, than.timestamp));
    order.then(point.value.total_cmp(&than.value)).is_ge()
}

fn point(record: &Record<'_>, value: f64, step: u64) -> Point {
    Point {
        value,
        timestamp: record.time().as_micros().div_euclid(1_000),
        step,
    }
}

fn number(value: NotFinite) -> f64 {
    match value {
        NotFinite::Nan => f64::NAN,
        NotFinite::Infinity => f64::INFINITY,
        NotFinite::MinusInfinity => f64::NEG_INFINITY,
    }
}

fn body<B: Body>(record: &Record<'_>) -> Result<B, LedgerError> {
    Ok(record.decode()?)
}

/// MLflow knows texts only.
fn shown(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn text_of(opened: &Opened, field: &str) -> Option<String> {
    let (_, value) = opened.iter().find(|(name, _)| name == field)?;
    value.as_str().map(str::to_owned)
}

/// The latest points, so that what a client sends again is not recorded again.
#[derive(Debug, Default)]
struct Recent {
    set: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl Recent {
    fn add(&mut self, point: [u8; 16]) {
        if !self.set.insert(point) {
            return;
        }
        self.order.push_back(point);
        if self.order.len() > RECENT_POINTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

fn fingerprint(name: &str, point: &Point) -> [u8; 16] {
    let mut text = Vec::with_capacity(name.len() + 24);
    text.extend_from_slice(&point.value.to_bits().to_be_bytes());
    text.extend_from_slice(&point.timestamp.to_be_bytes());
    text.extend_from_slice(&point.step.to_be_bytes());
    text.extend_from_slice(name.as_bytes());
    let hash = tlog::sha256(&text);
    std::array::from_fn(|at| hash[at])
}

/// A JSON object of texts, for what is sealed.
pub(crate) fn object(texts: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(texts.into_iter().collect::<Map<_, _>>())
}
