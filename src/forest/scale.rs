//! The scale of the scores: what a depth and a mass are worth. In: the parameters; out: the terms of a tree's score and the
//! factor that makes a sum over trees a score.

use super::parameters::{Parameters, Scoring};

#[derive(Clone, Debug)]
pub(super) struct Scale {
    scoring: Scoring,
    sample_size: f64,
    /// 1 / (depth + 1).
    unseen: Vec<f32>,
    /// log2 of 0 … sample_size + 1 (the first is never used).
    log2: Vec<f64>,
    factor: f64,
}

/// What makes a score of a sum over all trees.
pub(super) fn factor(parameters: &Parameters) -> f64 {
    let n = match parameters.scoring {
        Scoring::Kinesis => parameters.sample_size,
        Scoring::Aws => parameters.sample_size + 1,
    };
    libm::log2(n as f64) / parameters.trees as f64
}

impl Scale {
    pub(super) fn new(parameters: &Parameters) -> Scale {
        let n = parameters.sample_size;
        Scale {
            scoring: parameters.scoring,
            sample_size: n as f64,
            unseen: (0..=n).map(|depth| 1.0 / (depth + 1) as f32).collect(),
            log2: (0..=n + 1).map(|m| libm::log2(m.max(1) as f64)).collect(),
            factor: factor(parameters),
        }
    }

    /// The score of leaving the tree's points at a cut of this depth.
    #[inline(always)]
    pub(super) fn unseen(&self, depth: usize) -> f32 {
        self.unseen[depth]
    }

    /// [`unseen`](Self::unseen) of all depths that there are.
    pub(super) fn unseen_by_depth(&self) -> &[f32] {
        &self.unseen
    }

    /// The score of a point equal to a leaf of this depth that holds `mass` copies.
    ///
    /// AWS: (1 − m/2n) / (d + log2(1 + m)), the library's damped score, with m one short of two and more copies, as it counts
    /// them. Kinesis: 1 / (d + log2 m), and 1 / (1 + n) where the leaf is the whole tree.
    pub(super) fn seen(&self, depth: usize, mass: u16) -> f32 {
        let (d, m) = (depth as f64, usize::from(mass));
        let value = match self.scoring {
            Scoring::Aws => {
                let m = m.saturating_sub(1).max(1);
                (1.0 - m as f64 / (2.0 * self.sample_size)) / (d + self.log2[m + 1])
            }
            Scoring::Kinesis if depth == 0 => 1.0 / (1.0 + self.sample_size),
            Scoring::Kinesis => 1.0 / (d + self.log2[m]),
        };
        value as f32
    }

    /// A sum over all trees times this is the forest's score.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    pub(super) fn memory(&self) -> usize {
        self.unseen.capacity() * size_of::<f32>() + self.log2.capacity() * size_of::<f64>()
    }
}
