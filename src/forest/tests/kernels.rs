//! Whatever instructions a forest runs, it says and learns the same to the bit. What the processor lacks is left out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::super::bounds::coordinate;
use super::super::cut_tree::{CutTree, Link};
use super::super::kernels::Kernel;
use super::super::random::{Purpose, Random};
use super::super::scale::Scale;
use super::super::score::{Run, score};
use super::super::{DeviceMemory, KeyMemory};
use super::{Forest, Normalise, Parameters, Scored, Scoring};

/// The portable kernel, which the others are held against, and those.
fn portable_and_others() -> (Kernel, Vec<Kernel>) {
    let mut kernels: Vec<Kernel> = Kernel::available().collect();
    let portable = kernels.pop().expect("the portable one is always there, as the last");
    (portable, kernels)
}

/// A forest that runs the given kernel.
fn forest(kernel: Kernel, parameters: &Parameters) -> Forest {
    let mut forest = Forest::new(parameters, b"key");
    forest.kernel = kernel;
    forest
}

/// All bits of what was said: scores, and high and low parts by measure.
fn bits(scored: &[Scored]) -> Vec<Vec<u64>> {
    let of_point = |scored: &Scored| {
        let parts = scored
            .attribution
            .iter()
            .flat_map(|attribution| attribution.parts.iter());
        let parts = parts.flat_map(|part| [part.high, part.low]);
        scored.score.into_iter().chain(parts).map(f64::to_bits).collect()
    };
    scored.iter().map(of_point).collect()
}

/// What the forest said, batch by batch, and what it then has learned.
fn run(kernel: Kernel, parameters: &Parameters, points: &[f32], sizes: &[usize], at: f64) -> (Vec<Vec<u64>>, Vec<u8>) {
    let mut forest = forest(kernel, parameters);
    let (mut out, mut rest, mut state) = (Vec::new(), points, Vec::new());
    for &size in sizes.iter().cycle() {
        let (batch, later) = rest.split_at(rest.len().min(size * parameters.dimensions()));
        forest.score_batch(batch, at, &mut out);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    forest.trees.iter().for_each(|tree| tree.write(&mut state));
    (bits(&out), state)
}

/// A measure as it comes: often repeated, at times missing, seldom huge or tiny. Those of many magnitudes make sums that round, so
/// that their order shows.
fn measure() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-3i8..4).prop_map(f64::from),
        3 => -1000f64..1000.0,
        4 => (-1f64..1.0, -40i32..40).prop_map(|(fraction, exponent)| libm::ldexp(fraction, exponent)),
        2 => Just(f64::NAN),
        1 => prop::sample::select(vec![0.0, -0.0, 1e300, -1e300, 3e38, -1e38, 1e-45, -1e-45, 3e-42, 1e-30]),
    ]
}

/// A forest's parameters, from one dimension to forty-eight, and samples that change often or hardly.
fn shape() -> impl Strategy<Value = Parameters> {
    let dimensions = prop_oneof![3 => (1usize..=9, Just(1)), 1 => (1usize..=12, 1usize..=4)];
    let decay = prop::sample::select(vec![20u64, 300, 10_000, 1_000_000]);
    (1usize..=22, 10usize..=70, decay, dimensions, any::<bool>(), 0u64..1000).prop_map(
        |(trees, sample_size, time_decay, (measures, shingle), aws, seed)| Parameters {
            trees,
            sample_size,
            time_decay,
            shingle,
            measures,
            scoring: if aws { Scoring::Aws } else { Scoring::Kinesis },
            seed,
            normalise: Normalise::None,
        },
    )
}

/// The points of three devices' readings; some readings come twice.
fn points_of(parameters: &Parameters, values: &[f64], turns: &[u8]) -> Vec<f32> {
    let mut key = KeyMemory::new(parameters);
    let device = DeviceMemory::new(parameters.measures, parameters.shingle);
    let (mut devices, mut points, mut last) = (vec![device; 3], Vec::new(), None);
    for (reading, turn) in values.chunks_exact(parameters.measures).zip(turns.iter().cycle()) {
        let reading = last.filter(|_| turn % 7 == 0).unwrap_or(reading);
        let point = devices[usize::from(turn % 3)].point(reading, &mut key);
        points.extend_from_slice(point.unwrap_or_default());
        last = Some(reading);
    }
    points
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_kernel_gives_the_same_scores_attributions_and_states(
        parameters in shape(),
        values in prop::collection::vec(measure(), 300..4000),
        turns in prop::collection::vec(any::<u8>(), 1..50),
        sizes in prop::collection::vec(prop_oneof![1 => 1usize..=3, 2 => 3usize..=33, 1 => 1usize..=300], 1..8),
        threshold in prop_oneof![1 => Just(0.0), 2 => 0.5f64..2.0, 1 => Just(f64::INFINITY)],
    ) {
        let points = points_of(&parameters, &values, &turns);
        let (portable, others) = portable_and_others();
        let reference = run(portable, &parameters, &points, &[300], threshold);
        prop_assert_eq!(&reference, &run(portable, &parameters, &points, &sizes, threshold));
        for kernel in others {
            prop_assert_eq!(&reference, &run(kernel, &parameters, &points, &sizes, threshold), "{:?}", kernel);
        }
    }

    /// Trees from the empty one on, met by any number of rows, alone and side by side.
    #[test]
    fn every_kernel_gives_the_same_scores_in_trees_of_every_size(
        dimensions in 1usize..=17,
        held in prop::collection::vec(0usize..60, 1..20),
        rows in 1usize..=70,
        values in prop::collection::vec(measure(), 500..1500),
        seed: u64,
    ) {
        let mut values = values.into_iter().map(|x| if x.is_nan() { 0.5 } else { coordinate(x as f32) }).cycle();
        let mut point = || -> Vec<f32> { values.by_ref().take(dimensions).collect() };
        let parameters = Parameters { trees: 1, sample_size: 64, time_decay: 9, shingle: 1, measures: dimensions, scoring: Scoring::Aws, seed, normalise: Normalise::None };
        let scale = Scale::new(&parameters);
        let random = Random::new(seed, b"key", 1);
        let trees: Vec<CutTree> = held.iter().map(|&held| {
            let mut tree = CutTree::new(dimensions, 64);
            for event in 0..held as u64 {
                tree.insert(&point(), random.uniform(event, Purpose::Cut));
            }
            tree
        }).collect();
        let trees: Vec<&CutTree> = trees.iter().collect();
        let points: Vec<f32> = (0..rows).flat_map(|_| point()).collect();
        let scores = |kernel: Kernel| -> (Vec<u32>, Vec<u32>) {
            let (mut one_by_one, mut together) = (vec![0.0; trees.len() * rows], vec![0.0; trees.len() * rows]);
            let runs: Vec<Run> = trees.iter().map(|cuts| Run { cuts, sample: &[], rows: 0..rows }).collect();
            for (run, scores) in runs.iter().zip(one_by_one.chunks_exact_mut(rows)) {
                score(kernel, std::slice::from_ref(run), &points, &scale, scores);
            }
            score(kernel, &runs, &points, &scale, &mut together);
            let bits = |scores: Vec<f32>| scores.into_iter().map(f32::to_bits).collect();
            (bits(one_by_one), bits(together))
        };
        let (portable, others) = portable_and_others();
        let reference = scores(portable);
        prop_assert_eq!(&reference.0, &reference.1);
        for kernel in others {
            prop_assert_eq!(&reference, &scores(kernel), "{:?}", kernel);
        }
    }
}

#[test]
fn a_new_forest_runs_the_fastest_kernel() {
    let parameters = super::parameters(5, Scoring::Aws, 1);
    assert_eq!(
        Some(Forest::new(&parameters, b"key").kernel),
        Kernel::available().next()
    );
}

/// No kernel loads from beside the nodes or the points, whatever a link says: it panics.
#[test]
fn links_that_lead_nowhere_are_not_followed() {
    for kernel in Kernel::available() {
        for (link, points) in [
            (Link::node(999, 0), 32),
            (Link::node(1, 31), 32),
            (Link::node(1, 31), 5),
        ] {
            let mut forest = forest(kernel, &super::parameters(2, Scoring::Aws, 1));
            let given: Vec<f32> = (0..512u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32)
                .collect();
            forest.score_batch(&given, f64::INFINITY, &mut Vec::new());
            let cuts = &mut forest.trees[0].cuts;
            cuts.root = Some(link);
            let mut sums = vec![0.0; points];
            let scale = Scale::new(&super::parameters(2, Scoring::Aws, 1));
            let runs = [Run {
                cuts,
                sample: &[],
                rows: 0..points,
            }];
            let run = || score(kernel, &runs, &given[..2 * points], &scale, &mut sums);
            let panicked = catch_unwind(AssertUnwindSafe(run)).is_err();
            assert!(panicked, "{kernel:?}, {link:?}");
        }
    }
}
