//! The native half of the Python package `rlhf_audit_trail`: what has to be fast, durable or exact.
//!
//! Python's values become records here and go into the spool (`client::spool`), which signs and sends them on a thread
//! that knows no interpreter. A ledger in the same process (`server::embedded`), downloads and verification are the
//! crates' own. Everything that takes longer than a conversion runs without the interpreter's lock.
//!
//! Not here: the interface people use. It is Python, in `python/rlhf_audit_trail`, and this module is private to it.

mod annotations;
mod columns;
mod environment;
mod errors;
mod json;
mod ledger;
mod pseudonyms;
mod reads;
mod rewards;
mod rows;
mod spool;
mod stream;
mod verification;
mod waiting;
mod weights;

use pyo3::prelude::*;

/// The native half of `rlhf_audit_trail`. Not for use by itself.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::ledger::Ledger;
    #[pymodule_export]
    use super::reads::Reads;
    #[pymodule_export]
    use super::rows::row_digests;
    #[pymodule_export]
    use super::spool::Spool;
    #[pymodule_export]
    use super::stream::Stream;
    #[pymodule_export]
    use super::verification::verify_bundle;
    #[pymodule_export]
    use super::weights::manifest;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
