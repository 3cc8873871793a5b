//! A bundle held against a policy, in this process: as `rlhf-audit verify` does it.

use std::path::PathBuf;

use pyo3::prelude::*;
use tlog::Policy;

use crate::errors::Raise;

/// Verifies a bundle against a policy: the report as JSON, and as text.
#[pyfunction]
#[expect(
    clippy::needless_pass_by_value,
    reason = "a path is converted for the call"
)]
pub(crate) fn verify_bundle(
    py: Python<'_>,
    path: PathBuf,
    policy: &str,
) -> PyResult<(String, String)> {
    let policy = Policy::parse(policy.as_bytes())
        .map_err(|error| Raise::input(format!("policy: {error}")))?;
    let report = py
        .detach(|| verify::bundle(&path, &policy, &verify::Options::default()))
        .map_err(Raise::from)?;
    let json = serde_json::to_string(&report).map_err(Raise::input)?;
    Ok((json, report.to_string()))
}
