//! What a server is asked for besides taking records: runs, model cards, bundles.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{CardFormat, Client, RetryPolicy};
use pyo3::prelude::*;

use crate::errors::Raise;

/// How long somebody who asked waits for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked of a server.
#[pyclass(frozen, module = "rlhf_audit_trail._native")]
pub(crate) struct Reads {
    client: Client,
}

#[pymethods]
impl Reads {
    #[new]
    #[pyo3(signature = (url, *, token=None))]
    fn new(url: &str, token: Option<&str>) -> PyResult<Self> {
        let client = Client::new(url, token).map_err(Raise::from)?;
        let retry = RetryPolicy {
            total: PATIENCE,
            ..RetryPolicy::default()
        };
        Ok(Self {
            client: client.with_retry(retry),
        })
    }

    /// A run by its id or its name, as JSON.
    fn run(&self, py: Python<'_>, run: &str) -> PyResult<String> {
        let found = py.detach(|| self.client.run(run)).map_err(Raise::from)?;
        to_json(&found)
    }

    /// A run's streams, as JSON.
    fn streams(&self, py: Python<'_>, run: &str) -> PyResult<String> {
        let found = py
            .detach(|| self.client.streams(run))
            .map_err(Raise::from)?;
        to_json(&found)
    }

    /// A run's model card: `markdown`, `html` or `json`.
    fn card(&self, py: Python<'_>, run: &str, format: &str) -> PyResult<String> {
        let format = match format {
            "markdown" => CardFormat::Markdown,
            "html" => CardFormat::Html,
            "json" => CardFormat::Json,
            other => {
                let expected = "markdown, html or json";
                let message = format!("format: expected {expected}, found {other:?}");
                return Err(Raise::input(message).into());
            }
        };
        let card = py.detach(|| self.client.card(run, format));
        card.map_err(|error| Raise::from(error).into())
    }

    /// Issues a run's model card, which is recorded: the answer as JSON.
    fn issue_card(&self, py: Python<'_>, run: &str) -> PyResult<String> {
        let issued = py
            .detach(|| self.client.issue_card(run))
            .map_err(Raise::from)?;
        to_json(&issued)
    }

    /// Writes a run's bundle to a file: how many bytes it has. What is there is replaced, once the bundle is whole.
    #[pyo3(signature = (run, path, *, openings=false))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a path is converted for the call"
    )]
    fn bundle(&self, py: Python<'_>, run: &str, path: PathBuf, openings: bool) -> PyResult<u64> {
        py.detach(|| self.download(run, &path, openings))
            .map_err(PyErr::from)
    }

    /// The policy that the log gives of itself.
    fn policy(&self, py: Python<'_>) -> PyResult<String> {
        let policy = py.detach(|| self.client.policy());
        policy.map_err(|error| Raise::from(error).into())
    }

    /// The latest published checkpoint.
    fn checkpoint(&self, py: Python<'_>) -> PyResult<String> {
        let checkpoint = py.detach(|| self.client.checkpoint());
        checkpoint.map_err(|error| Raise::from(error).into())
    }
}

impl Reads {
    fn download(&self, run: &str, path: &Path, openings: bool) -> Result<u64, Raise> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let file = File::create(&part).map_err(|error| Raise::file("write", &part, &error))?;
        let mut file = BufWriter::new(file);
        let written = self
            .client
            .bundle(run, openings, &mut file)
            .map_err(Raise::from)
            .and_then(|bytes| {
                file.flush()
                    .and_then(|()| std::fs::rename(&part, path))
                    .map_err(|error| Raise::file("write", path, &error))?;
                Ok(bytes)
            });
        if written.is_err() {
            // The download's own error says what happened.
            let _ = std::fs::remove_file(&part);
        }
        written
    }
}

fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| Raise::input(error).into())
}
