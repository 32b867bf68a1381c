//! What a forest can be told: its size, its memory, its scale. In: settings; out: values a forest can be built from, or an error.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

const TREES: RangeInclusive<u64> = 1..=1000;
const SAMPLE_SIZE: RangeInclusive<u64> = 10..=1000;
const TIME_DECAY: RangeInclusive<u64> = 1..=u64::MAX;
const SHINGLE: RangeInclusive<u64> = 1..=30;
const MEASURES: RangeInclusive<u64> = 1..=64;

/// Which published scale the scores follow. The trees are the same; they differ in how a point that a tree already holds counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scoring {
    /// Amazon Kinesis Analytics' SQL function RANDOM_CUT_FOREST, as inferred from recordings of the service.
    #[default]
    Kinesis,
    /// The open-source library random-cut-forest-by-aws.
    Aws,
}

/// What happens to measures before they make a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// Nothing, as with Amazon's function: the wider a measure's range, the more cuts it gets.
    #[default]
    None,
    /// Each is the number of its standard deviations from the mean of its key's, both as of then.
    Standardise,
}

/// The parameters of a forest, in the terms of Amazon's SQL function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Number of trees, 1 to 1000.
    pub trees: usize,
    /// Points each tree holds, 10 to 1000; also the number of points seen before the first score.
    pub sample_size: usize,
    /// Points after which a point's weight in the sample has fallen by a factor e; at least 1.
    pub time_decay: u64,
    /// Consecutive readings of a device that make one point, 1 to 30.
    pub shingle: usize,
    /// Measures of a reading, 1 to 64.
    pub measures: usize,
    /// Scale of the scores.
    pub scoring: Scoring,
    /// Seed of all random streams.
    pub seed: u64,
    /// What happens to measures before they make a point.
    pub normalise: Normalise,
}

impl Parameters {
    /// Values per point: measures × shingle.
    pub fn dimensions(&self) -> usize {
        self.measures * self.shingle
    }

    /// Refuses values outside the ranges given at the fields.
    pub fn check(&self) -> Result<(), ParameterError> {
        let all = [
            ("trees", self.trees as u64, TREES),
            ("sample_size", self.sample_size as u64, SAMPLE_SIZE),
            ("time_decay", self.time_decay, TIME_DECAY),
            ("shingle", self.shingle as u64, SHINGLE),
            ("measures", self.measures as u64, MEASURES),
        ];
        for (name, value, allowed) in all {
            if !allowed.contains(&value) {
                return Err(ParameterError { name, value, allowed });
            }
        }
        Ok(())
    }

    /// The nearest parameters that [`check`](Self::check) accepts.
    pub(super) fn within_bounds(&self) -> Parameters {
        let nearest = |value: usize, allowed: RangeInclusive<u64>| {
            (value as u64).clamp(*allowed.start(), *allowed.end()) as usize
        };
        Parameters {
            trees: nearest(self.trees, TREES),
            sample_size: nearest(self.sample_size, SAMPLE_SIZE),
            time_decay: self.time_decay.max(*TIME_DECAY.start()),
            shingle: nearest(self.shingle, SHINGLE),
            measures: nearest(self.measures, MEASURES),
            ..self.clone()
        }
    }
}

/// A parameter outside its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterError {
    name: &'static str,
    value: u64,
    allowed: RangeInclusive<u64>,
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.allowed.start(), self.allowed.end());
        write!(
            f,
            "the forest's {} is {}; choose a whole number from {low} to {high}",
            self.name, self.value
        )
    }
}

impl std::error::Error for ParameterError {}
