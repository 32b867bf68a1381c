//! Rows to Arrow columns.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, TimeUnit};

use crate::record::{Device, EventTime};

pub(super) fn timestamp_field(name: &str, nullable: bool) -> Field {
    Field::new(
        name,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        nullable,
    )
}

pub(super) fn text_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

pub(super) fn float_field(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Float64, nullable)
}

pub(super) fn count_field(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

pub(super) fn timestamps(values: impl Iterator<Item = Option<EventTime>>) -> ArrayRef {
    Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

pub(super) fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

pub(super) fn floats(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

/// Counts never come near 2⁶³: saturation only keeps the conversion total.
pub(super) fn counts(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(
        values.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
    ))
}

pub(super) fn truths(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<BooleanArray>())
}

/// A measure as a column: NaN, which stands for missing, becomes null.
pub(super) fn measure(values: impl Iterator<Item = f64>) -> ArrayRef {
    floats(values.map(|value| (!value.is_nan()).then_some(value)))
}

/// The further columns of the device collection, from each row's facts.
pub(super) fn further<'a>(
    rows: impl Iterator<Item = Option<&'a Device>> + Clone,
    count: usize,
) -> impl Iterator<Item = ArrayRef> {
    (0..count).map(move |i| texts(rows.clone().map(|facts| facts?.columns.get(i)?.as_deref())))
}
