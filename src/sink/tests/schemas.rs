//! The tables' schemas as a reader of Parquet sees them: a change here changes what users have built on.

use super::*;
use crate::record::{Anomaly, DeviceId, Measures, Quarantined, Reading, Reason, Scored, Statistics, WindowRow};

/// The schema of a file that holds one row.
fn schema<T: Table>(table: T, row: T::Row) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = write(table, vec![row], folder.path(), Compression::Zstd);
    let file = open(folder.path(), &files[0]);
    let mut printed = Vec::new();
    print_schema(&mut printed, file.metadata().file_metadata().schema());
    String::from_utf8(printed).expect("text")
}

fn scored() -> Scored {
    let reading = Reading {
        position: 0,
        timestamp: 0,
        received: i64::MAX,
        device: DeviceId::new("d"),
        patient: None,
        measures: Measures::from_slice(&[1.0, 2.0]),
        fingerprint: 0,
        facts: None,
        late: false,
    };
    Scored {
        reading,
        score: Some(1.0),
        attribution: Some([(1.0, 0.0), (0.0, 1.0)].into()),
        threshold: Some(2.0),
    }
}

#[test]
fn readings() {
    assert_eq!(schema(Readings::new(columns(true)), scored()), READINGS);
}

#[test]
fn readings_of_a_dataflow_without_scores() {
    let without: String = READINGS
        .split_inclusive('\n')
        .filter(|line| !line.contains("anomaly_score"))
        .collect();
    assert_eq!(schema(Readings::new(columns(false)), scored()), without);
}

#[test]
fn anomalies() {
    let anomaly = Anomaly {
        scored: scored(),
        threshold: 2.0,
    };
    assert_eq!(schema(Anomalies::new(columns(true)), anomaly), ANOMALIES);
}

#[test]
fn windows() {
    let window = WindowRow {
        start: 0,
        end: 1,
        grouping: 0,
        key: None,
        records: 1,
        anomalies: 0,
        measures: vec![Statistics::default(); 2],
        score_max: None,
        score_mean: None,
        window_score: None,
        revision: 0,
        completed_at: 0,
    };
    assert_eq!(
        schema(Windows::new(&columns(true), vec!["manufacturer".into()]), window),
        WINDOWS
    );
}

#[test]
fn quarantine() {
    let row = Quarantined {
        position: 0,
        source: "input.jsonl".into(),
        line: 1,
        reason: Reason::NotJson,
        detail: "not JSON at column 1".into(),
        timestamp: None,
        sealed: vec![1],
    };
    assert_eq!(schema(Quarantine::new(), row), QUARANTINE);
}

const READINGS: &str = "message arrow_schema {
  REQUIRED INT64 timestamp (TIMESTAMP(MICROS,true));
  REQUIRED BYTE_ARRAY device_id (STRING);
  OPTIONAL BYTE_ARRAY patient_id (STRING);
  OPTIONAL DOUBLE temperature;
  OPTIONAL DOUBLE pulse;
  OPTIONAL BYTE_ARRAY manufacturer (STRING);
  OPTIONAL BYTE_ARRAY model (STRING);
  OPTIONAL BYTE_ARRAY ward (STRING);
  OPTIONAL DOUBLE anomaly_score;
  REQUIRED BOOLEAN late;
}
";

const ANOMALIES: &str = "message arrow_schema {
  REQUIRED INT64 timestamp (TIMESTAMP(MICROS,true));
  REQUIRED BYTE_ARRAY device_id (STRING);
  OPTIONAL BYTE_ARRAY patient_id (STRING);
  OPTIONAL DOUBLE temperature;
  OPTIONAL DOUBLE pulse;
  OPTIONAL BYTE_ARRAY manufacturer (STRING);
  OPTIONAL BYTE_ARRAY model (STRING);
  OPTIONAL BYTE_ARRAY ward (STRING);
  REQUIRED DOUBLE anomaly_score;
  REQUIRED DOUBLE threshold;
  REQUIRED DOUBLE attribution_temperature;
  REQUIRED BYTE_ARRAY direction_temperature (STRING);
  REQUIRED DOUBLE attribution_pulse;
  REQUIRED BYTE_ARRAY direction_pulse (STRING);
}
";

const WINDOWS: &str = "message arrow_schema {
  REQUIRED INT64 window_start (TIMESTAMP(MICROS,true));
  REQUIRED INT64 window_end (TIMESTAMP(MICROS,true));
  REQUIRED BYTE_ARRAY grouping (STRING);
  OPTIONAL BYTE_ARRAY key (STRING);
  REQUIRED INT64 records;
  REQUIRED INT64 anomalies;
  REQUIRED INT64 temperature_count;
  OPTIONAL DOUBLE temperature_min;
  OPTIONAL DOUBLE temperature_max;
  OPTIONAL DOUBLE temperature_mean;
  OPTIONAL DOUBLE temperature_stddev;
  REQUIRED INT64 pulse_count;
  OPTIONAL DOUBLE pulse_min;
  OPTIONAL DOUBLE pulse_max;
  OPTIONAL DOUBLE pulse_mean;
  OPTIONAL DOUBLE pulse_stddev;
  OPTIONAL DOUBLE anomaly_score_max;
  OPTIONAL DOUBLE anomaly_score_mean;
  OPTIONAL DOUBLE window_score;
  REQUIRED INT64 revision;
}
";

const QUARANTINE: &str = "message arrow_schema {
  REQUIRED BYTE_ARRAY reason (STRING);
  REQUIRED BYTE_ARRAY detail (STRING);
  OPTIONAL INT64 timestamp (TIMESTAMP(MICROS,true));
  REQUIRED BYTE_ARRAY source (STRING);
  REQUIRED INT64 line;
  REQUIRED INT64 position;
  REQUIRED BYTE_ARRAY sealed_payload;
}
";
