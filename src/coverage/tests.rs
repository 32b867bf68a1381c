//! Whatever the records are, the counts add up.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::settings::Settings;
use crate::source::{Cut, Inputs, Reader};

/// Text that is often nearly a record.
fn line() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"7\"".to_owned()),
        Just("{\"a\":[1]}".to_owned()),
        Just("\"2024-01-01T00:00:00\"".to_owned()),
        (-5i64..2_000_000_000_000).prop_map(|n| n.to_string()),
        (0.0f64..200.0).prop_map(|x| format!("{x}")),
        "[a-d]{1,3}".prop_map(|text| format!("\"{text}\"")),
    ];
    let key = proptest::sample::select(vec![
        "timestamp",
        "device_id",
        "patient_id",
        "name",
        "dob",
        "pulse",
        "temperature",
        "Temp",
        "resp",
        "vitals.x",
    ]);
    let object = proptest::collection::vec((key, value), 0..8).prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    });
    prop_oneof![9 => object, 1 => "[ -~]{0,20}"]
}

fn take(lines: &[String], overrides: &[&str]) -> Coverage {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("input.jsonl");
    fs::write(&path, lines.join("\n")).expect("written");
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let settings = Settings::load("realtime_analytics", &overrides, []).expect("right");
    let inputs = Inputs::find(&[path.display().to_string()]).expect("a file");
    let cut = Cut {
        epoch_records: 7,
        commit_records: u64::MAX,
        commit_bytes: u64::MAX,
        max_record_bytes: settings.record.max_record_bytes,
        workers: 1,
        mine: 0..1,
    };
    let mut reader = Reader::new(&inputs, cut, crate::dataflows::parser(&settings.record), None);
    let mut sample = Sample::new(&settings, None, 1_800_000_000_000_000);
    while let Some(epoch) = reader.next_epoch().expect("readable") {
        epoch
            .chunks
            .iter()
            .flat_map(|chunk| chunk.records())
            .for_each(|record| sample.take(&record));
    }
    sample.finish(false)
}

proptest! {
    #[test]
    fn counts_add_up(lines in proptest::collection::vec(line(), 0..40), keep in any::<bool>()) {
        let horizon = if keep { "deduplicate.horizon=off" } else { "deduplicate.horizon=1h" };
        let coverage = take(&lines, &["record.aliases.Temp=temperature", horizon]);
        let o = &coverage.outcomes;
        let quarantined: u64 = o.quarantined.values().sum();
        prop_assert_eq!(coverage.records, lines.iter().filter(|line| !line.trim().is_empty()).count() as u64);
        prop_assert_eq!(coverage.records, o.readings + o.not_selected + o.duplicates + quarantined);
        prop_assert!(coverage.objects <= coverage.records);
        prop_assert!(o.readings + o.duplicates <= coverage.objects);
        prop_assert_eq!(o.duplicates, if keep { 0 } else { o.copies });
        for field in &coverage.fields {
            prop_assert!(field.readable <= field.present && field.present <= coverage.objects, "{:?}", field);
            if let Some(range) = &field.range {
                prop_assert!(range.min <= range.median && range.median <= range.max, "{:?}", range);
                prop_assert!(range.plausible.is_none_or(|(within, ..)| within <= field.readable), "{:?}", field);
            }
        }
        // Every reading has a time and a device that could be read.
        for role in ["event time", "device"] {
            let readable = coverage.fields.iter().filter(|f| f.role == role).map(|f| f.readable).sum::<u64>();
            prop_assert!(readable >= o.readings + o.duplicates, "{}: {}", role, readable);
        }
        prop_assert!(coverage.unmapped.iter().all(|field| field.present <= coverage.objects));
        prop_assert!(coverage.late.is_some_and(|late| late.readings <= o.readings));
    }
}
