//! The rows of a Parquet file as JSON objects, a batch at a time.
//!
//! Columns of a type that has no JSON form here are left out, and the file is refused if a field is read from one of them.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::json_text::{put_key, put_text};
use super::records::{Found, Missing, refused};
use crate::observe::Progress;
use crate::record::{Parser, date_of, format_event_time};

/// Rows that are decoded together.
const BATCH: usize = 1024;
const MILLIS_PER_DAY: i64 = 86_400_000;

pub(super) struct ParquetRows {
    batches: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    next: usize,
    /// The number of the last row taken.
    number: u64,
    keys: Vec<Vec<u8>>,
    row: Vec<u8>,
    progress: Arc<Progress>,
    /// Bytes of the file, its rows, and the bytes that were counted as read.
    size: u64,
    rows: u64,
    counted: u64,
    /// What the schema lacks, so that no record can be read.
    pub(super) missing: Option<Missing>,
}

impl ParquetRows {
    /// Reads the schema.
    ///
    /// # Errors
    /// A file that is no Parquet, a column that is wanted and has no JSON form.
    pub(super) fn open(file: File, parser: &Parser, progress: &Arc<Progress>) -> io::Result<ParquetRows> {
        let size = file.metadata()?.len();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(damaged)?;
        let schema = Arc::clone(builder.schema());
        let mut kept = Vec::new();
        for (i, field) in schema.fields().iter().enumerate() {
            match readable(field.data_type()) {
                true => kept.push(i),
                false if parser.asks_for(field.name()) => {
                    return Err(refused(format!(
                        "column {} has the type {}, which is not read; turn it into a text, number, boolean or timestamp first",
                        field.name(),
                        field.data_type()
                    )));
                }
                false => {}
            }
        }
        let names: Vec<&str> = kept.iter().map(|i| schema.field(*i).name().as_str()).collect();
        let missing = parser.misses(&names).map(|(setting, name)| Missing::new(setting, name));
        let keys = names
            .iter()
            .enumerate()
            .map(|(i, name)| put_key(i == 0, name))
            .collect();
        let rows = builder.metadata().file_metadata().num_rows().unsigned_abs();
        let mask = ProjectionMask::roots(builder.parquet_schema(), kept);
        let batches = builder
            .with_projection(mask)
            .with_batch_size(BATCH)
            .build()
            .map_err(damaged)?;
        Ok(ParquetRows {
            batches,
            batch: None,
            next: 0,
            number: 0,
            keys,
            row: Vec::new(),
            progress: Arc::clone(progress),
            size,
            rows,
            counted: 0,
            missing,
        })
    }

    /// The next row, and its bytes, to be cut to the limit.
    pub(super) fn next(&mut self) -> io::Result<Option<(Found, &[u8])>> {
        while self.batch.as_ref().is_none_or(|batch| self.next == batch.num_rows()) {
            let Some(batch) = self.batches.next() else {
                return Ok(None);
            };
            self.batch = Some(batch.map_err(damaged)?);
            self.next = 0;
        }
        let Some(batch) = &self.batch else { return Ok(None) };
        self.row.clear();
        for (key, column) in self.keys.iter().zip(batch.columns()) {
            self.row.extend_from_slice(key);
            put(&mut self.row, column.as_ref(), self.next);
        }
        self.row.push(b'}');
        self.next += 1;
        self.number += 1;
        if self.next == batch.num_rows() {
            // The decoder does not tell how far it is in the file; its rows do, about.
            let share = u128::from(self.size) * u128::from(self.number) / u128::from(self.rows.max(1));
            let come_to = u64::try_from(share).unwrap_or(self.size).min(self.size);
            self.progress.read(come_to.saturating_sub(self.counted));
            self.counted = self.counted.max(come_to);
        }
        let found = Found {
            number: self.number,
            length: self.row.len() as u64,
            fault: None,
        };
        Ok(Some((found, &self.row)))
    }
}

fn damaged(error: impl std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not readable as Parquet: {error}"))
}

/// Whether values of this type can be put as JSON.
fn readable(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.iter().all(|field: &Arc<Field>| readable(field.data_type())),
        DataType::Dictionary(_, values) => readable(values),
        DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => true,
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => true,
        kind => kind.is_integer() || kind.is_floating(),
    }
}

/// Puts one value; what [`readable`] refuses never comes here.
fn put(out: &mut Vec<u8>, column: &dyn Array, row: usize) {
    if column.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    match column.data_type() {
        DataType::Boolean => put_shown(out, column.as_boolean().value(row)),
        DataType::Int8 => put_number::<Int8Type>(out, column, row),
        DataType::Int16 => put_number::<Int16Type>(out, column, row),
        DataType::Int32 => put_number::<Int32Type>(out, column, row),
        DataType::Int64 => put_number::<Int64Type>(out, column, row),
        DataType::UInt8 => put_number::<UInt8Type>(out, column, row),
        DataType::UInt16 => put_number::<UInt16Type>(out, column, row),
        DataType::UInt32 => put_number::<UInt32Type>(out, column, row),
        DataType::UInt64 => put_number::<UInt64Type>(out, column, row),
        DataType::Float16 => put_float(out, column.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => put_float(out, f64::from(column.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => put_float(out, column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(..) => {
            out.extend_from_slice(column.as_primitive::<Decimal32Type>().value_as_string(row).as_bytes());
        }
        DataType::Decimal64(..) => {
            out.extend_from_slice(column.as_primitive::<Decimal64Type>().value_as_string(row).as_bytes());
        }
        DataType::Decimal128(..) => {
            out.extend_from_slice(column.as_primitive::<Decimal128Type>().value_as_string(row).as_bytes());
        }
        DataType::Decimal256(..) => {
            out.extend_from_slice(column.as_primitive::<Decimal256Type>().value_as_string(row).as_bytes());
        }
        DataType::Utf8 => put_text(out, column.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => put_text(out, column.as_string::<i64>().value(row).as_bytes()),
        DataType::Utf8View => put_text(out, column.as_string_view().value(row).as_bytes()),
        DataType::Date32 => put_date(out, i64::from(column.as_primitive::<Date32Type>().value(row))),
        DataType::Date64 => put_date(
            out,
            column
                .as_primitive::<Date64Type>()
                .value(row)
                .div_euclid(MILLIS_PER_DAY),
        ),
        DataType::Timestamp(unit, zone) => put_time(out, micros(column, *unit, row), zone.is_some()),
        DataType::Struct(fields) => {
            out.push(b'{');
            for (i, (field, values)) in fields.iter().zip(column.as_struct().columns()).enumerate() {
                let key = put_key(i == 0, field.name());
                out.extend_from_slice(if i == 0 { &key[1..] } else { &key });
                put(out, values.as_ref(), row);
            }
            out.push(b'}');
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            match key(dictionary.keys(), row) {
                Some(key) => put(out, dictionary.values().as_ref(), key),
                None => out.extend_from_slice(b"null"),
            }
        }
        _ => out.extend_from_slice(b"null"),
    }
}

/// A key of a dictionary.
fn key(keys: &dyn Array, row: usize) -> Option<usize> {
    match keys.data_type() {
        DataType::Int8 => usize::try_from(keys.as_primitive::<Int8Type>().value(row)).ok(),
        DataType::Int16 => usize::try_from(keys.as_primitive::<Int16Type>().value(row)).ok(),
        DataType::Int32 => usize::try_from(keys.as_primitive::<Int32Type>().value(row)).ok(),
        DataType::Int64 => usize::try_from(keys.as_primitive::<Int64Type>().value(row)).ok(),
        DataType::UInt8 => Some(keys.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => Some(keys.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => usize::try_from(keys.as_primitive::<UInt32Type>().value(row)).ok(),
        DataType::UInt64 => usize::try_from(keys.as_primitive::<UInt64Type>().value(row)).ok(),
        _ => None,
    }
}

fn put_shown(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Memory takes all.
    let _ = write!(out, "{value}");
}

fn put_number<T: ArrowPrimitiveType>(out: &mut Vec<u8>, column: &dyn Array, row: usize)
where
    T::Native: std::fmt::Display,
{
    put_shown(out, column.as_primitive::<T>().value(row));
}

/// The shortest text that reads as the same number; null for what JSON has no number for.
fn put_float(out: &mut Vec<u8>, value: f64) {
    match value.is_finite() {
        true => {
            // Memory takes all.
            let _ = write!(out, "{value:?}");
        }
        false => out.extend_from_slice(b"null"),
    }
}

fn put_date(out: &mut Vec<u8>, day: i64) {
    put_text(out, date_of(day).as_bytes());
}

/// Microseconds since 1970, of an instant or of a wall clock; `None` beyond all years.
fn micros(column: &dyn Array, unit: TimeUnit, row: usize) -> Option<i64> {
    match unit {
        TimeUnit::Second => column
            .as_primitive::<TimestampSecondType>()
            .value(row)
            .checked_mul(1_000_000),
        TimeUnit::Millisecond => column
            .as_primitive::<TimestampMillisecondType>()
            .value(row)
            .checked_mul(1_000),
        TimeUnit::Microsecond => Some(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        TimeUnit::Nanosecond => Some(
            column
                .as_primitive::<TimestampNanosecondType>()
                .value(row)
                .div_euclid(1_000),
        ),
    }
}

/// ISO-8601 with six digits; with `Z` for an instant, without zone for a wall clock.
fn put_time(out: &mut Vec<u8>, micros: Option<i64>, instant: bool) {
    let zone = if instant { "Z" } else { "" };
    match micros {
        Some(micros) => put_text(out, format!("{}{zone}", format_event_time(micros)).as_bytes()),
        // No year that is read: an unreadable timestamp, as it would be in JSON.
        None => put_text(out, b"beyond all years"),
    }
}

#[cfg(test)]
mod tests;
