//! The table `windows`: tumbling windows, a row for each revision; the highest revision is the truth.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use super::columns::{count_field, counts, float_field, floats, text_field, texts, timestamp_field, timestamps};
use super::{Table, TableColumns};
use crate::record::{WindowRow, day_of};

pub struct Windows {
    groupings: Vec<String>,
    measures: usize,
    schema: SchemaRef,
}

impl Windows {
    /// `groupings` are their names, in the order of the settings.
    pub fn new(columns: &TableColumns, groupings: Vec<String>) -> Windows {
        let mut fields = vec![
            timestamp_field("window_start", false),
            timestamp_field("window_end", false),
            text_field("grouping", false),
            text_field("key", true),
            count_field("records"),
            count_field("anomalies"),
        ];
        for measure in &columns.measures {
            fields.push(count_field(&format!("{measure}_count")));
            fields.extend(["min", "max", "mean", "stddev"].map(|what| float_field(&format!("{measure}_{what}"), true)));
        }
        fields.extend(["anomaly_score_max", "anomaly_score_mean", "window_score"].map(|name| float_field(name, true)));
        fields.push(count_field("revision"));
        Windows {
            groupings,
            measures: columns.measures.len(),
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl Table for Windows {
    type Row = WindowRow;
    const NAME: &'static str = "windows";

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn day(&self, row: &WindowRow) -> Option<i64> {
        Some(day_of(row.start))
    }

    fn order(&self, a: &WindowRow, b: &WindowRow) -> Ordering {
        let order = |row: &WindowRow| (row.start, row.grouping, row.revision);
        order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key))
    }

    fn shard_key<'a>(&self, row: &'a WindowRow) -> &'a [u8] {
        row.key.as_deref().unwrap_or_default().as_bytes()
    }

    fn encode(&self, rows: &[WindowRow]) -> Result<RecordBatch, ArrowError> {
        let mut arrays = vec![
            timestamps(rows.iter().map(|row| Some(row.start))),
            timestamps(rows.iter().map(|row| Some(row.end))),
            texts(rows.iter().map(|row| Some(self.groupings[row.grouping].as_str()))),
            texts(rows.iter().map(|row| row.key.as_deref())),
            counts(rows.iter().map(|row| row.records)),
            counts(rows.iter().map(|row| row.anomalies)),
        ];
        for i in 0..self.measures {
            let of = |row: &WindowRow| row.measures[i];
            arrays.push(counts(rows.iter().map(|row| of(row).count)));
            arrays.push(floats(rows.iter().map(|row| of(row).min())));
            arrays.push(floats(rows.iter().map(|row| of(row).max())));
            arrays.push(floats(rows.iter().map(|row| of(row).mean())));
            arrays.push(floats(rows.iter().map(|row| of(row).deviation())));
        }
        arrays.push(floats(rows.iter().map(|row| row.score_max)));
        arrays.push(floats(rows.iter().map(|row| row.score_mean)));
        arrays.push(floats(rows.iter().map(|row| row.window_score)));
        arrays.push(counts(rows.iter().map(|row| u64::from(row.revision))));
        RecordBatch::try_new(self.schema(), arrays)
    }
}
