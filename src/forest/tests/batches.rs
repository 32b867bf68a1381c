//! A forest is a pure function of its parameters, its key and its points: batches do not exist for it.

use proptest::prelude::*;

use super::{Forest, Normalise, Parameters, Scored, Scoring, parameters, score_all};

fn small(measures: usize, shingle: usize, scoring: Scoring) -> Parameters {
    Parameters {
        trees: 7,
        sample_size: 20,
        time_decay: 200,
        shingle,
        measures,
        scoring,
        seed: 3,
        normalise: Normalise::None,
    }
}

fn in_batches(parameters: &Parameters, points: &[f32], sizes: &[usize], threshold: f64) -> Vec<Scored> {
    let mut forest = Forest::new(parameters, b"key");
    let (mut out, mut rest) = (Vec::new(), points);
    for &size in sizes.iter().cycle() {
        let (batch, later) = rest.split_at(rest.len().min(size * parameters.dimensions()));
        forest.score_batch(batch, threshold, &mut out);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(forest.seen(), out.len() as u64);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn results_do_not_depend_on_how_points_are_cut_into_batches(
        values in prop::collection::vec(prop_oneof![3 => (-4i8..4).prop_map(f32::from), 1 => -100f32..100.0], 600..2400),
        sizes in prop::collection::vec(1usize..300, 1..6),
        threshold in 0.3f64..2.5,
        kinesis: bool,
        shingle in 1usize..3,
    ) {
        let parameters = small(2, shingle, if kinesis { Scoring::Kinesis } else { Scoring::Aws });
        let points = &values[..values.len() - values.len() % parameters.dimensions()];
        let whole = score_all(&parameters, points, threshold);
        prop_assert_eq!(&whole, &in_batches(&parameters, points, &sizes, threshold));
        prop_assert_eq!(&whole, &in_batches(&parameters, points, &[1], threshold));
        prop_assert_eq!(&whole, &in_batches(&parameters, points, &[7], threshold));
        for (row, scored) in whole.iter().enumerate() {
            prop_assert_eq!(scored.score.is_some(), row >= parameters.sample_size);
            prop_assert_eq!(scored.attribution.is_some(), scored.score.is_some_and(|score| score >= threshold));
            if let (Some(score), Some(attribution)) = (scored.score, &scored.attribution) {
                let sum: f64 = attribution.parts.iter().map(|part| part.total()).sum();
                prop_assert_eq!(attribution.parts.len(), 2);
                prop_assert!((sum - score).abs() <= 1e-9 * score);
            }
        }
    }
}

#[test]
fn seed_key_and_nothing_else_choose_the_random_numbers() {
    let points: Vec<f32> = (0..900u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32)
        .collect();
    let run = |seed: u64, key: &[u8]| {
        let mut out = Vec::new();
        let parameters = Parameters {
            seed,
            ..small(1, 1, Scoring::Kinesis)
        };
        Forest::new(&parameters, key).score_batch(&points, 9.0, &mut out);
        out
    };
    assert_eq!(run(1, b"a"), run(1, b"a"));
    assert_ne!(run(1, b"a"), run(2, b"a"));
    assert_ne!(run(1, b"a"), run(1, b"b"));
    assert_ne!(run(1, b""), run(1, b"\0"));
}

#[test]
fn parameters_out_of_range_are_named_with_the_range() {
    let good = parameters(5, Scoring::Aws, 1);
    assert_eq!(good.check(), Ok(()));
    let error = Parameters {
        sample_size: 5,
        ..good.clone()
    }
    .check()
    .expect_err("5 is below the range");
    assert_eq!(
        error.to_string(),
        "the forest's sample_size is 5; choose a whole number from 10 to 1000"
    );
    assert!(
        Parameters {
            trees: 0,
            ..good.clone()
        }
        .check()
        .is_err()
    );
    assert!(
        Parameters {
            time_decay: 0,
            ..good.clone()
        }
        .check()
        .is_err()
    );
    assert!(
        Parameters {
            shingle: 31,
            ..good.clone()
        }
        .check()
        .is_err()
    );
    assert!(Parameters { measures: 65, ..good }.check().is_err());
}

#[test]
fn a_forest_of_the_usual_size_fits_its_memory() {
    let points: Vec<f32> = (0..5 * 3000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32)
        .collect();
    let mut forest = Forest::new(&parameters(5, Scoring::Kinesis, 1), b"key");
    assert!(forest.memory() < 100_000, "an empty forest is small");
    forest.score_batch(&points, f64::INFINITY, &mut Vec::new());
    assert!((1_000_000..1_840_000).contains(&forest.memory()), "{}", forest.memory());
}

#[test]
fn the_widest_points_are_scored() {
    let parameters = Parameters {
        trees: 2,
        sample_size: 12,
        ..small(64, 30, Scoring::Kinesis)
    };
    let mut points: Vec<f32> = (0..40 * 1920u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as f32)
        .collect();
    points[30 * 1920 + 63] = 1e6;
    let scored = score_all(&parameters, &points, 0.0);
    let strangest = scored[30].attribution.as_ref().expect("every score is above zero");
    assert!(strangest.parts[63].high > 0.5 * scored[30].score.expect("learning is over"));
    assert!(strangest.parts[63].is_high());
}
