//! Parquet, written column by column: no Arrow is needed for that.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type as Schema, TypePtr};

use crate::columns::{Column, Type};
use crate::table::{Cell, Table};

/// Rows of a row group, and bytes of their texts, whichever comes first: what is held in memory.
const GROUP_ROWS: usize = 50_000;
const GROUP_BYTES: usize = 32 << 20;

pub(crate) struct ParquetFile {
    writer: SerializedFileWriter<BufWriter<File>>,
    columns: Vec<Column>,
    /// Those that wait, a column each.
    waiting: Vec<Vec<Cell>>,
    rows: usize,
    bytes: usize,
}

impl ParquetFile {
    pub(crate) fn new(file: File, table: &Table) -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let writer =
            SerializedFileWriter::new(BufWriter::new(file), schema(table)?, Arc::new(properties))?;
        Ok(Self {
            writer,
            waiting: vec![Vec::new(); table.columns.len()],
            columns: table.columns.clone(),
            rows: 0,
            bytes: 0,
        })
    }

    pub(crate) fn add(&mut self, cells: Vec<Cell>) -> Result<(), ParquetError> {
        for (column, cell) in self.waiting.iter_mut().zip(cells) {
            if let Cell::Text(text) = &cell {
                self.bytes += text.len();
            }
            column.push(cell);
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), ParquetError> {
        self.write_group()?;
        self.writer.close().map(drop)
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for (column, cells) in self.columns.iter().zip(&mut self.waiting) {
            let cells = std::mem::take(cells);
            // Which rows have a value; a column that is required has no levels.
            let levels: Vec<i16> = cells.iter().map(|c| i16::from(*c != Cell::None)).collect();
            let levels = (!column.required).then_some(&levels[..]);
            let Some(mut writer) = group.next_column()? else {
                let reason = "fewer columns than in the schema".to_owned();
                return Err(ParquetError::General(reason));
            };
            match column.kind {
                Type::Integer | Type::Time => {
                    let values: Vec<i64> = cells.iter().filter_map(integer).collect();
                    writer
                        .typed::<Int64Type>()
                        .write_batch(&values, levels, None)?;
                }
                Type::Number => {
                    let values: Vec<f64> = cells.iter().filter_map(number).collect();
                    writer
                        .typed::<DoubleType>()
                        .write_batch(&values, levels, None)?;
                }
                Type::Boolean => {
                    let values: Vec<bool> = cells.iter().filter_map(boolean).collect();
                    writer
                        .typed::<BoolType>()
                        .write_batch(&values, levels, None)?;
                }
                // Texts to those who know no JSON type.
                Type::Text | Type::Json => {
                    let values: Vec<ByteArray> = cells.into_iter().filter_map(text).collect();
                    writer
                        .typed::<ByteArrayType>()
                        .write_batch(&values, levels, None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

fn schema(table: &Table) -> Result<TypePtr, ParquetError> {
    let fields = table.columns.iter().map(|column| {
        let (physical, logical) = match column.kind {
            Type::Integer => (Physical::INT64, None),
            Type::Time => (Physical::INT64, Some(micros())),
            Type::Number => (Physical::DOUBLE, None),
            Type::Boolean => (Physical::BOOLEAN, None),
            Type::Text | Type::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition = if column.required {
            Repetition::REQUIRED
        } else {
            Repetition::OPTIONAL
        };
        Schema::primitive_type_builder(&column.name, physical)
            .with_repetition(repetition)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    });
    let fields = fields.collect::<Result<_, _>>()?;
    Schema::group_type_builder("record")
        .with_fields(fields)
        .build()
        .map(Arc::new)
}

fn micros() -> LogicalType {
    LogicalType::timestamp(true, TimeUnit::MICROS)
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Integer(value) | Cell::Time(value) => Some(*value),
        _ => None,
    }
}

fn number(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Number(value) => Some(*value),
        _ => None,
    }
}

fn boolean(cell: &Cell) -> Option<bool> {
    match cell {
        Cell::Boolean(value) => Some(*value),
        _ => None,
    }
}

fn text(cell: Cell) -> Option<ByteArray> {
    match cell {
        Cell::Text(text) => Some(text.into_bytes().into()),
        _ => None,
    }
}
