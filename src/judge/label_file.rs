//! Files of labels: CSV of points or of intervals, and the JSON of the Numenta Anomaly Benchmark.
//!
//! Points have the columns `timestamp` and, if they like, `device_id` and `label` (or `fault`); intervals `start`, `end` and, if they
//! like, `device_id`. The JSON maps a file's name to instants or to [start, end] pairs; its device is that name without folders and ending.

use std::fmt;
use std::path::Path;

use compact_str::CompactString;
use serde_json::Value;

use super::labels::{Interval, Labels, Point, is_ordinary};
use crate::record::{EventTime, Zone};

/// What is wrong with a file of labels, and what to do; without the file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelError(String);

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LabelError {}

fn wrong<T>(why: impl Into<String>) -> Result<T, LabelError> {
    Err(LabelError(why.into()))
}

const FORMS: &str = "labels are a CSV with the columns device_id,timestamp[,label] or device_id,start,end, or NAB's combined_windows.json";

impl Labels {
    /// Reads a file's text; times without a zone are `zone`'s.
    ///
    /// # Errors
    /// A text of another form, or an entry that cannot be read, with its line.
    pub fn read(text: &str, zone: &Zone) -> Result<Labels, LabelError> {
        let text = text.trim_start_matches('\u{feff}');
        match text.trim_start().chars().next() {
            None => wrong(format!("it is empty; {FORMS}")),
            Some('{' | '[') => benchmark(text, zone),
            Some(_) => csv_file(text, zone),
        }
    }
}

fn csv_file(text: &str, zone: &Zone) -> Result<Labels, LabelError> {
    let header = text.lines().next().unwrap_or_default();
    let count = |delimiter: u8| header.bytes().filter(|byte| *byte == delimiter).count();
    let delimiter = [b';', b'\t']
        .into_iter()
        .find(|d| count(*d) > count(b','))
        .unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let unreadable = |e: csv::Error| {
        let line = e.position().map_or(1, csv::Position::line);
        LabelError(format!("line {line} does not fit the header; {FORMS}"))
    };
    let names = reader.headers().map_err(unreadable)?.clone();
    let column = |wanted: &[&str]| {
        names
            .iter()
            .position(|name| wanted.iter().any(|w| name.eq_ignore_ascii_case(w)))
    };
    let device = column(&["device_id", "device"]);
    let ends = column(&["start"]).zip(column(&["end"]));
    let (timestamp, label) = (column(&["timestamp"]), column(&["label", "fault", "anomaly"]));
    let (mut points, mut intervals) = (Vec::new(), Vec::new());
    for row in reader.records() {
        let row = row.map_err(unreadable)?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |at: usize| row.get(at).unwrap_or_default();
        let time = |at: usize| of_text(cell(at), zone).ok_or_else(|| no_time(&format!("line {line}"), &names[at]));
        let device = match device.map(cell) {
            Some("") => {
                return wrong(format!(
                    "line {line} has no device; leave the whole column away if the labels are of any device"
                ));
            }
            device => device.map(CompactString::new),
        };
        match (ends, timestamp) {
            (Some((start, end)), _) => {
                let (start, end) = (time(start)?, time(end)?);
                intervals.push(ordered(device, start, end, &format!("line {line}"))?);
            }
            (None, Some(timestamp)) => {
                let timestamp = time(timestamp)?;
                let what = label.map_or("", cell);
                if label.is_none() || !is_ordinary(what) {
                    let what = CompactString::new(what);
                    points.push(Point {
                        device,
                        timestamp,
                        what,
                    });
                }
            }
            (None, None) => break,
        }
    }
    match (ends, timestamp) {
        (Some(_), _) => Ok(Labels::Intervals(intervals)),
        (None, Some(_)) => Ok(Labels::Points(points)),
        (None, None) => wrong(format!("its header has neither timestamp nor start and end; {FORMS}")),
    }
}

fn of_text(text: &str, zone: &Zone) -> Option<EventTime> {
    zone.of_text(text.trim())
}

fn no_time(place: &str, name: &str) -> LabelError {
    LabelError(format!(
        "{place}: {name} is no time; write it as 2017-10-15T03:55:51.778Z"
    ))
}

fn ordered(
    device: Option<CompactString>,
    start: EventTime,
    end: EventTime,
    place: &str,
) -> Result<Interval, LabelError> {
    match start <= end {
        true => Ok(Interval { device, start, end }),
        false => wrong(format!("{place}: the end is before the start")),
    }
}

/// File → instants, or file → [start, end] pairs.
fn benchmark(text: &str, zone: &Zone) -> Result<Labels, LabelError> {
    let files = match serde_json::from_str(text) {
        Ok(Value::Object(files)) => files,
        Ok(_) => return wrong(format!("it is JSON, but not an object of files; {FORMS}")),
        Err(e) => return wrong(format!("it is no JSON at line {}; {FORMS}", e.line())),
    };
    let (mut points, mut intervals) = (Vec::new(), Vec::new());
    for (file, entries) in &files {
        let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
        let device = || Some(CompactString::new(&stem));
        let Value::Array(entries) = entries else {
            return wrong(format!("{file} is no list; {FORMS}"));
        };
        for entry in entries {
            let time = |value: &Value| zone.time_of(value).ok_or_else(|| no_time(file, "an entry"));
            match entry {
                Value::Array(pair) => match pair.as_slice() {
                    [start, end] => intervals.push(ordered(device(), time(start)?, time(end)?, file)?),
                    _ => return wrong(format!("{file}: an entry is no pair of start and end; {FORMS}")),
                },
                instant => points.push(Point {
                    device: device(),
                    timestamp: time(instant)?,
                    what: CompactString::default(),
                }),
            }
        }
    }
    match points.is_empty() {
        true => Ok(Labels::Intervals(intervals)),
        false if intervals.is_empty() => Ok(Labels::Points(points)),
        false => wrong(format!("it has both instants and pairs; {FORMS}")),
    }
}
