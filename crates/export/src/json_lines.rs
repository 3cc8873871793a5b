//! JSON Lines: an object a row, without what is not there. What is JSON in a text elsewhere is JSON here.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};

use record::Timestamp;
use serde_json::{Map, Value, json};

use crate::columns::{Column, Type};
use crate::table::{Cell, Table};

pub(crate) struct JsonLines(BufWriter<File>);

impl JsonLines {
    pub(crate) fn new(file: File) -> Self {
        Self(BufWriter::new(file))
    }

    pub(crate) fn add(&mut self, table: &Table, cells: &[Cell]) -> io::Result<()> {
        let object: Map<String, Value> = table
            .columns
            .iter()
            .zip(cells)
            .filter(|(_, cell)| **cell != Cell::None)
            .map(|(column, cell)| (column.name.clone(), value(column, cell)))
            .collect();
        serde_json::to_writer(&mut self.0, &object)?;
        self.0.write_all(b"\n")
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn value(column: &Column, cell: &Cell) -> Value {
    match cell {
        Cell::None => Value::Null,
        Cell::Integer(value) => json!(value),
        Cell::Number(value) => json!(value),
        Cell::Boolean(value) => json!(value),
        Cell::Text(text) if column.kind == Type::Json => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        Cell::Text(text) => json!(text),
        Cell::Time(micros) => json!(Timestamp(*micros).to_string()),
    }
}
