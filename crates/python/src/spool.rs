//! `client::spool` for Python.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use client::spool::{Durability, RunSpec, SpoolOptions, Target, WhenFull};
use client::{Memory, spool};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use record::{Attachment, Entropy, ProducerName, RunId, StreamName};
use serde_json::Value;
use tlog::Policy;

use crate::environment::{SystemClock, SystemEntropy};
use crate::errors::Raise;
use crate::json;
use crate::pseudonyms::Pseudonyms;
use crate::stream::Stream;
use crate::waiting;

/// A directory of records on their way to a ledger, and the thread that sends them.
#[pyclass(frozen, module = "rlhf_audit_trail._native")]
pub(crate) struct Spool {
    inner: spool::Spool,
    dir: PathBuf,
    entropy: Arc<dyn Entropy>,
}

#[pymethods]
impl Spool {
    #[new]
    #[pyo3(signature = (dir, url, *, token=None, limit_bytes=None, on_full="block", full_timeout=None,
                        durability="process", producer, software, policy=None))]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        py: Python<'_>,
        dir: PathBuf,
        url: String,
        token: Option<String>,
        limit_bytes: Option<u64>,
        on_full: &str,
        full_timeout: Option<f64>,
        durability: &str,
        producer: &str,
        software: String,
        policy: Option<&str>,
    ) -> PyResult<Self> {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let producer = ProducerName::parse(producer).ok_or_else(|| {
            Raise::input(format!(
                "producer: expected [A-Za-z0-9][A-Za-z0-9._:/@-]{{0,127}}, found {producer:?}"
            ))
        })?;
        let mut server = Target::new(url, token);
        if let Some(policy) = policy {
            let policy = Policy::parse(policy.as_bytes())
                .map_err(|error| Raise::input(format!("policy: {error}")))?;
            server.memory = Some(Memory::new(dir.join("memory")).with_policy(policy));
        }
        let mut options = SpoolOptions::new(
            &dir,
            server,
            producer,
            Arc::new(SystemClock),
            Arc::clone(&entropy),
        );
        options.software = Some(software);
        if let Some(limit) = limit_bytes {
            options.limit_bytes = limit;
        }
        options.when_full = match on_full {
            "block" => WhenFull::Block {
                timeout: waiting::duration(full_timeout, "full_timeout")?,
            },
            "fail" => WhenFull::Fail,
            other => return Err(unknown("on_full", other, "\"block\" or \"fail\"").into()),
        };
        options.durability = match durability {
            "process" => Durability::Process,
            "fsync" => Durability::Machine,
            other => return Err(unknown("durability", other, "\"process\" or \"fsync\"").into()),
        };
        let inner = py
            .detach(|| spool::Spool::open(options))
            .map_err(Raise::from)?;
        Ok(Self {
            inner,
            dir,
            entropy,
        })
    }

    /// Starts a run that this spool's key owns.
    #[pyo3(signature = (name, *, stream, experiment=None, model=None, config=None, description=None))]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn start_run(
        &self,
        py: Python<'_>,
        name: String,
        stream: &str,
        experiment: Option<String>,
        model: Option<String>,
        config: Option<&Bound<'_, PyDict>>,
        description: Option<String>,
    ) -> PyResult<Stream> {
        let mut run = RunSpec::new(name, stream_name(stream)?);
        run.experiment = experiment;
        run.model = model;
        run.description = description;
        if let Some(config) = config {
            run.config = settings(config)?;
        }
        let stream = py
            .detach(|| self.inner.start_run(run))
            .map_err(|error| Raise::write_one("run", error))?;
        self.stream(stream)
    }

    /// A stream of a run that was started before.
    fn join_run(&self, py: Python<'_>, run: &str, stream: &str) -> PyResult<Stream> {
        let run = RunId::parse(run).ok_or_else(|| {
            Raise::input(format!(
                "run: expected a run's id, 26 upper-case characters, found {run:?}"
            ))
        })?;
        stream_name(stream)?;
        let stream = py
            .detach(|| self.inner.join_run(run, stream))
            .map_err(Raise::from)?;
        self.stream(stream)
    }

    /// A stream of the scope `ledger`.
    fn ledger_stream(&self, py: Python<'_>, stream: &str) -> PyResult<Stream> {
        stream_name(stream)?;
        let stream = py
            .detach(|| self.inner.ledger_stream(stream))
            .map_err(Raise::from)?;
        self.stream(stream)
    }

    /// Takes an attachment: its SHA-256 in hex, and how many bytes it has.
    fn attach(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<(String, u64)> {
        let attached = py.detach(|| self.inner.attach(bytes));
        Ok(named(attached.map_err(Raise::from)?))
    }

    /// Takes a copy of a file as an attachment.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a path is converted for the call"
    )]
    fn attach_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<(String, u64)> {
        let attached = py.detach(|| self.inner.attach_file(&path));
        Ok(named(attached.map_err(Raise::from)?))
    }

    /// Waits until what was accepted is durable at the ledger.
    #[pyo3(signature = (timeout=None))]
    fn flush(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = waiting::duration(timeout, "timeout")?;
        waiting::piecewise(py, timeout, |piece| self.inner.flush(piece))
    }

    /// How it is doing.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let status = py.detach(|| self.inner.status());
        let out = PyDict::new(py);
        out.set_item("waiting_records", status.waiting_records)?;
        out.set_item("waiting_bytes", status.waiting_bytes)?;
        out.set_item("acknowledged", status.acknowledged)?;
        out.set_item("last_error", status.last_error)?;
        out.set_item("contradiction", status.contradiction)?;
        let incidents: Vec<(String, PathBuf)> = status
            .incidents
            .into_iter()
            .map(|incident| (incident.detail, incident.kept))
            .collect();
        out.set_item("incidents", incidents)?;
        Ok(out)
    }

    /// The key that signs here, in base64.
    #[getter]
    fn public_key(&self) -> String {
        self.inner.public_key().to_string()
    }

    /// Another token from now on.
    #[pyo3(signature = (token))]
    fn set_token(&self, token: Option<&str>) {
        self.inner.set_token(token);
    }

    /// Flushes and ends.
    #[pyo3(signature = (timeout=None))]
    fn close(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = waiting::duration(timeout, "timeout")?;
        py.detach(|| self.inner.clone().close(timeout))
            .map_err(|error| Raise::from(error).into())
    }
}

impl Spool {
    fn stream(&self, stream: spool::SpooledStream) -> PyResult<Stream> {
        let pseudonyms = Pseudonyms::of_run(&self.dir, stream.run(), &*self.entropy)?;
        Ok(Stream::new(stream, pseudonyms, Arc::clone(&self.entropy)))
    }
}

fn named(attachment: Attachment) -> (String, u64) {
    (attachment.sha256.to_string(), attachment.bytes)
}

fn stream_name(name: &str) -> Result<StreamName, Raise> {
    StreamName::parse(name).ok_or_else(|| {
        Raise::input(format!(
            "stream: expected [a-z0-9][a-z0-9._-]{{0,63}}, found {name:?}"
        ))
    })
}

/// A run's configuration: texts, numbers and booleans by name.
fn settings(config: &Bound<'_, PyDict>) -> Result<BTreeMap<String, Value>, Raise> {
    match json::value(config, "config")? {
        Value::Object(members) => Ok(members.into_iter().collect()),
        // A dictionary becomes an object.
        _ => Ok(BTreeMap::new()),
    }
}

fn unknown(name: &str, found: &str, expected: &str) -> Raise {
    Raise::input(format!("{name}: expected {expected}, found {found:?}"))
}
