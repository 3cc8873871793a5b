//! Experiments. A run says the name of its experiment; MLflow wants experiments to be there before
//! their first run, and to have ids and tags: `experiment.registered` records them, and an id follows
//! from the name.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ledger::{Ledger, LedgerError, MAX_PAGE, Query};
use record::kinds::ExperimentRegistered;
use record::{Draft, Kind, Record, Scope, Subject};
use serde_json::{Value, json};

use super::batch::check_name;
use super::book::lock;
use super::error::Refusal;
use super::view::object;
use super::wire::Tag;
use crate::own::{opened, published};
use crate::problem::Problem;

/// What MLflow calls the experiment of runs that name none, and its id.
const DEFAULT: (&str, &str) = ("0", "Default");
/// The most characters of a tag of an experiment.
const MAX_TAG_CHARS: usize = 5_000;

/// An experiment.
#[derive(Debug, Clone)]
pub(crate) struct Experiment {
    pub(crate) id: String,
    pub(crate) name: String,
    /// When it was first heard of, in milliseconds since 1970.
    pub(crate) created: i64,
    /// When it was last heard of.
    pub(crate) updated: i64,
    pub(crate) tags: BTreeMap<String, String>,
}

/// All experiments, as far as this server has read of them.
#[derive(Debug, Default)]
pub(crate) struct Experiments(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<String, Experiment>,
    /// Up to here `experiment.registered` has been read.
    after: Option<u64>,
}

/// The id of an experiment.
pub(crate) fn id_of(name: &str) -> String {
    if name == DEFAULT.1 {
        return DEFAULT.0.to_owned();
    }
    let hash = tlog::sha256(format!("rlhf-audit-trail/experiment/v1\n{name}").as_bytes());
    record::Sha256(hash).to_string()[..32].to_owned()
}

/// The experiment of runs that name none.
pub(crate) fn name_or_default(name: Option<&str>) -> &str {
    name.unwrap_or(DEFAULT.1)
}

impl Experiments {
    /// The experiment of this id.
    ///
    /// # Errors
    /// There is none, or the ledger cannot be read.
    pub(crate) fn by_id(&self, ledger: &Ledger, id: &str) -> Result<Experiment, Refusal> {
        let missing = || Refusal::missing(format!("no experiment has the id `{id}`"));
        self.find(ledger, id)?.ok_or_else(missing)
    }

    /// The experiment of this name.
    ///
    /// # Errors
    /// There is none, or the ledger cannot be read.
    pub(crate) fn by_name(&self, ledger: &Ledger, name: &str) -> Result<Experiment, Refusal> {
        let missing = || Refusal::missing(format!("no experiment is called `{name}`"));
        self.find(ledger, &id_of(name))?.ok_or_else(missing)
    }

    /// All of them, by id.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub(crate) fn all(&self, ledger: &Ledger) -> Result<Vec<Experiment>, Problem> {
        let mut known = lock(&self.0);
        known.read(ledger)?;
        Ok(known.by_id.values().cloned().collect())
    }

    /// Records a new one, and gives its id.
    ///
    /// # Errors
    /// There is one of this name, the name cannot be recorded, or the ledger refuses.
    pub(crate) fn create(
        &self,
        ledger: &Ledger,
        name: &str,
        tags: Vec<Tag>,
    ) -> Result<String, Refusal> {
        check_name("experiment", name)?;
        if self.find(ledger, &id_of(name))?.is_some() {
            return Err(Refusal::exists(format!(
                "an experiment is called `{name}` already"
            )));
        }
        self.register(ledger, name, tags)
    }

    /// Records tags of one.
    ///
    /// # Errors
    /// A tag cannot be recorded, or the ledger refuses.
    pub(crate) fn register(
        &self,
        ledger: &Ledger,
        name: &str,
        tags: Vec<Tag>,
    ) -> Result<String, Refusal> {
        for tag in &tags {
            check_name("tag", &tag.key)?;
            if tag.value.chars().count() > MAX_TAG_CHARS {
                return Err(Refusal::invalid(format!(
                    "the tag `{}` is longer than {MAX_TAG_CHARS} characters",
                    tag.key
                )));
            }
        }
        let mut draft = Draft::new(ExperimentRegistered::new(name.to_owned()));
        if !tags.is_empty() {
            let texts = tags.iter().map(|tag| (tag.key.clone(), json!(tag.value)));
            draft = draft.seal("tags", &object(texts), Subject::Run);
        }
        let ticket = ledger.record_own(draft).map_err(LedgerError::from)?;
        ticket.wait().map_err(LedgerError::from)?;
        let mut known = lock(&self.0);
        let experiment = known.hear(name, ledger.clock().now().as_micros().div_euclid(1_000));
        for tag in tags {
            experiment.tags.insert(tag.key, tag.value);
        }
        Ok(experiment.id.clone())
    }

    fn find(&self, ledger: &Ledger, id: &str) -> Result<Option<Experiment>, Problem> {
        let mut known = lock(&self.0);
        if let Some(found) = known.by_id.get(id) {
            return Ok(Some(found.clone()));
        }
        known.read(ledger)?;
        Ok(known.by_id.get(id).cloned())
    }
}

impl Known {
    /// Reads what is new: runs from the index, experiments without runs from the log.
    fn read(&mut self, ledger: &Ledger) -> Result<(), Problem> {
        self.hear(DEFAULT.1, 0);
        let mut after = None;
        loop {
            let runs = ledger.runs(after, 1_000)?;
            let Some(last) = runs.last() else { break };
            after = Some(last.id);
            for run in &runs {
                let name = name_or_default(run.experiment.as_deref());
                self.hear(name, run.started.as_micros().div_euclid(1_000));
            }
        }
        published(ledger)?;
        let mut query = Query {
            scope: Some(Scope::Ledger),
            kind: Some(Kind::ExperimentRegistered),
            after: self.after,
            limit: MAX_PAGE,
        };
        loop {
            let page = ledger.query(&query)?;
            for (index, bytes) in &page.records {
                self.take(ledger, *index, bytes)?;
                self.after = Some(*index);
            }
            query.after = page.next;
            if query.after.is_none() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, ledger: &Ledger, index: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        let record = Record::parse(bytes)?;
        let body: ExperimentRegistered = record.decode()?;
        let tags = if record.sealed().next().is_some() {
            opened(ledger, index)?
        } else {
            Vec::new()
        };
        let experiment = self.hear(&body.name, record.time().as_micros().div_euclid(1_000));
        for (field, value) in tags {
            if let ("tags", Value::Object(tags)) = (field.as_str(), value) {
                let texts = tags
                    .into_iter()
                    .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
                experiment.tags.extend(texts);
            }
        }
        Ok(())
    }

    fn hear(&mut self, name: &str, millis: i64) -> &mut Experiment {
        let id = id_of(name);
        let experiment = self.by_id.entry(id.clone()).or_insert_with(|| Experiment {
            id,
            name: name.to_owned(),
            created: millis,
            updated: millis,
            tags: BTreeMap::new(),
        });
        experiment.created = experiment.created.min(millis);
        experiment.updated = experiment.updated.max(millis);
        experiment
    }
}
