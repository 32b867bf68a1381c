//! Scores out of shares: at the owner of a key, with its threshold.
//!
//! Judge adds up what all trees have said of an epoch's points and finds its anomalies; Finish adds up their attributions, and sends the
//! epoch on. Both know how many rows they are owed, and go on when so many have come.

use std::collections::HashMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::Operator;

use super::super::barrier::{Barrier, earliest};
use super::super::batches::Batches;
use super::super::deal::{Asked, Deal, MeasurePart, Share, Shares, sums};
use super::super::stash::Stash;
use super::super::tap::tap;
use super::super::wire::Plain;
use super::super::{Rows, route_key};
use super::points::{Epoch, Finding, Strange};
use super::state;
use super::trees::{MeasureParts, Questions};
use crate::detection::{Rule, Threshold};
use crate::forest::{Parameters, Part, Whole};
use crate::record::{Key, Scored};
use crate::snapshot::Checkpoints;

/// The threshold of a key that has one of its own.
pub(super) struct OfKey {
    pub(super) threshold: Threshold,
    pub(super) changed: bool,
}

impl OfKey {
    fn new(rule: Rule) -> OfKey {
        OfKey {
            threshold: Threshold::new(rule),
            changed: false,
        }
    }
}

pub(super) type Thresholds = HashMap<Key, OfKey>;

/// The epochs with what is found of their readings, and whose attributions are wanted.
pub(super) fn judge<'scope>(
    epochs: Rows<'scope, Epoch>,
    shares: Shares<'scope>,
    parameters: &Parameters,
    rule: Rule,
    deal: Deal,
    mut thresholds: Thresholds,
    checkpoints: Option<&Checkpoints>,
) -> (Rows<'scope, Epoch>, Questions<'scope>) {
    let by_key = ExchangeCore::<CapacityContainerBuilder<Plain<Share>>, _>::new(|share: &Share| u64::from(share.to));
    let (mut epochs_held, mut shares_held) = (Stash::<Epoch>::default(), Stash::<Share>::default());
    let whole = Whole::new(parameters);
    let judged = epochs.binary_frontier::<_, CapacityContainerBuilder<Vec<Epoch>>, _, _, _, _>(
        shares,
        Pipeline,
        by_key,
        "Judge",
        |capability, _| {
            let mut barrier = Barrier::new(checkpoints, capability);
            move |(epochs, epochs_frontier), (shares, shares_frontier), output| {
                epochs_held.fill(epochs);
                shares_held.fill(shares);
                while let Some(([capability], epochs)) = epochs_held.due(|time, epochs| {
                    shares_held.count(time) == epochs.iter().map(|epoch| epoch.shares).sum::<usize>()
                }) {
                    let time = *capability.time();
                    barrier.before(time, || state::changed_thresholds(&mut thresholds));
                    let shares = shares_held.take(time);
                    let mut epochs = epochs.into_rows();
                    for epoch in &mut epochs {
                        epoch.judge(&shares, whole, rule, &mut thresholds);
                    }
                    output.session(&capability).give_container(&mut epochs);
                }
                barrier.passed(earliest([epochs_frontier, shares_frontier]), || {
                    state::changed_thresholds(&mut thresholds)
                });
            }
        },
    );
    tap::<_, _, _, CapacityContainerBuilder<Plain<Asked>>, _>(judged, "Ask", move |epoch: &Epoch| {
        let from = deal.me();
        let to_all = |strange: &Strange| {
            let place = u64::from(strange.place);
            deal.workers(strange.route).map(move |to| Asked { to, from, place })
        };
        epoch.strange.iter().flat_map(to_all).collect::<Vec<_>>()
    })
}

/// The readings with all that is found of them.
pub(super) fn finish<'scope>(
    epochs: Rows<'scope, Epoch>,
    parts: MeasureParts<'scope>,
    parameters: &Parameters,
    deal: Deal,
) -> Rows<'scope, Scored> {
    let by_key =
        ExchangeCore::<CapacityContainerBuilder<Plain<MeasurePart>>, _>::new(|part: &MeasurePart| u64::from(part.to));
    let (mut epochs_held, mut parts_held) = (Stash::<Epoch>::default(), Stash::<MeasurePart>::default());
    let (whole, measures) = (Whole::new(parameters), parameters.measures);
    epochs.binary::<_, CapacityContainerBuilder<Vec<Scored>>, _, _, _, _>(parts, Pipeline, by_key, "Finish", |_, _| {
        move |epochs, parts, output| {
            epochs_held.fill(epochs);
            parts_held.fill(parts);
            while let Some(([capability], epochs)) = epochs_held.due(|time, epochs| {
                parts_held.count(time) == epochs.iter().map(|epoch| epoch.parts(deal, measures)).sum::<usize>()
            }) {
                let parts = parts_held.take(*capability.time());
                for epoch in epochs {
                    let mut scored = epoch.finish(&parts, whole, measures);
                    output.session(&capability).give_container(&mut scored);
                }
            }
        }
    })
}

impl Epoch {
    /// Finds scores and anomalies, each key's in source order, from the shares of all trees.
    fn judge(&mut self, shares: &Batches<Share>, whole: Whole, rule: Rule, thresholds: &mut Thresholds) {
        let sums = sums(shares.iter(), self.points);
        let ends = self.keys.iter().skip(1).map(|(_, begin)| *begin);
        let ends: Vec<usize> = ends.chain([self.candidates.len()]).collect();
        for ((key, begin), end) in self.keys.drain(..).zip(ends) {
            let (route, mut fixed) = (route_key(&key), Threshold::new(rule));
            let (threshold, changed) = match fixed.is_learned() {
                false => (&mut fixed, &mut false),
                true => {
                    let OfKey { threshold, changed } = thresholds.entry(key).or_insert_with(|| OfKey::new(rule));
                    (threshold, changed)
                }
            };
            for candidate in &self.candidates[begin..end] {
                let value = threshold.value();
                let score = candidate.place.and_then(|place| whole.score(sums[place as usize]));
                if let Some(score) = score {
                    threshold.learn(score);
                    *changed = true;
                }
                let anomalous = candidate.outside || score.is_some_and(|score| score >= value);
                self.findings[candidate.reading] = Finding {
                    score,
                    threshold: anomalous.then_some(value),
                };
                if let Some(place) = candidate.place.filter(|_| anomalous && score.is_some()) {
                    let reading = candidate.reading;
                    self.strange.push(Strange { reading, place, route });
                }
            }
        }
    }

    /// How many parts of attributions all workers together send back, of the strange.
    fn parts(&self, deal: Deal, measures: usize) -> usize {
        let workers = self.strange.iter().map(|strange| deal.workers(strange.route).count());
        workers.sum::<usize>() * measures
    }

    /// The readings, once all trees have told what they add to the attributions.
    fn finish(self, parts: &Batches<MeasurePart>, whole: Whole, measures: usize) -> Vec<Scored> {
        let mut sums = vec![Part::default(); self.strange.len() * measures];
        for part in parts.iter() {
            let of = self.strange.partition_point(|strange| strange.place < part.place);
            let sum = &mut sums[of * measures + part.measure as usize];
            sum.high += part.high;
            sum.low += part.low;
        }
        let attributed = self.strange.iter().zip(sums.chunks_exact(measures));
        let mut attributions: HashMap<usize, Box<[(f64, f64)]>> = attributed
            .map(|(strange, sums)| {
                let parts = whole.attribution(sums.into()).parts;
                (
                    strange.reading,
                    parts.iter().map(|part| (part.high, part.low)).collect(),
                )
            })
            .collect();
        let found = (0..).zip(self.readings).zip(self.findings);
        found
            .map(|((at, reading), Finding { score, threshold })| Scored {
                reading,
                score,
                attribution: threshold.map(|_| attributions.remove(&at).unwrap_or_default()),
                threshold,
            })
            .collect()
    }
}
