//! `score`: how strange each reading is to the random cut forest of its key.
//!
//! One forest per key. A key's readings meet its forest in source order and in batches, which the forest
//! promises to change nothing but the speed. Readings without any known measure pass by: they neither train nor score.

use std::collections::HashMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;

use super::barrier::{Barrier, Share, earliest};
use super::grouping::{Grouping, key_bytes};
use super::stash::Stash;
use super::{Rows, route_key};
use crate::forest::{self, DeviceMemory, Forest, KeyMemory, Parameters};
use crate::record::{DeviceId, Key, Reading, Scored};
use crate::snapshot::Checkpoints;

mod state;

/// A forest and all that goes into its points.
struct OfKey {
    forest: Forest,
    memory: KeyMemory,
    devices: HashMap<DeviceId, OfDevice>,
    /// Who has changed since the last commit, where account is kept of it; the forest has if one of them has.
    changed: Option<Vec<DeviceId>>,
}

struct OfDevice {
    memory: DeviceMemory,
    changed: bool,
}

type Forests = HashMap<Key, OfKey>;

/// Scores every reading with the forest of its `key`; those at or above `threshold` get an attribution.
pub fn score<'scope>(
    readings: Rows<'scope, Reading>,
    key: Grouping,
    parameters: Parameters,
    threshold: f64,
    checkpoints: Option<&Checkpoints>,
) -> Rows<'scope, Scored> {
    let of_key = key.clone();
    let by_key = Exchange::new(move |reading: &Reading| route_key(&of_key.key(reading)));
    let mut forests = state::restored(checkpoints, &parameters, Share::of(&readings.scope()));
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
                let mut verdicts: Vec<Option<forest::Scored>> = vec![None; readings.len()];
                for same in order.chunk_by(|a, b| keys[*a] == keys[*b]) {
                    let of_key = forests
                        .entry(keys[same[0]].clone())
                        .or_insert_with_key(|key| OfKey::new(key, &parameters, account));
                    of_key.score(&readings, same, &parameters, threshold, &mut verdicts);
                }
                let mut scored = readings
                    .into_iter()
                    .zip(verdicts)
                    .map(|(reading, verdict)| judged(reading, verdict))
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
                    let mut passed = batch.drain(..).map(|reading| judged(reading, None)).collect();
                    output.session(&stamp).give_container(&mut passed);
                }
            });
        }
    })
}

impl OfKey {
    fn new(key: &Key, parameters: &Parameters, account: bool) -> OfKey {
        OfKey {
            forest: Forest::new(parameters, &key_bytes(key)),
            memory: KeyMemory::new(parameters.measures),
            devices: HashMap::new(),
            changed: account.then(Vec::new),
        }
    }

    /// Scores the readings at `places`, all of this key and in source order.
    fn score(
        &mut self,
        readings: &[Reading],
        places: &[usize],
        parameters: &Parameters,
        threshold: f64,
        verdicts: &mut [Option<forest::Scored>],
    ) {
        let mut points: Vec<f32> = Vec::with_capacity(places.len() * parameters.dimensions());
        let mut with_point: Vec<usize> = Vec::with_capacity(places.len());
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
            if let Some(point) = of_device.memory.point(measures, &mut self.memory) {
                points.extend_from_slice(point);
                with_point.push(*place);
            }
        }
        let mut scored = Vec::with_capacity(with_point.len());
        self.forest.score_batch(&points, threshold, &mut scored);
        for (place, scored) in with_point.into_iter().zip(scored) {
            verdicts[place] = Some(scored);
        }
    }
}

fn judged(reading: Reading, verdict: Option<forest::Scored>) -> Scored {
    let (score, attribution) = verdict.map_or((None, None), |verdict| (verdict.score, verdict.attribution));
    let attribution = attribution.map(|a| a.parts.iter().map(|part| (part.high, part.low)).collect());
    Scored {
        reading,
        score,
        attribution,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use timely::dataflow::operators::Inspect;

    use super::super::replay::{Life, Plan, replay, replay_lives};
    use super::*;
    use crate::forest::Scoring;
    use crate::record::Device;

    const THRESHOLD: f64 = 1.1;

    fn parameters(shingle: usize) -> Parameters {
        Parameters {
            trees: 8,
            sample_size: 12,
            time_decay: 40,
            shingle,
            measures: 2,
            scoring: Scoring::Kinesis,
            seed: 42,
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

    /// (position, score as bits, attribution as bits).
    type Verdict = (u64, Option<u64>, Option<Vec<(u64, u64)>>);

    fn verdict(position: u64, score: Option<f64>, attribution: Option<Vec<(f64, f64)>>) -> Verdict {
        let bits = |parts: Vec<(f64, f64)>| {
            parts
                .into_iter()
                .map(|(high, low)| (high.to_bits(), low.to_bits()))
                .collect()
        };
        (position, score.map(f64::to_bits), attribution.map(bits))
    }

    /// A key's forest, and what is known of the key and of its devices, by a reading of each.
    type OfKeyAlone = (Key, Forest, KeyMemory, Vec<(Reading, DeviceMemory)>);

    /// One reading after the other, each to the forest of its key.
    fn reference(readings: &[Reading], parameters: &Parameters) -> Vec<Verdict> {
        let mut forests: Vec<OfKeyAlone> = Vec::new();
        let mut verdicts = Vec::new();
        for reading in readings {
            let key = manufacturer().key(reading);
            if !forests.iter().any(|(of, ..)| *of == key) {
                let forest = Forest::new(parameters, &key_bytes(&key));
                forests.push((key.clone(), forest, KeyMemory::new(parameters.measures), Vec::new()));
            }
            let (_, forest, memory, devices) = forests.iter_mut().find(|(of, ..)| *of == key).expect("just made");
            if reading.measures.iter().all(|measure| measure.is_nan()) {
                verdicts.push(verdict(reading.position, None, None));
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
            let mut scored = Vec::new();
            if let Some(point) = device.point(&reading.measures, memory) {
                forest.score_batch(point, THRESHOLD, &mut scored);
            }
            let scored = scored.pop();
            let parts = scored.as_ref().and_then(|s| s.attribution.as_ref());
            let parts = parts.map(|a| a.parts.iter().map(|part| (part.high, part.low)).collect());
            verdicts.push(verdict(reading.position, scored.and_then(|s| s.score), parts));
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
            records in proptest::collection::vec((0u8..4, 0u8..3, [measure(), measure()]), 0..150),
            shingle in 1usize..4,
            plan in Plan::any(),
        ) {
            let readings: Vec<Reading> = (0..).zip(&records).map(|(at, record)| reading(at, record)).collect();
            let parameters = parameters(shingle);
            let want = reference(&readings, &parameters);
            let mut got = replay(plan, readings, move |readings, _, seen| {
                score(readings, manufacturer(), parameters.clone(), THRESHOLD, None).inspect(move |s: &Scored| {
                    let parts = s.attribution.as_ref().map(|parts| parts.to_vec());
                    seen.borrow_mut().push(verdict(s.reading.position, s.score, parts));
                });
            });
            got.sort_unstable();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn a_run_that_goes_on_from_a_commit_gives_the_same_bits(
            records in proptest::collection::vec((0u8..4, 0u8..3, [measure(), measure()]), 0..150),
            shingle in 1usize..4,
            lives in Life::any(),
        ) {
            let readings: Vec<Reading> = (0..).zip(&records).map(|(at, record)| reading(at, record)).collect();
            let parameters = parameters(shingle);
            let want = reference(&readings, &parameters);
            let is_committed = |verdict: &Verdict, rows: usize| verdict.0 < rows as u64;
            let mut got = replay_lives(lives, readings, is_committed, move |readings, _, checkpoints, seen| {
                let scored = score(readings, manufacturer(), parameters.clone(), THRESHOLD, Some(checkpoints));
                scored.inspect(move |s: &Scored| {
                    let parts = s.attribution.as_ref().map(|parts| parts.to_vec());
                    seen.borrow_mut().push(verdict(s.reading.position, s.score, parts));
                });
            });
            got.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }
}
