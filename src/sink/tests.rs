use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::schema::printer::print_schema;

use super::*;
use crate::settings::Compression;

mod round_trip;
mod schemas;
mod writing;

fn columns(scored: bool) -> TableColumns {
    TableColumns {
        measures: ["temperature", "pulse"].map(String::from).into(),
        further: vec!["ward".into()],
        scored,
        ranges: false,
    }
}

fn target(staging: &Path, compression: Compression) -> Target {
    Target {
        staging: staging.to_owned(),
        commit: 3,
        shard: 1,
        compression,
    }
}

/// Rows to files in `folder`, the way a commit writes them.
fn write<T: Table>(table: T, rows: Vec<T::Row>, folder: &Path, compression: Compression) -> Vec<StagedFile> {
    let mut writer = CommitWriter::new(Arc::new(table), target(folder, compression));
    writer.write(rows).expect("written");
    writer.finish().expect("finished")
}

fn open(folder: &Path, file: &StagedFile) -> ParquetRecordBatchReaderBuilder<File> {
    let file = File::open(folder.join(StagedFile::staged(&file.path))).expect("a staged file");
    ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet")
}

/// A value of a table, floats as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Null,
    Time(i64),
    Text(String),
    Float(u64),
    Count(i64),
    Truth(bool),
    Bytes(Vec<u8>),
}

impl Cell {
    fn float(value: Option<f64>) -> Cell {
        value.map_or(Cell::Null, |value| Cell::Float(value.to_bits()))
    }

    fn text(value: Option<impl AsRef<str>>) -> Cell {
        value.map_or(Cell::Null, |text| Cell::Text(text.as_ref().to_owned()))
    }

    fn measure(value: f64) -> Cell {
        Cell::float((!value.is_nan()).then_some(value))
    }
}

/// A file's rows: name and value of each column.
fn read(folder: &Path, file: &StagedFile) -> Vec<Vec<(String, Cell)>> {
    let batches = open(folder, file).build().expect("a reader");
    batches.flat_map(|batch| rows_of(&batch.expect("a batch"))).collect()
}

fn rows_of(batch: &RecordBatch) -> Vec<Vec<(String, Cell)>> {
    let schema = batch.schema();
    let row = |at: usize| {
        let cells = schema.fields().iter().zip(batch.columns());
        cells
            .map(|(field, column)| (field.name().clone(), cell(column.as_ref(), at)))
            .collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn cell(column: &dyn Array, at: usize) -> Cell {
    if column.is_null(at) {
        return Cell::Null;
    }
    match column.data_type() {
        DataType::Timestamp(..) => Cell::Time(column.as_primitive::<TimestampMicrosecondType>().value(at)),
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(at).to_bits()),
        DataType::Int64 => Cell::Count(column.as_primitive::<Int64Type>().value(at)),
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(at).to_owned()),
        DataType::Boolean => Cell::Truth(column.as_boolean().value(at)),
        DataType::Binary => Cell::Bytes(column.as_binary::<i32>().value(at).to_vec()),
        other => panic!("no table has {other}"),
    }
}
