//! Where the labels come from: a file of their own, or a column of the records.

use std::collections::HashMap;
use std::path::Path;

use compact_str::{CompactString, ToCompactString};
use serde_json::Value;

use super::super::Failure;
use crate::dataflows::parser;
use crate::judge::{Labels, Marked, Trial, is_ordinary};
use crate::settings::{Record, Settings};
use crate::source::{Cut, Inputs, Reader};

/// Devices and labels that are named in a message.
const NAMED: usize = 3;

pub(super) struct Truth {
    /// As the user gave it.
    pub(super) source: String,
    labels: Labels,
}

impl Truth {
    pub(super) fn from_file(path: &Path, record: &Record) -> Result<Truth, Failure> {
        let source = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|e| Failure::new(format!("{source}: the labels cannot be read ({e}); check the path")))?;
        let text =
            String::from_utf8(bytes).map_err(|_| Failure::new(format!("{source}: the labels are no UTF-8 text")))?;
        let labels = Labels::read(&text, &record.zone()).map_err(|e| Failure::new(format!("{source}: {e}")))?;
        Ok(Truth { source, labels })
    }

    /// Reads the whole input once more, for nothing but the labels.
    pub(super) fn from_column(column: &str, inputs: &Inputs, settings: &Settings) -> Result<Truth, Failure> {
        let cut = Cut {
            epoch_records: settings.replay.epoch_records,
            commit_records: u64::MAX,
            commit_bytes: u64::MAX,
            max_record_bytes: settings.record.max_record_bytes,
            workers: 1,
            mine: 0..1,
        };
        // Of Parquet only columns that are asked for are read.
        let asking = Record {
            measures: vec![column.to_owned()],
            ..settings.record.clone()
        };
        let mut reader = Reader::new(inputs, cut, parser(&asking), None);
        let (mut labels, mut met) = (HashMap::new(), false);
        while let Some(epoch) = reader.next_epoch()? {
            for record in epoch.chunks.iter().flat_map(|chunk| chunk.records()) {
                let Ok(object) = serde_json::from_slice::<Value>(record.bytes) else {
                    continue; // it goes to quarantine
                };
                let Some(value) = find(&object, column) else { continue };
                met = true;
                let label = told(value).ok_or_else(|| {
                    Failure::new(format!(
                        "{}, line {}: {column} is an array or object and no label",
                        record.file.shown(),
                        record.line
                    ))
                })?;
                if !is_ordinary(&label) {
                    labels.insert(record.position, label);
                }
            }
        }
        match met {
            true => Ok(Truth {
                source: format!("column {column}"),
                labels: Labels::Column(labels),
            }),
            false => Err(Failure::new(format!(
                "no record has a field {column}: check --label-column"
            ))),
        }
    }

    /// # Errors
    /// Labels of which none belongs to a reading.
    pub(super) fn mark(&self, trial: &Trial) -> Result<Marked, Failure> {
        let marked = self.labels.mark(trial);
        if marked.labels == 0 || marked.readings() > 0 {
            return Ok(marked);
        }
        let first = marked.unmatched.first().cloned();
        let first = first.or_else(|| marked.absent.first().map(|device| format!("of {device}")));
        let devices: Vec<&str> = trial.devices().take(NAMED).collect();
        Err(Failure::new(format!(
            "{}: none of the {} labels belongs to a reading, the first is {}; check device names, time zone (record.timezone) and unit; the input has {}{}",
            self.source,
            marked.labels,
            first.unwrap_or_else(|| "of a record that became no reading".into()),
            devices.join(", "),
            if trial.devices().count() > NAMED { " …" } else { "" }
        )))
    }
}

/// The value of a flat key, or of a dotted path.
fn find<'a>(object: &'a Value, column: &str) -> Option<&'a Value> {
    object
        .get(column)
        .or_else(|| column.split('.').try_fold(object, |value, key| value.get(key)))
}

/// A label as text; `None`: it is none.
fn told(value: &Value) -> Option<CompactString> {
    Some(match value {
        Value::Null => CompactString::default(),
        Value::Bool(truth) => truth.to_compact_string(),
        Value::Number(number) => number.to_compact_string(),
        Value::String(text) => text.trim().into(),
        Value::Array(_) | Value::Object(_) => return None,
    })
}
