//! Comma-separated values: a header, times as in records, nothing where there is nothing.

use std::fs::File;
use std::io::BufWriter;

use record::Timestamp;

use crate::table::{Cell, Table};

pub(crate) struct CsvFile(csv::Writer<BufWriter<File>>);

impl CsvFile {
    pub(crate) fn new(file: File, table: &Table) -> Result<Self, csv::Error> {
        let mut writer = csv::Writer::from_writer(BufWriter::new(file));
        writer.write_record(table.columns.iter().map(|column| &column.name))?;
        Ok(Self(writer))
    }

    pub(crate) fn add(&mut self, cells: &[Cell]) -> Result<(), csv::Error> {
        self.0.write_record(cells.iter().map(text))
    }

    pub(crate) fn finish(mut self) -> Result<(), csv::Error> {
        Ok(self.0.flush()?)
    }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::None => String::new(),
        Cell::Integer(value) => value.to_string(),
        Cell::Number(value) => value.to_string(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Text(value) => value.clone(),
        Cell::Time(micros) => Timestamp(*micros).to_string(),
    }
}
