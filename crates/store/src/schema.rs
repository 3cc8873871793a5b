//! Versions of a database's schema, and which programs may use it.
//!
//! A database says two numbers: the version of its schema, and the *oldest* version whose programs still read and write
//! it rightly. A step that only adds (a table, an index, a column that may be left out) leaves the second number as it
//! is, so that the program before it goes on, and can be gone back to. A step that changes what is there raises it to its
//! own version; older programs then refuse the database.
//!
//! The second number stands where programs that know one number look for it (`user_version` in SQLite, the table
//! `schema_version` in PostgreSQL): they take it for the version. The first stands in the table `schema_history`, with
//! the program that made each step.

use std::path::Path;

use crate::error::{Result, StoreError};

/// This program, as the history has it.
pub(crate) const PROGRAM: &str = concat!("rlhf-audit ", env!("CARGO_PKG_VERSION"));

/// What brings a schema one version up. Never changed once released.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) sql: &'static str,
    /// The oldest version whose programs can use what this leaves; its own version where it changes what was there.
    pub(crate) oldest: i64,
}

/// The version that has all of these steps.
#[expect(clippy::cast_possible_wrap, reason = "there are a handful")]
pub(crate) const fn version(steps: &[Step]) -> i64 {
    steps.len() as i64
}

/// What a database says of its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) version: i64,
    pub(crate) oldest: i64,
    /// Who made the last step, where that is known.
    pub(crate) program: Option<String>,
}

impl Found {
    /// A database without a history: what it says is its version.
    pub(crate) const fn bare(version: i64) -> Self {
        Self {
            version,
            oldest: version,
            program: None,
        }
    }

    /// The step to take next, if any, by a program that knows `steps`.
    ///
    /// # Errors
    /// [`NewerSchema`](StoreError::NewerSchema) if that program must not use the database.
    pub(crate) fn next<'a>(&self, steps: &'a [Step], database: &Path) -> Result<Option<&'a Step>> {
        let known = version(steps);
        if self.oldest > known {
            return Err(StoreError::NewerSchema {
                path: database.to_path_buf(),
                found: self.version.max(self.oldest),
                known,
                oldest: self.oldest,
                program: self.program.clone(),
            });
        }
        if self.version > known {
            tracing::info!(
                database = %database.display(),
                found = self.version,
                known,
                program = self.program.as_deref(),
                "the database has a newer schema, which this program may use"
            );
        }
        Ok(usize::try_from(self.version)
            .ok()
            .and_then(|done| steps.get(done)))
    }
}
