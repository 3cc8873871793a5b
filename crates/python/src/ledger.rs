//! A ledger in this process, for Python.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ledger::keys::Passphrase;
use pyo3::prelude::*;
use server::Embedded;

use crate::environment::{SystemClock, SystemEntropy};
use crate::errors::Raise;

/// A ledger in this process, served to it over loopback.
#[pyclass(frozen, module = "rlhf_audit_trail._native")]
pub(crate) struct Ledger {
    url: String,
    token: String,
    embedded: Mutex<Option<Embedded>>,
}

#[pymethods]
impl Ledger {
    /// Opens the ledger in a directory, or makes one there.
    #[new]
    #[pyo3(signature = (dir, *, passphrase=None))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a path is converted for the call"
    )]
    fn new(py: Python<'_>, dir: PathBuf, passphrase: Option<String>) -> PyResult<Self> {
        let embedded = py.detach(|| open(&dir, passphrase))?;
        Ok(Self {
            url: embedded.url(),
            token: embedded.token().to_owned(),
            embedded: Mutex::new(Some(embedded)),
        })
    }

    /// Where it is served, to this process alone.
    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// What lets this process in.
    #[getter]
    fn token(&self) -> &str {
        &self.token
    }

    /// Publishes what was acknowledged, and closes it. The second time nothing happens.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let embedded = self
                .embedded
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            match embedded {
                Some(embedded) => embedded.close().map_err(Raise::from),
                None => Ok(()),
            }
        })
        .map_err(PyErr::from)
    }
}

fn open(dir: &std::path::Path, passphrase: Option<String>) -> Result<Embedded, Raise> {
    let entropy = Arc::new(SystemEntropy);
    let mut options = ledger::Options::new(Arc::new(SystemClock), entropy.clone());
    if let Some(passphrase) = passphrase {
        options.passphrase = Arc::new(Passphrase::new(passphrase.into()));
    }
    let location = ledger::Location {
        dir: dir.to_owned(),
        database_url: None,
        objects_url: None,
        object_options: Vec::new(),
    };
    let ledger = if location.holds_ledger()? {
        ledger::Ledger::open_at(&location, options)?
    } else {
        ledger::Ledger::create_at(&location, options)?
    };
    Ok(Embedded::serve(ledger, &*entropy)?)
}
