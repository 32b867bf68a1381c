//! The table `anomalies`: the readings at or above the threshold that applied to them, and what makes them strange. Where measures have
//! ranges also those beyond one, which may have no score and then no attribution.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use super::columns::{float_field, floats, text_field, texts};
use super::readings::{reading_arrays, reading_fields};
use super::{Table, TableColumns};
use crate::record::{Anomaly, day_of};

pub struct Anomalies {
    columns: TableColumns,
    schema: SchemaRef,
}

impl Anomalies {
    pub fn new(columns: TableColumns) -> Anomalies {
        let mut fields = reading_fields(&columns);
        let scoreless = columns.ranges;
        fields.push(float_field("anomaly_score", scoreless));
        fields.push(float_field("threshold", false));
        for measure in &columns.measures {
            fields.push(float_field(&format!("attribution_{measure}"), scoreless));
            fields.push(text_field(&format!("direction_{measure}"), scoreless));
        }
        Anomalies {
            columns,
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl Table for Anomalies {
    type Row = Anomaly;
    const NAME: &'static str = "anomalies";

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn day(&self, row: &Anomaly) -> Option<i64> {
        Some(day_of(row.scored.reading.timestamp))
    }

    fn order(&self, a: &Anomaly, b: &Anomaly) -> Ordering {
        a.scored.reading.position.cmp(&b.scored.reading.position)
    }

    fn shard_key<'a>(&self, row: &'a Anomaly) -> &'a [u8] {
        row.scored.reading.device.as_bytes()
    }

    fn encode(&self, rows: &[Anomaly]) -> Result<RecordBatch, ArrowError> {
        let mut arrays = reading_arrays(rows.iter().map(|row| &row.scored.reading), &self.columns);
        arrays.push(floats(rows.iter().map(|row| row.scored.score)));
        arrays.push(floats(rows.iter().map(|row| Some(row.threshold))));
        for i in 0..self.columns.measures.len() {
            let part = |row: &Anomaly| -> Option<(f64, f64)> { row.scored.attribution.as_ref()?.get(i).copied() };
            arrays.push(floats(rows.iter().map(|row| part(row).map(|(high, low)| high + low))));
            arrays.push(texts(rows.iter().map(|row| {
                part(row).map(|(high, low)| if high >= low { "high" } else { "low" })
            })));
        }
        RecordBatch::try_new(self.schema(), arrays)
    }
}
