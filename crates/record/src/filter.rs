//! Finding the records of a scope or a kind among many.

use memchr::memmem::Finder;

use crate::{Kind, Record, RecordError, Scope};

/// Tells records of one scope, of one kind, or both, from others.
///
/// In canonical form either is a text that such a record has. Searching for that costs a fiftieth of parsing, so a record
/// that does not have it is not parsed, and not found to be malformed either.
///
/// ```
/// use record::{Filter, Kind, Scope};
/// let filter = Filter::new(Some(Scope::Ledger), Some(Kind::ProducerEnrolled));
/// assert!(filter.pick(br#"{"body":{},"kind":"run.sealed"}"#)?.is_none());
/// # Ok::<(), record::RecordError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Filter {
    scope: Option<(Scope, Finder<'static>)>,
    kind: Option<(Kind, Finder<'static>)>,
}

impl Filter {
    /// For records of `scope` and `kind`, as far as they are given.
    pub fn new(scope: Option<Scope>, kind: Option<Kind>) -> Self {
        let finder = |text: String| Finder::new(text.as_bytes()).into_owned();
        Self {
            scope: scope.map(|scope| (scope, finder(format!(",\"run\":\"{scope}\",")))),
            kind: kind.map(|kind| (kind, finder(format!(",\"kind\":\"{}\",", kind.name())))),
        }
    }

    /// Whether it lets everything pass.
    pub fn is_empty(&self) -> bool {
        self.scope.is_none() && self.kind.is_none()
    }

    /// The record in `bytes`, if it is of the scope and the kind. As [`Record::parse_envelope`] reads it.
    ///
    /// # Errors
    /// It looks like one, and is no record.
    pub fn pick<'a>(&self, bytes: &'a [u8]) -> Result<Option<Record<'a>>, RecordError> {
        let finders = [
            self.scope.as_ref().map(|(_, finder)| finder),
            self.kind.as_ref().map(|(_, finder)| finder),
        ];
        if !finders
            .into_iter()
            .flatten()
            .all(|finder| finder.find(bytes).is_some())
        {
            return Ok(None);
        }
        let record = Record::parse_envelope(bytes)?;
        // What was found may stand in the body.
        let fits = self
            .scope
            .as_ref()
            .is_none_or(|(scope, _)| *scope == record.scope())
            && self.kind.as_ref().is_none_or(|(kind, _)| record.is(*kind));
        Ok(fits.then_some(record))
    }
}
