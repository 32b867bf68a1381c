//! A collection as JSON lines: one object per device.

use compact_str::{CompactString, ToCompactString};
use serde_json::{Map, Value};

use super::collection::Rows;

pub(super) fn read(bytes: &[u8], rows: &mut Rows<'_>) -> Result<(), String> {
    let mut present = false;
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let device: Map<String, Value> = serde_json::from_slice(line)
            .map_err(|e| format!("row {number}: not a JSON object at column {}", e.column()))?;
        if !present {
            // As with the other forms, a name that the first row does not have is most likely a mistake.
            rows.places(&device.keys().map(String::as_str).collect::<Vec<_>>())?;
            present = true;
        }
        let values = rows
            .wanted
            .iter()
            .map(|name| device.get(*name).and_then(text))
            .collect();
        rows.take(values, number)?;
    }
    if present { Ok(()) } else { Err("it is empty".into()) }
}

fn text(value: &Value) -> Option<CompactString> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.as_str().into()),
        other => Some(other.to_compact_string()),
    }
}
