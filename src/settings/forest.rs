//! `[forest]`: the random cut forests that score readings.

use serde::Serialize;

use super::reader::Section;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forest {
    /// Whether readings are scored.
    pub enabled: bool,
    /// Columns whose values share a forest; empty: one forest for all readings.
    pub key: Vec<String>,
    /// Trees in a forest, 1 to 1000.
    pub trees: u32,
    /// Points in a tree's sample, 10 to 1000, less than `time_decay`.
    pub sample_size: u32,
    /// The inverse of the rate at which points lose weight, in points.
    pub time_decay: u64,
    /// Consecutive readings of a device that make one point, 1 to 30.
    pub shingle: u32,
    pub scoring: Scoring,
    /// Seed of the random streams.
    pub seed: u64,
    pub normalise: Normalise,
    /// Keys whose forests are kept in memory; those of the others are on disk until their next reading. Changes no score.
    pub max_keys: u64,
    /// Devices of which each worker keeps the last readings in memory, likewise.
    pub max_devices: u64,
}

impl Default for Forest {
    fn default() -> Self {
        Forest {
            enabled: true,
            key: vec!["manufacturer".into()],
            trees: 100,
            sample_size: 256,
            time_decay: 100_000,
            shingle: 1,
            scoring: Scoring::Kinesis,
            seed: 42,
            normalise: Normalise::None,
            max_keys: 10_000,
            max_devices: 100_000,
        }
    }
}

/// How depth and displacement become a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// As Kinesis Data Analytics' RANDOM_CUT_FOREST scored.
    Kinesis,
    /// As the open-source random-cut-forest library scores.
    Aws,
}

/// What happens to measures before a forest sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Nothing.
    None,
    /// Each becomes its distance from the mean of its key's, in standard deviations.
    Standardise,
}

impl Forest {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Forest {
        let default = Forest::default();
        let scorings = [("kinesis", Scoring::Kinesis), ("aws", Scoring::Aws)];
        let normalisations = [("none", Normalise::None), ("standardise", Normalise::Standardise)];
        Forest {
            enabled: section.boolean("enabled", default.enabled),
            key: section.texts("key", default.key),
            trees: section.integer("trees", 1..=1000, default.trees),
            sample_size: section.integer("sample_size", 10..=1000, default.sample_size),
            time_decay: section.integer("time_decay", 1..=i64::MAX as u64, default.time_decay),
            shingle: section.integer("shingle", 1..=30, default.shingle),
            scoring: section.choice("scoring", &scorings, default.scoring),
            seed: section.integer("seed", 0..=u64::MAX, default.seed),
            normalise: section.choice("normalise", &normalisations, default.normalise),
            max_keys: section.integer("max_keys", 1..=i64::MAX as u64, default.max_keys),
            max_devices: section.integer("max_devices", 1..=i64::MAX as u64, default.max_devices),
        }
    }
}
