//! One stream that this process writes, for Python.

use std::path::PathBuf;
use std::sync::Arc;

use client::spool::SpooledStream;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use record::kinds::RunStatus;
use record::{Draft, Entropy};
use serde_json::{Map, Value, json};

use crate::annotations::{Batch, Drafts};
use crate::errors::Raise;
use crate::json;
use crate::pseudonyms::Pseudonyms;
use crate::rewards::Rewards;
use crate::waiting;

/// The leaf hashes of records, and the opaque names of what they are about.
type Logged = (Vec<String>, Vec<String>);

/// A record's seq, log index and leaf hash, the file with its bytes and the one with its proof.
type Proven = (u64, u64, String, PathBuf, PathBuf);

/// A stream. May be shared between threads.
#[pyclass(frozen, module = "rlhf_audit_trail._native")]
pub(crate) struct Stream {
    inner: SpooledStream,
    pseudonyms: Pseudonyms,
    entropy: Arc<dyn Entropy>,
}

#[pymethods]
impl Stream {
    /// The run's id, `None` in the scope `ledger`.
    #[getter]
    fn run(&self) -> Option<String> {
        self.inner.run().map(|run| run.to_string())
    }

    /// Its name as things stand.
    #[getter]
    fn name(&self) -> String {
        self.inner.name().to_string()
    }

    /// Records annotations of one sort, one a row of the columns.
    fn annotate(
        &self,
        py: Python<'_>,
        sort: &str,
        columns: &Bound<'_, PyDict>,
    ) -> PyResult<Logged> {
        let batch = Batch::read(sort, columns)?;
        let logged = py.detach(|| {
            let drafts = batch.drafts(&self.pseudonyms, &*self.entropy)?;
            self.take("annotations", drafts)
        });
        logged.map_err(PyErr::from)
    }

    /// Records scores, one a row of the columns.
    fn reward(
        &self,
        py: Python<'_>,
        columns: &Bound<'_, PyDict>,
        components: &Bound<'_, PyDict>,
    ) -> PyResult<Logged> {
        let rewards = Rewards::read(columns, components)?;
        let logged = py.detach(|| self.take("rewards", rewards.drafts(&*self.entropy)));
        logged.map_err(PyErr::from)
    }

    /// Records one thing of any kind. Attachments are by name their SHA-256 and how many bytes they have.
    #[pyo3(signature = (kind, body, *, sealed=None, attachments=None, person=None))]
    fn write(
        &self,
        py: Python<'_>,
        kind: &str,
        body: &Bound<'_, PyDict>,
        sealed: Option<&Bound<'_, PyDict>>,
        attachments: Option<&Bound<'_, PyDict>>,
        person: Option<&str>,
    ) -> PyResult<String> {
        let subject = match person {
            Some(person) => self.pseudonyms.of(person)?.to_string(),
            None => "run".to_owned(),
        };
        let mut draft = json!({"kind": kind, "body": json::value(body, kind)?});
        if let Some(sealed) = sealed
            && let Value::Object(fields) = json::value(sealed, "sealed")?
        {
            let fields: Map<_, _> = fields
                .into_iter()
                .map(|(field, value)| (field, json!({"value": value, "subject": subject})))
                .collect();
            draft["sealed"] = fields.into();
        }
        if let Some(attachments) = attachments {
            let mut named = Map::new();
            for (name, attachment) in attachments {
                let (sha256, bytes): (String, u64) = attachment.extract()?;
                named.insert(name.extract()?, json!({"sha256": sha256, "bytes": bytes}));
            }
            draft["attachments"] = named.into();
        }
        let draft = Draft::from_json(&draft).map_err(Raise::input)?;
        py.detach(|| self.inner.write(draft))
            .map(|hash| hash.to_string())
            .map_err(|error| Raise::write_one(kind, error).into())
    }

    /// The pseudonym of a person in this run.
    fn pseudonym(&self, person: &str) -> PyResult<String> {
        Ok(self.pseudonyms.of(person)?.to_string())
    }

    /// Seals the run: the log index of the seal.
    #[pyo3(signature = (status, timeout=None))]
    fn seal(&self, py: Python<'_>, status: &str, timeout: Option<f64>) -> PyResult<u64> {
        let status = match status {
            "completed" => RunStatus::Completed,
            "failed" => RunStatus::Failed,
            "aborted" => RunStatus::Aborted,
            other => {
                let expected = "completed, failed or aborted";
                let message = format!("status: expected {expected}, found {other:?}");
                return Err(Raise::input(message).into());
            }
        };
        let timeout = waiting::duration(timeout, "timeout")?;
        let seal = |piece| self.inner.seal(status, piece);
        let receipt = waiting::piecewise(py, timeout, seal)?;
        self.pseudonyms.forget();
        Ok(receipt.index)
    }

    /// What the log has proven of this stream's records.
    fn receipts(&self, py: Python<'_>) -> PyResult<Vec<Proven>> {
        let receipts = py.detach(|| self.inner.receipts()).map_err(Raise::from)?;
        Ok(receipts
            .into_iter()
            .map(|receipt| {
                (
                    receipt.seq,
                    receipt.index,
                    receipt.leaf_hash.to_string(),
                    receipt.record,
                    receipt.proof,
                )
            })
            .collect())
    }
}

impl Stream {
    pub(crate) fn new(
        inner: SpooledStream,
        pseudonyms: Pseudonyms,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            inner,
            pseudonyms,
            entropy,
        }
    }

    /// All of them, or none.
    fn take(&self, what: &str, drafts: Drafts) -> Result<Logged, Raise> {
        let hashes = self
            .inner
            .write_all(drafts.drafts)
            .map_err(|error| Raise::write(what, error))?;
        let hashes = hashes.iter().map(ToString::to_string).collect();
        Ok((hashes, drafts.items))
    }
}
