//! A collection as Parquet.

use compact_str::{CompactString, ToCompactString, format_compact};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::collection::Rows;
use crate::record::{EventTime, format_event_time};

pub(super) fn read(bytes: bytes::Bytes, rows: &mut Rows<'_>) -> Result<(), String> {
    let unreadable = |e: parquet::errors::ParquetError| format!("not readable as Parquet: {e}");
    let reader = SerializedFileReader::new(bytes).map_err(unreadable)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let present: Vec<String> = schema
        .root_schema()
        .get_fields()
        .iter()
        .map(|field| field.name().to_owned())
        .collect();
    let places = rows.places(&present.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (row, number) in reader.get_row_iter(None).map_err(unreadable)?.zip(1..) {
        let row = row.map_err(unreadable)?;
        let fields: Vec<&Field> = row.get_column_iter().map(|(_, field)| field).collect();
        let values = places.iter().map(|place| text(fields[(*place)?])).collect();
        rows.take(values, number)?;
    }
    Ok(())
}

fn text(field: &Field) -> Option<CompactString> {
    match field {
        Field::Null => None,
        Field::Str(text) => Some(text.as_str().into()),
        Field::TimestampMillis(time) => Some(iso(time.saturating_mul(1_000))),
        Field::TimestampMicros(time) => Some(iso(*time)),
        other => Some(other.to_compact_string()),
    }
}

fn iso(time: EventTime) -> CompactString {
    format_compact!("{}Z", format_event_time(time))
}
