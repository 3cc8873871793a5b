//! What a saved model is made of, for Python.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use weights::{Options, Source, Tensors, WeightsError};

use crate::errors::Raise;

/// A file's name within the model, how many bytes it has, and their SHA-256 in hex.
type Named = (String, u64, String);

/// Hashes a saved model, a file or a folder: its files, and the manifest that names their tensors too.
#[pyfunction]
pub(crate) fn manifest<'py>(
    py: Python<'py>,
    path: PathBuf,
    tensors: &str,
) -> PyResult<(Vec<Named>, Bound<'py, PyBytes>)> {
    let tensors = match tensors {
        "auto" => Tensors::WhereCheap,
        "always" => Tensors::Always,
        "never" => Tensors::Never,
        other => {
            let expected = "\"auto\", \"always\" or \"never\"";
            let message = format!("tensors: expected {expected}, found {other:?}");
            return Err(Raise::input(message).into());
        }
    };
    let options = Options {
        tensors,
        ..Options::default()
    };
    let found = py.detach(|| weights::manifest(&Source::open(path)?, &options));
    let found = found.map_err(Raise::from)?;
    let files = (found.files().iter())
        .map(|file| (file.name.clone(), file.bytes, file.sha256.to_string()))
        .collect();
    Ok((files, PyBytes::new(py, &found.to_bytes())))
}

impl From<WeightsError> for Raise {
    fn from(error: WeightsError) -> Self {
        Self::unreadable(error)
    }
}
