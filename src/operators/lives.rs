//! A test: all stateful operators in a row, as a real dataflow has them, over several runs that go on where the one before it died.

use std::sync::Arc;

use proptest::prelude::*;
use timely::dataflow::operators::Inspect;

use super::replay::{Life, Plan, Seen, replay, replay_lives};
use super::*;
use crate::alerts::{Alert, Composer};
use crate::detection::{Detection, Ranges, Rule};
use crate::forest::{Normalise, Parameters, Scoring};
use crate::record::{Device, DeviceId, Reading, Scored, WindowRow};
use crate::snapshot::Checkpoints;

/// Time, device, manufacturer, measures.
type Sample = (i64, u8, u8, [f64; 2]);

fn reading(position: u64, (timestamp, device, manufacturer, measures): &Sample) -> Reading {
    let facts = Device {
        manufacturer: (*manufacturer > 0).then(|| format!("maker-{manufacturer}").into()),
        ..Device::default()
    };
    Reading {
        position,
        timestamp: *timestamp,
        received: i64::MAX,
        device: DeviceId::new(format!("monitor-{device}")),
        patient: None,
        measures: measures.as_slice().into(),
        fingerprint: measures[0].to_bits(),
        facts: Some(Arc::new(facts)),
        late: false,
    }
}

/// The position of the reading that something came of, and all its bits as text.
type Sight = (u64, String);

fn build<'scope>(
    per_device: bool,
    readings: Rows<'scope, Reading>,
    ends: Rows<'scope, Mark>,
    checkpoints: Option<&Checkpoints>,
    seen: Seen<Sight>,
) {
    let by = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Grouping::new(&names, &[]).expect("known columns")
    };
    let rules = WatermarkRules {
        size: 10,
        out_of_orderness: 5,
        allowed_lateness: 40,
        max_jump: 60,
    };
    let parameters = |shingle| Parameters {
        trees: 8,
        sample_size: 12,
        time_decay: 40,
        shingle,
        measures: 2,
        scoring: Scoring::Kinesis,
        seed: 42,
        normalise: Normalise::Standardise,
    };
    let (readings, _) = deduplicate(readings, Some(100), checkpoints);
    let (readings, steps) = match per_device {
        true => watermark_per_device(readings, ends, rules, checkpoints),
        false => watermark(readings, ends, rules, checkpoints),
    };
    let detection = Detection {
        rule: Rule::Fixed(1.1),
        ranges: Ranges::default(),
    };
    let room = Room {
        keys: 100,
        devices: 100,
        folder: std::env::temp_dir(), // where nothing is put away
    };
    let scored = score(
        readings,
        by(&["manufacturer"]),
        parameters(2),
        detection,
        &room,
        checkpoints,
    );
    let scored = match per_device {
        true => scored,
        false => mark_late(scored, steps.clone(), rules, checkpoints),
    };
    let windows = Tumbling {
        groupings: vec![by(&["device_id"]), by(&["manufacturer", "device_id"])],
        measures: 2,
        rules,
        per_device,
    };
    let names = windows.groupings.iter().map(|by| by.name.clone()).collect();
    let (scored, anomalies) = anomalies(scored);
    let alerting = Alerting {
        cool_down: 30,
        composer: Composer {
            measures: vec!["pulse".into(), "temperature".into()],
            patient: false,
        },
    };
    let alerts = alert(anomalies, alerting, checkpoints);
    let (scored, windows) = tumbling(scored, steps, windows, checkpoints);
    let windows = score_windows(windows, names, parameters(1), checkpoints);
    let (of_reading, of_alert, of_window) = (seen.clone(), seen.clone(), seen);
    alerts.inspect(move |alert: &Alert| of_alert.borrow_mut().push((alert.position, alert.json.clone())));
    // Of finite numbers the text says every bit.
    scored.inspect(move |s: &Scored| of_reading.borrow_mut().push((s.reading.position, format!("{s:?}"))));
    windows.inspect(move |w: &WindowRow| of_window.borrow_mut().push((w.completed_at, format!("{w:?}"))));
}

fn sample() -> impl Strategy<Value = Sample> {
    let measure = || prop_oneof![8 => -5.0..5.0f64, 1 => Just(f64::NAN), 1 => Just(500.0)];
    let pace = prop_oneof![12 => 0i64..6, 3 => -20i64..0, 1 => -100i64..100];
    (pace, 0u8..4, [measure(), measure()]).prop_map(|(pace, device, measures)| (pace, device, device % 3, measures))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_dataflow_that_dies_and_goes_on_gives_every_bit_of_one_that_never_stopped(
        samples in proptest::collection::vec(sample(), 1..150), per_device in any::<bool>(), lives in Life::any_in_order(),
    ) {
        let mut time = 0;
        let readings: Vec<Reading> = (0..)
            .zip(samples)
            .map(|(at, (pace, device, manufacturer, measures))| {
                time += pace;
                reading(at, &(time, device, manufacturer, measures))
            })
            .collect();
        let mut want = replay(Plan::one(7), readings.clone(), move |readings, ends, seen| {
            build(per_device, readings, ends, None, seen);
        });
        let is_committed = |(position, _): &Sight, rows: usize| *position < rows as u64;
        let mut got = replay_lives(lives, readings, is_committed, move |readings, ends, checkpoints, seen| {
            build(per_device, readings, ends, Some(checkpoints), seen);
        });
        want.sort_unstable();
        got.sort_unstable();
        prop_assert_eq!(got, want);
    }
}
