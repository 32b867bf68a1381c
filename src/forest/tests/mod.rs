//! Tests of the forest as a whole.

mod batches;
mod exhaustive;
mod invariants;
mod kernels;
mod parts;
mod reference;
mod small_stream;
mod spread;
mod state;

use super::{Forest, Normalise, Parameters, Scored, Scoring};

/// The parameters of the reference scores, for a stream of so many measures.
fn parameters(measures: usize, scoring: Scoring, seed: u64) -> Parameters {
    Parameters {
        trees: 100,
        sample_size: 256,
        time_decay: 100_000,
        shingle: 1,
        measures,
        scoring,
        seed,
        normalise: Normalise::None,
    }
}

fn score_all(parameters: &Parameters, points: &[f32], threshold: f64) -> Vec<Scored> {
    let mut out = Vec::new();
    Forest::new(parameters, b"key").score_batch(points, threshold, &mut out);
    out
}

fn scores(scored: &[Scored]) -> Vec<f64> {
    scored.iter().filter_map(|scored| scored.score).collect()
}
