//! Rows on their way into a file: a cell for each column.

use std::collections::BTreeMap;

use record::{Kind, Record, RecordHash, Timestamp, leaf_hash};
use serde_json::Value;

use crate::columns::{Column, Origin, Type, of};
use crate::error::ExportError;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    None,
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Text(String),
    Time(i64),
}

/// The columns of a kind, and how records become cells.
pub(crate) struct Table {
    pub(crate) kind: Kind,
    pub(crate) columns: Vec<Column>,
}

impl Table {
    pub(crate) fn new(kind: Kind, openings: bool) -> Self {
        Self {
            kind,
            columns: of(kind, openings),
        }
    }

    /// The cells of a record, in the order of the columns.
    pub(crate) fn cells(
        &self,
        index: u64,
        bytes: &[u8],
        opened: &BTreeMap<String, String>,
    ) -> Result<Vec<Cell>, ExportError> {
        let wrong = |reason: String| ExportError::Record { index, reason };
        let record = Record::parse(bytes).map_err(|e| wrong(e.to_string()))?;
        if !record.is(self.kind) {
            let found = record.kind_name();
            return Err(wrong(format!("expected {}, found {found}", self.kind)));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
        let whole: Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let hash = |hash| Cell::Text(RecordHash::from(hash).to_string());
        let cell = |column: &Column| match &column.origin {
            Origin::Index => Cell::Integer(index.cast_signed()),
            Origin::LeafHash => hash(leaf_hash(bytes)),
            Origin::Stream => Cell::Text(record.stream().to_string()),
            Origin::Seq => Cell::Integer(record.seq().cast_signed()),
            Origin::Prev => record.prev().map_or(Cell::None, hash),
            Origin::Time => Cell::Time(record.time().0),
            Origin::Version => Cell::Integer(i64::from(record.version())),
            Origin::Body(name) => value(&whole["body"][name], column.kind),
            Origin::Sealed => value(&whole["sealed"], Type::Json),
            Origin::Attachments => value(&whole["attachments"], Type::Json),
            Origin::Opened(field) => opened.get(field).cloned().map_or(Cell::None, Cell::Text),
            Origin::Record => Cell::Text(text.to_owned()),
        };
        Ok(self.columns.iter().map(cell).collect())
    }
}

fn value(value: &Value, kind: Type) -> Cell {
    if value.is_null() {
        return Cell::None;
    }
    let time = |text| Timestamp::parse(text).map(|at| Cell::Time(at.0));
    let cell = match kind {
        Type::Integer => value.as_i64().map(Cell::Integer),
        Type::Number => value.as_f64().map(Cell::Number),
        Type::Boolean => value.as_bool().map(Cell::Boolean),
        Type::Text => value.as_str().map(|text| Cell::Text(text.to_owned())),
        Type::Time => value.as_str().and_then(time),
        Type::Json => Some(Cell::Text(value.to_string())),
    };
    cell.unwrap_or(Cell::None)
}
