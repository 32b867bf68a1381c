//! The table `quarantine`: records that cannot be used, each with a reason and its payload under lock.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::{BinaryArray, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::Table;
use super::columns::{count_field, counts, text_field, texts, timestamp_field, timestamps};
use crate::record::{Quarantined, day_of};

pub struct Quarantine {
    schema: SchemaRef,
}

impl Quarantine {
    pub fn new() -> Quarantine {
        let fields = vec![
            text_field("reason", false),
            text_field("detail", false),
            timestamp_field("timestamp", true),
            text_field("source", false),
            count_field("line"),
            count_field("position"),
            Field::new("sealed_payload", DataType::Binary, false),
        ];
        Quarantine {
            schema: Arc::new(Schema::new(fields)),
        }
    }
}

impl Default for Quarantine {
    fn default() -> Self {
        Quarantine::new()
    }
}

impl Table for Quarantine {
    type Row = Quarantined;
    const NAME: &'static str = "quarantine";

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn day(&self, row: &Quarantined) -> Option<i64> {
        row.timestamp.map(day_of)
    }

    fn order(&self, a: &Quarantined, b: &Quarantined) -> Ordering {
        a.position.cmp(&b.position)
    }

    fn shard_key<'a>(&self, row: &'a Quarantined) -> &'a [u8] {
        row.source.as_bytes()
    }

    fn encode(&self, rows: &[Quarantined]) -> Result<RecordBatch, ArrowError> {
        let arrays = vec![
            texts(rows.iter().map(|row| Some(row.reason.code()))),
            texts(rows.iter().map(|row| Some(row.detail.as_str()))),
            timestamps(rows.iter().map(|row| row.timestamp)),
            texts(rows.iter().map(|row| Some(row.source.as_str()))),
            counts(rows.iter().map(|row| row.line)),
            counts(rows.iter().map(|row| row.position)),
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|row| &row.sealed))),
        ];
        RecordBatch::try_new(self.schema(), arrays)
    }
}
