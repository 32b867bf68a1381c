//! What makes a table: its rows, their order, their partition, their columns.

use std::cmp::Ordering;

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};

/// A table of the output.
pub trait Table: Send + Sync + 'static {
    type Row: timely::ExchangeData + Clone;

    /// The folder's name.
    const NAME: &'static str;

    fn schema(&self) -> SchemaRef;

    /// The day of the partition, in days since 1970; `None` for rows without a readable time.
    fn day(&self, row: &Self::Row) -> Option<i64>;

    /// The order of rows within an epoch.
    fn order(&self, a: &Self::Row, b: &Self::Row) -> Ordering;

    /// What spreads the rows over `output.shards`.
    fn shard_key<'a>(&self, row: &'a Self::Row) -> &'a [u8];

    /// The rows as columns of [`schema`](Table::schema).
    ///
    /// # Errors
    /// Only where columns and schema disagree, which is a mistake of this program.
    fn encode(&self, rows: &[Self::Row]) -> Result<RecordBatch, ArrowError>;
}

/// The columns that the settings decide.
#[derive(Clone, Debug)]
pub struct TableColumns {
    pub measures: Vec<String>,
    /// Further columns of the device collection.
    pub further: Vec<String>,
    /// Whether readings have an `anomaly_score`.
    pub scored: bool,
    /// Whether a reading may be anomalous by the range of a measure, and so without a score.
    pub ranges: bool,
}
