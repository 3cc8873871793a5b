//! Digests of a data set's rows that nobody can guess a row from.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use record::{CommitmentKey, SealedValue, commit};

use crate::errors::Raise;
use crate::json;

/// What the digest of a row is a commitment to, by name: docs/spec/record.md.
const FIELD: &str = "row";

/// The digests of some rows, the first of which is the data set's row `first`, under a key of 32 bytes: 32 bytes each.
#[pyfunction]
pub(crate) fn row_digests<'py>(
    py: Python<'py>,
    key: [u8; 32],
    rows: &Bound<'py, PyList>,
    first: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let key = CommitmentKey(key);
    let values = (rows.iter().zip(first..))
        .map(|(row, at)| json::row(&row, &format!("rows[{at}]")))
        .collect::<Result<Vec<_>, _>>()?;
    let digests = py.detach(|| {
        let mut digests = Vec::with_capacity(values.len() * 32);
        for (value, at) in values.iter().zip(first..) {
            let value = SealedValue::from_json(value)
                .map_err(|error| Raise::input(format!("rows[{at}]: {error}")))?;
            digests.extend_from_slice(&commit(&key, FIELD, &value).0);
        }
        Ok::<_, Raise>(digests)
    })?;
    Ok(PyBytes::new(py, &digests))
}
