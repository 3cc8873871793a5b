//! `log_annotations`: columns in, one draft a row out.
//!
//! Two steps, since only the first needs the interpreter: [`Batch::read`] turns Python's values into Rust's, and
//! [`Batch::drafts`] makes records of them.

mod common;
mod says;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use record::{Draft, Entropy};
use serde_json::Value;

use crate::columns::{self, Columns, Optional};
use crate::errors::Raise;
use crate::pseudonyms::Pseudonyms;
use common::{Common, Row};
use says::{Says, Sort};

/// What one call says, row by row.
pub(crate) struct Batch {
    said: Vec<(Row, Option<Value>, Says)>,
}

/// Drafts, and the opaque name of what each is about.
pub(crate) struct Drafts {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) items: Vec<String>,
}

impl Batch {
    /// Reads the columns of a call about annotations of the sort `sort`.
    pub(crate) fn read(sort: &str, given: &Bound<'_, PyDict>) -> Result<Self, Raise> {
        let sort = Sort::parse(sort)?;
        let mut columns = Columns::new(given);
        let says = sort.read(&mut columns)?;
        let mut prompts: Optional<Value> =
            columns.optional("prompts", columns::is_text, columns::content)?;
        let mut common = Common::read(&mut columns)?;
        let said = says
            .into_iter()
            .enumerate()
            .map(|(row, says)| (common.row(row), prompts.take(row), says))
            .collect();
        Ok(Self { said })
    }

    /// The records to be.
    pub(crate) fn drafts(
        self,
        pseudonyms: &Pseudonyms,
        entropy: &dyn Entropy,
    ) -> Result<Drafts, Raise> {
        let mut drafts = Vec::with_capacity(self.said.len());
        let mut items = Vec::with_capacity(self.said.len());
        for (mut row, prompt, says) in self.said {
            let item = row.item.get_or_insert_with(|| opaque_name(entropy)).clone();
            drafts.push(says.draft(row, prompt.as_ref(), pseudonyms)?);
            items.push(item);
        }
        Ok(Drafts { drafts, items })
    }
}

/// A name that says nothing: 128 random bits in hex.
pub(crate) fn opaque_name(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    format!("{:032x}", u128::from_be_bytes(bytes))
}
