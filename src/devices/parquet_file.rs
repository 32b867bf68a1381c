//! A collection as Parquet.

use compact_str::{CompactString, ToCompactString};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::collection::Rows;

pub(super) fn read(bytes: Vec<u8>, rows: &mut Rows<'_>) -> Result<(), String> {
    let unreadable = |e: parquet::errors::ParquetError| format!("not readable as Parquet: {e}");
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(unreadable)?;
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
        rows.take(places.iter().map(|place| text(fields[*place])).collect(), number)?;
    }
    Ok(())
}

fn text(field: &Field) -> Option<CompactString> {
    match field {
        Field::Null => None,
        Field::Str(text) => Some(text.as_str().into()),
        other => Some(other.to_compact_string()),
    }
}
