//! The table `readings`: every accepted reading, without identity.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::columns::{float_field, floats, further, measure, text_field, texts, timestamp_field, timestamps, truths};
use super::{Table, TableColumns};
use crate::record::{Reading, Scored, day_of};

pub struct Readings {
    columns: TableColumns,
    schema: SchemaRef,
}

impl Readings {
    pub fn new(columns: TableColumns) -> Readings {
        let mut fields = reading_fields(&columns);
        if columns.scored {
            fields.push(float_field("anomaly_score", true));
        }
        fields.push(Field::new("late", DataType::Boolean, false));
        Readings {
            columns,
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl Table for Readings {
    type Row = Scored;
    const NAME: &'static str = "readings";

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn day(&self, row: &Scored) -> Option<i64> {
        Some(day_of(row.reading.timestamp))
    }

    fn order(&self, a: &Scored, b: &Scored) -> Ordering {
        a.reading.position.cmp(&b.reading.position)
    }

    fn shard_key<'a>(&self, row: &'a Scored) -> &'a [u8] {
        row.reading.device.as_bytes()
    }

    fn encode(&self, rows: &[Scored]) -> Result<RecordBatch, ArrowError> {
        let mut arrays = reading_arrays(rows.iter().map(|row| &row.reading), &self.columns);
        if self.columns.scored {
            arrays.push(floats(rows.iter().map(|row| row.score)));
        }
        arrays.push(truths(rows.iter().map(|row| row.reading.late)));
        RecordBatch::try_new(self.schema(), arrays)
    }
}

/// What readings and anomalies have in common.
pub(super) fn reading_fields(columns: &TableColumns) -> Vec<Field> {
    let mut fields = vec![
        timestamp_field("timestamp", false),
        text_field("device_id", false),
        text_field("patient_id", true),
    ];
    fields.extend(columns.measures.iter().map(|name| float_field(name, true)));
    fields.extend(["manufacturer", "model"].map(|name| text_field(name, true)));
    fields.extend(columns.further.iter().map(|name| text_field(name, true)));
    fields
}

/// The arrays of [`reading_fields`].
pub(super) fn reading_arrays<'a>(
    readings: impl Iterator<Item = &'a Reading> + Clone,
    columns: &TableColumns,
) -> Vec<ArrayRef> {
    let facts = || readings.clone().map(|reading| reading.facts.as_deref());
    let mut arrays = vec![
        timestamps(readings.clone().map(|reading| Some(reading.timestamp))),
        texts(readings.clone().map(|reading| Some(&*reading.device))),
        texts(readings.clone().map(|reading| reading.patient.as_deref())),
    ];
    arrays.extend((0..columns.measures.len()).map(|i| measure(readings.clone().map(|reading| reading.measures[i]))));
    arrays.push(texts(facts().map(|facts| facts?.manufacturer.as_deref())));
    arrays.push(texts(facts().map(|facts| facts?.model.as_deref())));
    arrays.extend(further(facts(), columns.further.len()));
    arrays
}
