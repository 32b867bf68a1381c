//! A stream made here, scored with the AWS crate (krcflib 4.0.2, seeds 1 to 20), stands in for the reference files where those
//! are absent. Parameters are those of the reference scores.

use super::{Scoring, parameters, score_all, scores};

/// The rows that hold an outlier, and the measure it is in.
const OUTLIERS: [(usize, usize); 4] = [(400, 1), (800, 2), (1200, 0), (1600, 1)];

/// 2,000 rows of three measures: three clusters of whole numbers with many repeats, and the outliers, far below.
fn stream() -> Vec<f32> {
    let noise = |n: u32| {
        let n = (n ^ (n >> 16)).wrapping_mul(0x045d_9f3b);
        let n = (n ^ (n >> 16)).wrapping_mul(0x045d_9f3b);
        ((n ^ (n >> 16)) >> 24) as f32
    };
    let value = |n: u32| ((n / 3 % 3 * 400) as f32 + noise(2 * n + 1) + noise(2 * n + 2)) / 8.0;
    let mut points: Vec<f32> = (0..6000).map(|n| value(n).floor()).collect();
    for (row, measure) in OUTLIERS {
        points[row * 3 + measure] = -1500.0;
    }
    points
}

#[test]
fn a_small_stream_scores_as_the_aws_crate_scores_it() {
    // the crate's mean score and its standard deviation between seeds
    for (scoring, mean, deviation) in [(Scoring::Aws, 0.77659, 0.00385), (Scoring::Kinesis, 0.77614, 0.00385)] {
        let seeds = 5;
        let mut sum = 0.0;
        for seed in 1..=seeds {
            let scores = scores(&score_all(&parameters(3, scoring, seed), &stream(), f64::INFINITY));
            sum += scores.iter().sum::<f64>() / scores.len() as f64 / seeds as f64;
        }
        let error = deviation * (1.0 / 20.0 + 1.0 / seeds as f64).sqrt();
        assert!(
            (sum - mean).abs() <= 3.0 * error,
            "{scoring:?}: {sum} against {mean} ± {error}"
        );
    }
}

#[test]
fn the_outliers_are_found_and_named() {
    for scoring in [Scoring::Aws, Scoring::Kinesis] {
        // the crate gives the outliers 5.9 to 7.0, and no other row more than 1.4
        let scored = score_all(&parameters(3, scoring, 1), &stream(), 3.0);
        let found: Vec<usize> = (0..scored.len())
            .filter(|&row| scored[row].attribution.is_some())
            .collect();
        assert_eq!(found, OUTLIERS.map(|(row, _)| row));
        for (row, measure) in OUTLIERS {
            let parts = &scored[row].attribution.as_ref().expect("found above").parts;
            let score = scored[row].score.expect("learning is over");
            assert!(score > 5.0 && parts[measure].low > 0.8 * score && !parts[measure].is_high());
        }
    }
}

/// The sum of the scores, to the last bit: what one machine computes, all do.
#[test]
fn scores_have_the_same_bits_on_every_machine() {
    let sum = |scoring| {
        scores(&score_all(&parameters(3, scoring, 1), &stream(), f64::INFINITY))
            .iter()
            .sum::<f64>()
    };
    assert_eq!(
        (sum(Scoring::Aws), sum(Scoring::Kinesis)),
        (1344.9900412968382, 1344.206077739596)
    );
}
