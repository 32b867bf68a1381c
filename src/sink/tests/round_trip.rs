//! What is written is what is read: every value and every null, in order, below its date.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::{
    Anomaly, Device, DeviceId, Measures, Quarantined, Reading, Reason, Scored, Statistics, WindowRow, date_of, day_of,
};

const DAY: i64 = 86_400_000_000;

fn text() -> impl Strategy<Value = String> {
    "[a-zé🩺\"\\\\ ,/=\n]{0,8}"
}

fn measure() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -1e9..1e9f64, 1 => prop::sample::select(vec![0.0, -0.0, 3.4e38, 1e-45]), 1 => Just(f64::NAN)]
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..3 * DAY, 1 => -2 * DAY..DAY, 1 => 17_000 * DAY..17_001 * DAY]
}

fn reading() -> impl Strategy<Value = Reading> {
    let name = || proptest::option::of(text().prop_map(Into::into));
    let facts = (name(), name(), name()).prop_map(|(manufacturer, model, ward)| {
        Arc::new(Device {
            manufacturer,
            model,
            columns: [ward].into(),
        })
    });
    (
        time(),
        text(),
        name(),
        [measure(), measure()],
        proptest::option::of(facts),
        any::<bool>(),
    )
        .prop_map(|(timestamp, device, patient, measures, facts, late)| Reading {
            position: 0,
            timestamp,
            received: i64::MAX,
            device: DeviceId::new(device),
            patient,
            measures: Measures::from_slice(&measures),
            fingerprint: 0,
            facts,
            late,
        })
}

fn scored() -> impl Strategy<Value = Scored> {
    (reading(), proptest::option::of(0.0..5.0f64)).prop_map(|(reading, score)| Scored {
        reading,
        score,
        attribution: None,
        threshold: None,
    })
}

fn anomaly() -> impl Strategy<Value = Anomaly> {
    let part = || (0.0..3.0f64, 0.0..3.0f64);
    (reading(), 0.0..5.0f64, [part(), part()], 0.0..5.0f64).prop_map(|(reading, score, parts, threshold)| Anomaly {
        scored: Scored {
            reading,
            score: Some(score),
            attribution: Some(parts.into()),
            threshold: Some(2.0),
        },
        threshold,
    })
}

fn quarantined() -> impl Strategy<Value = Quarantined> {
    let reasons = vec![Reason::NotJson, Reason::NoDevice, Reason::TooLarge];
    let sealed = proptest::collection::vec(any::<u8>(), 0..40);
    (
        any::<u32>(),
        text(),
        any::<u32>(),
        prop::sample::select(reasons),
        text(),
        proptest::option::of(time()),
        sealed,
    )
        .prop_map(
            |(position, source, line, reason, detail, timestamp, sealed)| Quarantined {
                position: position.into(),
                source,
                line: line.into(),
                reason,
                detail,
                timestamp,
                sealed,
            },
        )
}

fn window() -> impl Strategy<Value = WindowRow> {
    let measures = || proptest::collection::vec(measure(), 0..4);
    let maybe = || proptest::option::of(0.0..5.0f64);
    let counts = (0u64..1 << 40, 0u64..9, 0u32..9);
    (
        time(),
        0usize..2,
        proptest::option::of(text()),
        counts,
        [measures(), measures()],
        [maybe(), maybe(), maybe()],
    )
        .prop_map(
            |(
                start,
                grouping,
                key,
                (records, anomalies, revision),
                measures,
                [score_max, score_mean, window_score],
            )| {
                let statistics = |values: Vec<f64>| {
                    let mut statistics = Statistics::default();
                    values.into_iter().for_each(|value| statistics.add(value));
                    statistics
                };
                WindowRow {
                    start,
                    end: start + 60_000_000,
                    grouping,
                    key: key.map(Into::into),
                    records,
                    anomalies,
                    measures: measures.map(statistics).into(),
                    score_max,
                    score_mean,
                    window_score,
                    revision,
                    completed_at: 0,
                }
            },
        )
}

fn reading_cells(reading: &Reading) -> Vec<Cell> {
    let facts = reading.facts.as_deref();
    vec![
        Cell::Time(reading.timestamp),
        Cell::text(Some(&*reading.device)),
        Cell::text(reading.patient.as_ref()),
        Cell::measure(reading.measures[0]),
        Cell::measure(reading.measures[1]),
        Cell::text(facts.and_then(|facts| facts.manufacturer.as_ref())),
        Cell::text(facts.and_then(|facts| facts.model.as_ref())),
        Cell::text(facts.and_then(|facts| facts.columns[0].as_ref())),
    ]
}

fn anomaly_cells(row: &Anomaly) -> Vec<Cell> {
    let mut cells = reading_cells(&row.scored.reading);
    cells.extend([Cell::float(row.scored.score), Cell::float(Some(row.threshold))]);
    for (high, low) in row.scored.attribution.as_deref().expect("anomalies have one") {
        cells.push(Cell::float(Some(high + low)));
        cells.push(Cell::text(Some(if high >= low { "high" } else { "low" })));
    }
    cells
}

fn window_cells(row: &WindowRow) -> Vec<Cell> {
    let count = |n: u64| Cell::Count(n as i64);
    let mut cells = vec![
        Cell::Time(row.start),
        Cell::Time(row.end),
        Cell::text(Some(["manufacturer", "device_id"][row.grouping])),
        Cell::text(row.key.as_ref()),
        count(row.records),
        count(row.anomalies),
    ];
    for m in &row.measures {
        cells.push(count(m.count));
        cells.extend([m.min(), m.max(), m.mean(), m.deviation()].map(Cell::float));
    }
    cells.extend([row.score_max, row.score_mean, row.window_score].map(Cell::float));
    cells.push(count(row.revision.into()));
    cells
}

fn quarantined_cells(row: &Quarantined) -> Vec<Cell> {
    vec![
        Cell::text(Some(row.reason.code())),
        Cell::text(Some(&row.detail)),
        row.timestamp.map_or(Cell::Null, Cell::Time),
        Cell::text(Some(&row.source)),
        Cell::Count(row.line as i64),
        Cell::Count(row.position as i64),
        Cell::Bytes(row.sealed.clone()),
    ]
}

/// Writes the rows and looks for them: below the date of `day`, in the order given, as `cells`.
fn check<T: Table>(
    table: T,
    rows: Vec<T::Row>,
    compression: Compression,
    day: impl Fn(&T::Row) -> Option<i64>,
    cells: impl Fn(&T::Row) -> Vec<Cell>,
) -> Result<(), TestCaseError> {
    let mut want: BTreeMap<String, Vec<Vec<Cell>>> = BTreeMap::new();
    for row in &rows {
        let date = day(row).map_or("__HIVE_DEFAULT_PARTITION__".into(), date_of);
        want.entry(format!("{}/date={date}/part-00000003-01.parquet", T::NAME))
            .or_default()
            .push(cells(row));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files = write(table, rows, folder.path(), compression);
    let values = |row: Vec<(String, Cell)>| row.into_iter().map(|(_, cell)| cell).collect();
    let mut got: BTreeMap<String, Vec<Vec<Cell>>> = BTreeMap::new();
    for file in &files {
        let rows: Vec<Vec<Cell>> = read(folder.path(), file).into_iter().map(values).collect();
        prop_assert_eq!(file.rows, rows.len() as u64);
        let bytes = fs::metadata(folder.path().join(StagedFile::staged(&file.path)))
            .expect("a staged file")
            .len();
        prop_assert_eq!(file.bytes, bytes);
        prop_assert!(got.insert(file.path.clone(), rows).is_none(), "one file for each date");
    }
    prop_assert_eq!(got, want);
    Ok(())
}

fn compression() -> impl Strategy<Value = Compression> {
    prop::sample::select(vec![
        Compression::Zstd,
        Compression::Snappy,
        Compression::Gzip,
        Compression::None,
    ])
}

fn some<S: Strategy>(row: S) -> impl Strategy<Value = Vec<S::Value>> {
    proptest::collection::vec(row, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn readings(rows in some(scored()), with_scores in any::<bool>(), compression in compression()) {
        let cells = |row: &Scored| {
            let mut cells = reading_cells(&row.reading);
            cells.extend(with_scores.then(|| Cell::float(row.score)));
            cells.push(Cell::Truth(row.reading.late));
            cells
        };
        check(Readings::new(columns(with_scores)), rows, compression, |r| Some(day_of(r.reading.timestamp)), cells)?;
    }

    #[test]
    fn anomalies(rows in some(anomaly()), compression in compression()) {
        let day = |row: &Anomaly| Some(day_of(row.scored.reading.timestamp));
        check(Anomalies::new(columns(true)), rows, compression, day, anomaly_cells)?;
    }

    #[test]
    fn windows(rows in some(window()), compression in compression()) {
        let groupings = vec!["manufacturer".into(), "device_id".into()];
        check(Windows::new(&columns(true), groupings), rows, compression, |row| Some(day_of(row.start)), window_cells)?;
    }

    #[test]
    fn quarantine(rows in some(quarantined()), compression in compression()) {
        check(Quarantine::new(), rows, compression, |row| row.timestamp.map(day_of), quarantined_cells)?;
    }
}
