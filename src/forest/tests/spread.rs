//! How far the scores of a row lie apart when nothing but the seed changes: less than those of as many trees that know nothing of
//! one another, and around the same mean.

use super::{Normalise, Parameters, Scoring, score_all, scores};

const TREES: usize = 30;
const SEEDS: u64 = 40;

/// Daily rhythm, noise, whole numbers in one measure, and now and then a point far off.
fn stream() -> Vec<f32> {
    let mut state = 9u64;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f32 / (1u64 << 31) as f32
    };
    let mut points = Vec::new();
    for row in 0..800u32 {
        let day = ((row % 100) as f32 - 50.0).abs() / 10.0;
        let far = if uniform() < 0.02 { 20.0 } else { 0.0 };
        points.extend([day + uniform() + far, (10.0 * uniform()).floor()]);
    }
    points
}

fn parameters(trees: usize, seed: u64) -> Parameters {
    Parameters {
        trees,
        sample_size: 64,
        time_decay: 500,
        shingle: 1,
        measures: 2,
        scoring: Scoring::Kinesis,
        seed,
        normalise: Normalise::None,
    }
}

fn of_seed(trees: usize, seed: u64) -> Vec<f64> {
    scores(&score_all(&parameters(trees, seed), &stream(), f64::INFINITY))
}

/// The mean over all rows, and the mean variance of a row over the forests.
fn mean_and_variance(forests: &[Vec<f64>]) -> (f64, f64) {
    let (rows, count) = (forests[0].len(), forests.len() as f64);
    let (mut mean, mut variance) = (0.0, 0.0);
    for row in 0..rows {
        let of_row = || forests.iter().map(|scores| scores[row]);
        let mean_of_row = of_row().sum::<f64>() / count;
        mean += mean_of_row / rows as f64;
        variance += of_row().map(|x| (x - mean_of_row).powi(2)).sum::<f64>() / (count - 1.0) / rows as f64;
    }
    (mean, variance)
}

#[test]
fn a_forests_scores_vary_less_with_the_seed_than_those_of_independent_trees() {
    let forests: Vec<Vec<f64>> = (0..SEEDS).map(|seed| of_seed(TREES, seed)).collect();
    let (mean, variance) = mean_and_variance(&forests);
    let single: Vec<Vec<f64>> = (0..SEEDS * TREES as u64)
        .map(|seed| of_seed(1, 1 << 32 | seed))
        .collect();
    let (mean_of_single, variance_of_single) = mean_and_variance(&single);
    let independent = variance_of_single / TREES as f64;
    println!("{mean} against {mean_of_single}, variance {variance} against {independent}");
    assert!(variance < 0.8 * independent, "{variance} against {independent}");
    // all rows of a forest may be off together, by no more than a row is
    let error = (variance / SEEDS as f64 + independent / SEEDS as f64).sqrt();
    assert!(
        (mean - mean_of_single).abs() < 3.0 * error,
        "{mean} against {mean_of_single}"
    );
}
