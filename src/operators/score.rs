//! `score`: how strange each reading is to the random cut forest of its key, and whether that makes it an anomaly.
//!
//! One forest and one threshold per key. A key's readings meet them in source order and in batches, which the forest
//! promises to change nothing but the speed; a batch ends where the threshold may change. Readings without any known measure pass by: they
//! neither train nor score.

use std::collections::HashMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

use super::barrier::{Barrier, Share, earliest};
use super::grouping::{Grouping, key_bytes};
use super::stash::Stash;
use super::{Rows, route_key};
use crate::detection::{Detection, Rule, Threshold};
use crate::forest::{self, DeviceMemory, Forest, KeyMemory, Parameters};
use crate::record::{DeviceId, Key, Reading, Scored};
use crate::snapshot::Checkpoints;

mod state;

/// A forest, all that goes into its points, and the threshold of its scores.
struct OfKey {
    forest: Forest,
    memory: KeyMemory,
    devices: HashMap<DeviceId, OfDevice>,
    /// Who has changed since the last commit, where account is kept of it; the forest and the threshold have if one of them has.
    changed: Option<Vec<DeviceId>>,
    threshold: Threshold,
}

struct OfDevice {
    memory: DeviceMemory,
    changed: bool,
}

type Forests = HashMap<Key, OfKey>;

/// What is found of a reading.
#[derive(Clone, Default)]
struct Finding {
    /// `None`: it has no point.
    scored: Option<forest::Scored>,
    /// The threshold that applied, if it is an anomaly.
    threshold: Option<f64>,
}

/// A reading that something is to be found of.
#[derive(Clone, Copy)]
struct Candidate {
    place: usize,
    has_point: bool,
    /// Whether it is an anomaly whatever its score.
    outside: bool,
}

/// Scores every reading with the forest of its `key`; those that `detection` finds anomalous get an attribution and their threshold.
pub fn score<'scope>(
    readings: Rows<'scope, Reading>,
    key: Grouping,
    parameters: Parameters,
    detection: Detection,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, Scored> {
    let of_key = key.clone();
    let by_key = Exchange::new(move |reading: &Reading| route_key(&of_key.key(reading)));
    let mut forests = state::restored(checkpoints, &parameters, detection.rule, Share::of(&readings.scope()));
    let account = checkpoints.is_some();
    let mut stash = Stash::<Reading>::default();
    readings.unary_frontier::<CapacityContainerBuilder<Vec<Scored>>, _, _, _>(by_key, "Score", |capability, _| {
        let mut barrier = Barrier::new(checkpoints, capability);
        move |(input, frontier), output| {
            stash.fill(input);
            while let Some(([capability], mut readings)) = stash.complete(frontier) {
                barrier.before(*capability.time(), || state::changes(&mut forests));
                readings.sort_by_key(|reading| reading.position);
                let keys: Vec<Key> = readings.iter().map(|reading| key.key(reading)).collect();
                let mut order: Vec<usize> = (0..readings.len()).collect();
                order.sort_by(|a, b| keys[*a].cmp(&keys[*b])); // stable: source order within a key
                let mut findings: Vec<Finding> = vec![Finding::default(); readings.len()];
                for same in order.chunk_by(|a, b| keys[*a] == keys[*b]) {
                    let of_key = forests
                        .entry(keys[same[0]].clone())
                        .or_insert_with_key(|key| OfKey::new(key, &parameters, detection.rule, account));
                    of_key.score(&readings, same, &parameters, &detection, &mut findings);
                }
                let mut scored = readings
                    .into_iter()
                    .zip(findings)
                    .map(|(reading, finding)| judged(reading, finding))
                    .collect();
                output.session(&capability).give_container(&mut scored);
            }
            barrier.passed(earliest([frontier]), || state::changes(&mut forests));
        }
    })
}

/// Passes readings on without a score, for a dataflow whose forest is switched off or that has none.
pub fn unscored<'scope>(readings: Rows<'scope, Reading>) -> Rows<'scope, Scored> {
    readings.unary::<CapacityContainerBuilder<Vec<Scored>>, _, _, _>(Pipeline, "Unscored", |_, _| {
        |input, output| {
            input.for_each_stamp(|stamp, batches| {
                for batch in batches {
                    let mut passed = batch
                        .drain(..)
                        .map(|reading| judged(reading, Finding::default()))
                        .collect();
                    output.session(&stamp).give_container(&mut passed);
                }
            });
        }
    })
}

impl OfKey {
    fn new(key: &Key, parameters: &Parameters, rule: Rule, account: bool) -> OfKey {
        OfKey {
            forest: Forest::new(parameters, &key_bytes(key)),
            memory: KeyMemory::new(parameters),
            devices: HashMap::new(),
            changed: account.then(Vec::new),
            threshold: Threshold::new(rule),
        }
    }

    /// Scores the readings at `places`, all of this key and in source order.
    fn score(
        &mut self,
        readings: &[Reading],
        places: &[usize],
        parameters: &Parameters,
        detection: &Detection,
        findings: &mut [Finding],
    ) {
        let mut points: Vec<f32> = Vec::with_capacity(places.len() * parameters.dimensions());
        let mut candidates: Vec<Candidate> = Vec::with_capacity(places.len());
        for place in places {
            let Reading { device, measures, .. } = &readings[*place];
            if measures.iter().all(|measure| measure.is_nan()) {
                continue;
            }
            if !self.devices.contains_key(device) {
                let memory = DeviceMemory::new(parameters.measures, parameters.shingle);
                self.devices.insert(device.clone(), OfDevice { memory, changed: false });
            }
            let of_device = self.devices.get_mut(device).expect("just inserted");
            if let Some(changed) = &mut self.changed
                && !of_device.changed
            {
                of_device.changed = true;
                changed.push(device.clone());
            }
            let point = of_device.memory.point(measures, &mut self.memory);
            points.extend_from_slice(point.unwrap_or_default());
            let candidate = Candidate {
                place: *place,
                has_point: point.is_some(),
                outside: detection.ranges.is_outside(measures),
            };
            candidates.extend((candidate.has_point || candidate.outside).then_some(candidate));
        }
        let (mut points, mut scored) = (&points[..], Vec::with_capacity(candidates.len()));
        let mut rest = &candidates[..];
        while let [first, ..] = rest {
            let threshold = self.threshold.value();
            let alike = |candidate: &&Candidate| candidate.has_point && !candidate.outside;
            let together = match first.outside {
                // Alone, since it is attributed whatever its score.
                true => 1,
                false => rest.iter().take(self.threshold.stays_for()).take_while(alike).count(),
            };
            let (now, later) = rest.split_at(together);
            let values = if first.has_point {
                together * parameters.dimensions()
            } else {
                0
            };
            let (of_now, of_later) = points.split_at(values);
            scored.clear();
            let least = if first.outside { f64::NEG_INFINITY } else { threshold };
            self.forest.score_batch(of_now, least, &mut scored);
            let mut scores = scored.drain(..);
            for candidate in now {
                let scored = scores.next();
                if let Some(score) = scored.as_ref().and_then(|scored| scored.score) {
                    self.threshold.learn(score);
                }
                let reached = scored.as_ref().is_some_and(|scored| scored.attribution.is_some());
                let threshold = (reached || candidate.outside).then_some(threshold);
                findings[candidate.place] = Finding { scored, threshold };
            }
            drop(scores);
            (rest, points) = (later, of_later);
        }
    }
}

fn judged(reading: Reading, Finding { scored, threshold }: Finding) -> Scored {
    let (score, attribution) = scored.map_or((None, None), |scored| (scored.score, scored.attribution));
    let parts = attribution.map(|a| a.parts.iter().map(|part| (part.high, part.low)).collect());
    Scored {
        reading,
        score,
        attribution: threshold.map(|_| parts.unwrap_or_default()),
        threshold,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Life, Plan, replay, replay_lives};
    use super::*;
    use crate::detection::Ranges;
    use crate::forest::{Normalise, Scoring};
    use crate::record::Device;

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

    fn parameters(shingle: usize) -> Parameters {
        Parameters {
            trees: 8,
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

    fn verdict(
        position: u64,
        score: Option<f64>,
        attribution: Option<Vec<(f64, f64)>>,
        threshold: Option<f64>,
    ) -> Verdict {
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
            shingle in 1usize..4,
            detection in detection(),
            plan in Plan::any(),
        ) {
            let readings: Vec<Reading> = (0..).zip(&records).map(|(at, record)| reading(at, record)).collect();
            let parameters = parameters(shingle);
            let want = reference(&readings, &parameters, &detection);
            let mut got = replay(plan, readings, move |readings, _, seen| {
                score(readings, manufacturer(), parameters.clone(), detection.clone(), None).inspect(move |s: &Scored| {
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
            shingle in 1usize..4,
            detection in detection(),
            lives in Life::any(),
        ) {
            let readings: Vec<Reading> = (0..).zip(&records).map(|(at, record)| reading(at, record)).collect();
            let parameters = parameters(shingle);
            let want = reference(&readings, &parameters, &detection);
            let is_committed = |verdict: &Verdict, rows: usize| verdict.0 < rows as u64;
            let mut got = replay_lives(lives, readings, is_committed, move |readings, _, checkpoints, seen| {
                let scored = score(readings, manufacturer(), parameters.clone(), detection.clone(), Some(checkpoints));
                scored.inspect(move |s: &Scored| {
                    let parts = s.attribution.as_ref().map(|parts| parts.to_vec());
                    seen.borrow_mut().push(verdict(s.reading.position, s.score, parts, s.threshold));
                });
            });
            got.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }
}
