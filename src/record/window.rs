//! What a window is: one row for each of its revisions, and the statistics in it.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::EventTime;

/// The value of a key; `None` where its only column is null. A null key is a key of its own.
pub type Key = Option<CompactString>;

/// One window of one key, as of one revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowRow {
    pub start: EventTime,
    pub end: EventTime,
    /// Which of the groupings.
    pub grouping: usize,
    pub key: Key,
    pub records: u64,
    pub anomalies: u64,
    /// In the order of the measures.
    pub measures: Vec<Statistics>,
    pub score_max: Option<f64>,
    pub score_mean: Option<f64>,
    /// The window's own score by the forest of its grouping; revision 0 only.
    pub window_score: Option<f64>,
    pub revision: u32,
    /// The position of the reading that completed it; `u64::MAX`: the end of the input.
    pub completed_at: u64,
}

/// Count, least, greatest, mean and squared deviations of one measure, by Welford's method: B. P. Welford, "Note on a
/// method for calculating corrected sums of squares and products", Technometrics 4 (1962).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    pub count: u64,
    min: f64,
    max: f64,
    mean: f64,
    squares: f64,
}

impl Statistics {
    /// Takes one value; NaN is none.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1;
        if self.count == 1 {
            (self.min, self.max) = (value, value);
        } else {
            // Not f64::min and f64::max: which of two zeros with different signs they give is the processor's choice.
            self.min = if value < self.min { value } else { self.min };
            self.max = if value > self.max { value } else { self.max };
        }
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }

    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The sample deviation; `None` below two values.
    pub fn deviation(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).max(0.0).sqrt())
    }
}
