//! A collection as CSV with a header row.

use compact_str::CompactString;

use super::collection::Rows;

pub(super) fn read(bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|e| not_csv(&e))?.clone();
    let places = rows.places(&header.iter().collect::<Vec<_>>())?;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| not_csv(&e))? {
        let line = record.position().map_or(0, csv::Position::line);
        rows.take(
            places
                .iter()
                .map(|place| record.get((*place)?).map(CompactString::new))
                .collect(),
            line,
        )?;
    }
    Ok(())
}

fn not_csv(error: &csv::Error) -> String {
    let line = error
        .position()
        .map_or_else(String::new, |at| format!("line {}: ", at.line()));
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{line}{len} values where the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => format!("{line}not UTF-8"),
        _ => format!("{line}not readable as CSV"),
    }
}
