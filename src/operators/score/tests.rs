//! Every bit of a score against a forest that is given one reading after the other.

use std::sync::Arc;

use proptest::prelude::*;
use timely::dataflow::operators::Inspect;

use super::super::grouping::key_bytes;
use super::super::replay::{Life, Plan, replay, replay_lives};
use super::*;
use crate::detection::{Ranges, Rule, Threshold};
use crate::forest::{DeviceMemory, Forest, KeyMemory, Normalise, Scoring};
use crate::record::{Device, DeviceId, Key};

const THRESHOLD: f64 = 1.1;

fn detection() -> impl Strategy<Value = Detection> {
    let rule = prop_oneof![
        Just(Rule::Fixed(THRESHOLD)),
        (0.01..0.3f64).prop_map(|share| Rule::Rate {
            share,
            until: THRESHOLD
        }),
        (0.0..0.9f64).prop_map(|least| Rule::Grade {
            least,
            until: THRESHOLD
        }),
    ];
    let unbounded = (f64::NEG_INFINITY, f64::INFINITY);
    let first = prop_oneof![Just(unbounded), Just((-4.5, 4.0))];
    (rule, first).prop_map(move |(rule, first)| Detection {
        rule,
        ranges: Ranges(vec![first, unbounded]),
    })
}

/// Fewer trees than there are workers, at times.
fn parameters(trees: usize, shingle: usize) -> Parameters {
    Parameters {
        trees,
        sample_size: 12,
        time_decay: 40,
        shingle,
        measures: 2,
        scoring: Scoring::Kinesis,
        seed: 42,
        normalise: match shingle {
            1 => Normalise::None,
            _ => Normalise::Standardise,
        },
    }
}

fn manufacturer() -> Grouping {
    Grouping::new(&["manufacturer".to_owned()], &[]).expect("a known column")
}

fn reading(position: u64, (device, manufacturer, measures): &(u8, u8, [f64; 2])) -> Reading {
    let facts = Device {
        manufacturer: (*manufacturer > 0).then(|| format!("maker-{manufacturer}").into()),
        ..Device::default()
    };
    Reading {
        position,
        timestamp: 0,
        received: i64::MAX,
        device: DeviceId::new(format!("monitor-{device}")),
        patient: None,
        measures: measures.as_slice().into(),
        fingerprint: 0,
        facts: Some(Arc::new(facts)),
        late: false,
    }
}

/// (position, score as bits, attribution as bits, threshold as bits).
type Verdict = (u64, Option<u64>, Option<Vec<(u64, u64)>>, Option<u64>);

fn verdict(position: u64, score: Option<f64>, attribution: Option<Vec<(f64, f64)>>, threshold: Option<f64>) -> Verdict {
    let bits = |parts: Vec<(f64, f64)>| {
        parts
            .into_iter()
            .map(|(high, low)| (high.to_bits(), low.to_bits()))
            .collect()
    };
    (
        position,
        score.map(f64::to_bits),
        attribution.map(bits),
        threshold.map(f64::to_bits),
    )
}

/// A key's forest, what is known of the key and of its devices, by a reading of each, and its threshold.
type OfKeyAlone = (Key, Forest, KeyMemory, Vec<(Reading, DeviceMemory)>, Threshold);

/// One reading after the other, each to the forest of its key.
fn reference(readings: &[Reading], parameters: &Parameters, detection: &Detection) -> Vec<Verdict> {
    let mut forests: Vec<OfKeyAlone> = Vec::new();
    let mut verdicts = Vec::new();
    for reading in readings {
        let key = manufacturer().key(reading);
        if !forests.iter().any(|(of, ..)| *of == key) {
            let forest = Forest::new(parameters, &key_bytes(&key));
            let threshold = Threshold::new(detection.rule);
            forests.push((key.clone(), forest, KeyMemory::new(parameters), Vec::new(), threshold));
        }
        let (_, forest, memory, devices, threshold) =
            forests.iter_mut().find(|(of, ..)| *of == key).expect("just made");
        if reading.measures.iter().all(|measure| measure.is_nan()) {
            verdicts.push(verdict(reading.position, None, None, None));
            continue;
        }
        if !devices.iter().any(|(of, _)| of.device == reading.device) {
            devices.push((
                reading.clone(),
                DeviceMemory::new(parameters.measures, parameters.shingle),
            ));
        }
        let (_, device) = devices
            .iter_mut()
            .find(|(of, _)| of.device == reading.device)
            .expect("just made");
        // Attributed in any case, and then only those are kept that the rule, or a range, makes anomalies.
        let mut scored = Vec::new();
        if let Some(point) = device.point(&reading.measures, memory) {
            forest.score_batch(point, f64::NEG_INFINITY, &mut scored);
        }
        let scored = scored.pop();
        let score = scored.as_ref().and_then(|s| s.score);
        let value = threshold.value();
        let (low, high) = detection.ranges.0[0];
        let outside = reading.measures[0] < low || reading.measures[0] > high;
        let anomalous = outside || score.is_some_and(|score| score >= value);
        let parts = scored.and_then(|s| s.attribution).map_or(Vec::new(), |a| {
            a.parts.iter().map(|part| (part.high, part.low)).collect()
        });
        let parts = anomalous.then_some(parts);
        verdicts.push(verdict(reading.position, score, parts, anomalous.then_some(value)));
        if let Some(score) = score {
            threshold.learn(score);
        }
    }
    verdicts
}

fn measure() -> impl Strategy<Value = f64> {
    prop_oneof![8 => -5.0..5.0f64, 1 => Just(f64::NAN), 1 => Just(500.0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_bit_of_a_score_is_the_same_for_any_workers_and_epochs(
        records in proptest::collection::vec((0u8..4, 0u8..3, [measure(), measure()]), 0..1200),
        (trees, shingle) in (1usize..9, 1usize..4),
        detection in detection(),
        (keys, devices) in (1usize..4, 1usize..5),
        plan in Plan::any(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room { keys, devices, folder: folder.path().to_owned() };
        let readings: Vec<Reading> = (0..).zip(&records).map(|(at, record)| reading(at, record)).collect();
        let parameters = parameters(trees, shingle);
        let want = reference(&readings, &parameters, &detection);
        let mut got = replay(plan, readings, move |readings, _, seen| {
            score(readings, manufacturer(), parameters.clone(), detection.clone(), &room, None).inspect(move |s: &Scored| {
                let parts = s.attribution.as_ref().map(|parts| parts.to_vec());
                seen.borrow_mut().push(verdict(s.reading.position, s.score, parts, s.threshold));
            });
        });
        got.sort_unstable();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn a_run_that_goes_on_from_a_commit_gives_the_same_bits(
        records in proptest::collection::vec((0u8..4, 0u8..3, [measure(), measure()]), 0..1200),
        (trees, shingle) in (1usize..9, 1usize..4),
        detection in detection(),
        (keys, devices) in (1usize..4, 1usize..5),
        lives in Life::any(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room { keys, devices, folder: folder.path().to_owned() };
        let readings: Vec<Reading> = (0..).zip(&records).map(|(at, record)| reading(at, record)).collect();
        let parameters = parameters(trees, shingle);
        let want = reference(&readings, &parameters, &detection);
        let is_committed = |verdict: &Verdict, rows: usize| verdict.0 < rows as u64;
        let mut got = replay_lives(lives, readings, is_committed, move |readings, _, checkpoints, seen| {
            let scored = score(readings, manufacturer(), parameters.clone(), detection.clone(), &room, Some(checkpoints));
            scored.inspect(move |s: &Scored| {
                let parts = s.attribution.as_ref().map(|parts| parts.to_vec());
                seen.borrow_mut().push(verdict(s.reading.position, s.score, parts, s.threshold));
            });
        });
        got.sort_unstable();
        prop_assert_eq!(got, want);
    }
}
